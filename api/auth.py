"""Who calls: the key that comes with a call becomes its `Caller`. What a caller may do is for the rules (api/rules.py).

The key stands in the header `Authorization: Bearer KEY`, or in the cookie of the login page. It is looked up at every
call, so that a revoked one ends at once. As long as there is no key at all the service is open to this machine.
"""

import asyncio
from contextlib import suppress

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.away import answer_away
from api.errors import problem_of
from api.guard import is_same_origin, why_foreign
from nas_service.database import Database, DatabaseAway
from nas_service.database.keys import has_keys, note_use
from nas_service.domain.roles import ANYBODY_HERE, Caller
from nas_service.lifecycle.errors import Forbidden, LifecycleError, NotSignedIn
from nas_service.lifecycle.keys import caller_of

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
    """Gives a call its `state.caller`: a Caller, or None, and then `state.refusal` says why."""

    def __init__(self, app: ASGIApp, database: Database, own_key: str | None) -> None:
        self._app = app
        self._database = database
        self._own_key = own_key  # of the workers that this service starts itself
        self._has_keys = False  # once true it stays so: rows of keys are never removed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or refuse what no route should see."""
        app = self._app
        if scope["type"] == "http":
            request = Request(scope)
            try:
                await self._introduce(request)
            except LifecycleError as error:
                app = problem_of(error)
            except DatabaseAway as error:
                app = answer_away(request, error)
        await app(scope, receive, send)

    async def _introduce(self, request: Request) -> None:
        caller, refusal = None, NO_KEY
        foreign = why_foreign(request.headers)
        is_for_all = request.scope["path"].startswith(NEEDS_NO_CALLER)
        if foreign is not None or not is_for_all:
            try:
                caller = await self._look(key_of(request))
            except NotSignedIn as error:
                refusal = str(error)
        if foreign is not None and caller is ANYBODY_HERE:
            raise Forbidden(foreign)
        request.state.caller, request.state.refusal = caller, refusal
        if request.method in SAFE_METHODS or caller is ANYBODY_HERE or is_for_all:
            return
        signs_in = request.scope["path"] in SIGN_IN_PATHS
        if caller is None and not signs_in:  # the body of a call is read for nobody without a key
            raise NotSignedIn(refusal)
        if (signs_in or "authorization" not in request.headers) and not is_same_origin(request.headers):
            raise Forbidden(FOREIGN_PAGE)

    async def _look(self, text: str | None) -> Caller:
        if text is None and self._has_keys:
            raise NotSignedIn(NO_KEY)
        return await asyncio.to_thread(self.caller_of, text)

    def caller_of(self, text: str | None) -> Caller:
        """Who has this key; raises NotSignedIn when it is nobody's."""
        with self._database.read() as connection:
            self._has_keys = self._has_keys or has_keys(connection)
            if not self._has_keys:
                return ANYBODY_HERE
            if text is None:
                raise NotSignedIn(NO_KEY)
            caller, is_to_be_noted = caller_of(connection, text, self._own_key)
        if is_to_be_noted and caller.key_id is not None:
            with suppress(DatabaseAway), self._database.write() as connection:  # the call matters more than the note
                note_use(connection, caller.key_id)
        return caller


def key_of(request: Request) -> str | None:
    """The key that came with a call; None when none did."""
    if (header := request.headers.get("authorization")) is not None:
        scheme, _, text = header.partition(" ")
        return text.strip() if scheme.lower() == "bearer" else ""
    return request.cookies.get(COOKIE)
