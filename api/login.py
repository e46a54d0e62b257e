"""Signing in to the dashboard: a key, typed into a page, becomes a cookie that no script can read; signing out ends it.

The cookie holds the key itself: whoever revokes the key signs it out everywhere, and the server keeps no sessions.
"""

import re
from typing import Annotated
from urllib.parse import parse_qs, urlencode

import structlog
from fastapi import APIRouter, Body, FastAPI, Query, Request, Response
from starlette.responses import RedirectResponse

from api.auth import COOKIE
from api.dependencies import DatabaseOf
from api.pages import render
from api.rules import SignIn, public
from nas_service.database import Database
from nas_service.database.audit import append_audit
from nas_service.domain.roles import Caller, Right
from nas_service.lifecycle.errors import Forbidden, LifecycleError, NotSignedIn
from nas_service.lifecycle.keys import caller_of

LOCAL_PAGE = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")  # a path of ours: no host, no backslash, no blanks
MAX_FIELDS = 5  # of a form

log = structlog.get_logger()
router = APIRouter(include_in_schema=False, dependencies=[public])
Next = Annotated[str, Query(alias="next")]


@router.get("/login")
def login_page(request: Request, next_: Next = "/") -> Response:
    """Ask for a key; who has signed in already goes on at once."""
    caller: Caller | None = request.state.caller
    if caller is not None and caller.may(Right.LOOK):
        return RedirectResponse(_local(next_), 303)
    return render(request, "login.html", next=_local(next_))


@router.post("/login")
def sign_in(
    request: Request,
    database: DatabaseOf,
    form: Annotated[bytes, Body(media_type="application/x-www-form-urlencoded")] = b"",
) -> Response:
    """Take a key; a wrong one leads back to the page, with a sentence on what is wrong."""
    try:
        fields = {name: values[0] for name, values in parse_qs(form.decode(), max_num_fields=MAX_FIELDS).items()}
    except ValueError:  # no form, or none of ours
        fields = {}
    page, key = _local(fields.get("next", "/")), fields.get("key", "").strip()
    try:
        _check(database, key)
    except LifecycleError as error:
        log.warning("somebody could not sign in", address=request.client.host if request.client else "?")
        return render(request, "login.html", status_code=401, next=page, problem=str(error))
    response = RedirectResponse(page, 303)
    is_https = request.scope["scheme"] == "https"
    response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=is_https, path="/")
    return response


@router.post("/logout")
def sign_out() -> Response:
    """Forget the cookie."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return response


def lead_to_login(app: FastAPI) -> None:
    """Teach the application to answer whoever asks for a page without a key."""

    @app.exception_handler(SignIn)
    async def _sign_in(_request: Request, error: SignIn) -> Response:
        return RedirectResponse(f"/login?{urlencode({'next': error.page})}", 303)


def _check(database: Database, key: str) -> None:
    """Note who signs in; raises NotSignedIn or Forbidden when nobody can with this key."""
    if not key:
        raise NotSignedIn("type or paste an API key; an admin makes one with `hourglass keys create`")
    with database.write() as connection:
        caller, _ = caller_of(connection, key, own=None)
        if not caller.may(Right.LOOK):
            raise Forbidden(f"the key {caller.name} is a {caller.role}'s, which cannot look at the dashboard")
        append_audit(connection, caller, "signed_in", None, {})


def _local(page: str) -> str:
    """The page to go on to, or the first one: never another site."""
    return page if LOCAL_PAGE.fullmatch(page) else "/"
