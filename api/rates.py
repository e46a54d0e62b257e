"""How often one caller may call, and how many event streams it may hold at once; more is answered 429.

The counts are this process's own: several API processes allow as many times more.
"""

import re
from collections import Counter
from math import ceil
from time import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem
from nas_service.domain.roles import Caller
from nas_service.settings import Settings

STREAM_RETRY_SECONDS = 10  # a stream may last for days; a browser asks again after this
_STREAM = re.compile(r"/api/v1/searches/[^/]+/events")


def caller_of(scope: Scope) -> str:
    """Who calls, as far as limits go: the key, and without one the address that the connection comes from."""
    caller: Caller | None = scope["state"]["caller"]
    if caller is not None and caller.key_id is not None:
        return f"key {caller.key_id}"
    client = scope.get("client")
    return client[0] if client else "unknown"


class Rates:
    """Pure ASGI: a moving window of a minute for each caller, a stricter one for attempts to log in."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._calls = RateLimitItemPerMinute(settings.requests_per_minute, namespace="calls")
        self._logins = RateLimitItemPerMinute(settings.logins_per_minute, namespace="logins")
        self._most_streams = settings.streams_per_caller
        self._streams: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or answer 429 and say when to come again."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_login = scope["method"] == "POST" and scope["path"] == "/login"
        limit = self._logins if is_login else self._calls
        caller = caller_of(scope)
        if not await self._window.hit(limit, caller):
            free_at = (await self._window.get_window_stats(limit, caller)).reset_time
            what = f"{limit.amount:,} {'attempts to log in' if is_login else 'calls'} a minute are allowed"
            await _refuse(what, max(1, ceil(free_at - time())), scope, receive, send)
        elif scope["method"] == "GET" and _STREAM.fullmatch(scope["path"]):
            await self._stream(caller, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _stream(self, caller: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the stream for as long as it lasts."""
        if self._streams[caller] >= self._most_streams:
            what = f"{self._most_streams} event streams at once are allowed; close one"
            await _refuse(what, STREAM_RETRY_SECONDS, scope, receive, send)
            return
        self._streams[caller] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._streams[caller] -= 1
            if not self._streams[caller]:
                del self._streams[caller]


async def _refuse(what: str, seconds: int, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem(429, f"too much at once: {what}; try again in {seconds} s")
    response.headers["Retry-After"] = str(seconds)
    await response(scope, receive, send)
