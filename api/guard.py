"""Until API keys exist the service is for this machine only: a foreign Host or Origin is refused.

This keeps a web page in the user's browser from reaching the service by DNS rebinding or a cross-site request.
"""

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class LoopbackGuard:
    """Lets pass what comes from this machine's own names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or pass the call on."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            host = f"//{headers.get(b'host', b'').decode('latin-1')}"
            origin = headers.get(b"origin", b"").decode("latin-1")
            for name, given in (("Host", host), ("Origin", origin)):
                if given and not is_loopback(given):
                    message = f"the {name} must be this machine (got {given.lstrip('/')}); use http://127.0.0.1:PORT"
                    await problem(403, message)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def is_loopback(address: str) -> bool:
    """Whether a URL or //host:port names this machine."""
    try:
        return urlsplit(address).hostname in LOOPBACK_NAMES
    except ValueError:
        return False
