"""How large a request's body may be, counted while it arrives; more is answered 413 before anything is done with it.

Leaves out what stands in the body: lengths of texts and lists are in `messages.py` and `domain/search.py`.
"""

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from nas_service.settings import Settings

# 5,000 results of 10 replicates each, every metric measured on both splits, are 18 MiB.
RESULTS_BYTES = 32 * 2**20
_UPLOAD = re.compile(r"/api/v1/leases/[^/]+/(network|checkpoint)")
_RESULTS = re.compile(r"/api/v1/searches/[^/]+/results")


class BodyLimits:
    """Pure ASGI, so that a body is never held for counting."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on with a `receive` that counts; answer 413 at once where the length is told and too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope["path"])
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and (len(told) > 20 or int(told) > limit):
            await problem(413, _message(limit))(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > limit:
                raise HTTPException(413, _message(limit))
            return message

        await self._app(scope, counted, send)

    def _limit_of(self, path: str) -> int:
        if _UPLOAD.fullmatch(path):
            return self._settings.max_upload_bytes
        if _RESULTS.fullmatch(path):
            return max(RESULTS_BYTES, self._settings.max_body_bytes)
        return self._settings.max_body_bytes


def _message(limit: int) -> str:
    return f"the body of this call may have at most {limit:,} bytes; send less, or in parts"
