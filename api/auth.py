"""Who calls: the key that comes with a call becomes its `Caller`. What a caller may do is for the rules (api/rules.py).

The key stands in the header `Authorization: Bearer KEY`, or in the cookie of the login page. It is looked up at every
call, so that a revoked one ends at once. As long as there is no key at all the service is open to this machine.
"""

import asyncio
from contextlib import suppress
from time import monotonic

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem_of
from api.guard import is_same_origin, why_foreign
from nas_service.database import Database, DatabaseAway
from nas_service.database.keys import has_keys, note_use
from nas_service.domain.roles import ANYBODY_HERE, Caller
from nas_service.lifecycle.errors import Forbidden, LifecycleError, NotSignedIn
from nas_service.lifecycle.keys import caller_of

USE_SECONDS = 60.0  # how exact the time of a key's last use is
COOKIE = "hourglass_key"
NEEDS_NO_CALLER = ("/healthz", "/readyz", "/static/")  # answered without a look at the database
SIGN_IN_PATHS = ("/login", "/logout")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
NO_KEY = (
    "this needs an API key: send it as `Authorization: Bearer KEY`; the `hourglass` command and its workers take it "
    "from HOURGLASS_API_KEY"
)
FOREIGN_PAGE = "this must come from the dashboard itself: the Origin of the call must be this host"


class Authentication:
    """Gives a call its `state.caller`: a Caller; or None, and `state.refusal` says why.

    While the database is away nobody can be recognised: `state.away` is then what the route's rule raises.
    """

    def __init__(self, app: ASGIApp, database: Database, own_key: str | None) -> None:
        self._app = app
        self._database = database
        self._own_key = own_key  # of the workers that this service starts itself
        self._noted_at: dict[int, float] = {}  # by key: when its use was noted
        self._has_keys = False  # once true it stays so: rows of keys are never removed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse what no route should see."""
        app = self._app
        if scope["type"] == "http":
            try:
                await self._introduce(Request(scope))
            except LifecycleError as error:
                app = problem_of(error)
        await app(scope, receive, send)

    async def _introduce(self, request: Request) -> None:
        state, path = request.state, request.scope["path"]
        state.caller, state.refusal, state.away = None, NO_KEY, None
        foreign = why_foreign(request.headers)
        try:
            if foreign is not None or not path.startswith(NEEDS_NO_CALLER):
                state.caller = await self._look(key_of(request))
        except NotSignedIn as error:
            state.refusal = str(error)
        except DatabaseAway as error:
            state.away = error
        if state.caller is ANYBODY_HERE:
            if foreign is not None:
                raise Forbidden(foreign)
        elif request.method not in SAFE_METHODS and not path.startswith(NEEDS_NO_CALLER):
            _refuse_change(request, signs_in=path in SIGN_IN_PATHS)

    async def _look(self, text: str | None) -> Caller:
        if text is None and self._has_keys:
            raise NotSignedIn(NO_KEY)
        caller = await asyncio.to_thread(self._caller_of, text)
        self._note_use(caller)
        return caller

    def _caller_of(self, text: str | None) -> Caller:
        """Who has this key; raises NotSignedIn when it is nobody's."""
        with self._database.read() as connection:
            self._has_keys = self._has_keys or has_keys(connection)
            if not self._has_keys:
                return ANYBODY_HERE
            if text is None:
                raise NotSignedIn(NO_KEY)
            return caller_of(connection, text, self._own_key)

    def _note_use(self, caller: Caller) -> None:
        """Note now and then that the key is used; the call does not wait for that."""
        key_id = caller.key_id
        if key_id is None or monotonic() - self._noted_at.get(key_id, -USE_SECONDS) < USE_SECONDS:
            return
        self._noted_at[key_id] = monotonic()
        asyncio.get_running_loop().run_in_executor(None, self._write_use, key_id)

    def _write_use(self, key_id: int) -> None:
        with suppress(DatabaseAway), self._database.write() as connection:
            note_use(connection, key_id, USE_SECONDS)


def _refuse_change(request: Request, signs_in: bool) -> None:
    state, headers = request.state, request.headers
    if state.caller is None and state.away is None and not signs_in:  # nobody without a key has a body read
        raise NotSignedIn(state.refusal)
    by_cookie = "authorization" not in headers and COOKIE in request.cookies
    if (signs_in or by_cookie) and not is_same_origin(headers):
        raise Forbidden(FOREIGN_PAGE)


def key_of(request: Request) -> str | None:
    """The key that came with a call; None when none did."""
    if (header := request.headers.get("authorization")) is not None:
        scheme, _, text = header.partition(" ")
        return text.strip() if scheme.lower() == "bearer" else ""
    return request.cookies.get(COOKIE)
