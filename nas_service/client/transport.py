"""One HTTP call: JSON in, JSON out, errors as exceptions; calls that may be repeated are, while the server is away."""

import re
from time import monotonic, sleep
from typing import Any

import httpx
from pydantic import BaseModel, SecretStr

from nas_service.client.errors import ApiError, LeaseLost, NotAllowed, ServerUnreachable
from nas_service.domain.faults import Fault

KEY = re.compile(r"hg_[A-Za-z0-9]+_[A-Za-z0-9_-]+")
_KINDS: dict[int, type[ApiError]] = {401: NotAllowed, 403: NotAllowed, 410: LeaseLost}
_AWAY = {429, 502, 503, 504}  # too many calls; the server behind a proxy, or its database, is restarting
MAX_RETRY_SECONDS = 60.0  # however long the server says


class Transport:
    """Calls to one server, with an API key where it needs one."""

    def __init__(self, server: str, api_key: SecretStr | None = None) -> None:
        self.server = server.rstrip("/")
        if not is_address(self.server):
            raise ServerUnreachable(f"a server's address is like http://127.0.0.1:8080 (got {server!r})")
        self._http = httpx.Client(
            base_url=self.server,
            headers=_authorization(api_key),
            timeout=httpx.Timeout(60, connect=5),
            trust_env=False,
        )

    def call(
        self, method: str, path: str, body: BaseModel | dict[str, Any] | None = None, **options: Any
    ) -> httpx.Response:
        """Make one call.

        Raises:
            ApiError: when the server refuses it.
            ServerUnreachable: when there is no answer.
        """
        json = body.model_dump(mode="json") if isinstance(body, BaseModel) else body
        try:
            response = self._http.request(method, path, json=json, **options)
        except httpx.TransportError as error:
            raise ServerUnreachable(
                f"no answer from {self.server} ({error or type(error).__name__}); is `hourglass up` running there?"
            ) from error
        if response.status_code in _AWAY:
            raise ServerUnreachable(f"{self.server} is not ready: {_api_error(response)}", _retry_seconds(response))
        if response.is_error:
            raise _api_error(response)
        return response

    def call_until_answered(
        self, method: str, path: str, body: BaseModel | None = None, patience_seconds: float = 600, **options: Any
    ) -> httpx.Response:
        """Make a call that may safely be repeated, again and again while the server gives no answer.

        Raises:
            ApiError: when the server refuses it.
            ServerUnreachable: when it gave no answer for `patience_seconds`.
        """
        give_up_at, pause = monotonic() + patience_seconds, 0.2
        while True:
            try:
                return self.call(method, path, body, **options)
            except ServerUnreachable as error:
                wait = max(pause, error.retry_seconds)
                if monotonic() + wait > give_up_at:
                    raise
                sleep(wait)
                pause = min(pause * 2, 5.0)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _authorization(api_key: SecretStr | None) -> dict[str, str]:
    if api_key is None:
        return {}
    text = api_key.get_secret_value().strip()
    if not KEY.fullmatch(text):  # what is no header would be told by the library, key and all
        raise NotAllowed(401, "the API key given (HOURGLASS_API_KEY) is none: one looks like hg_1_ABC...", [])
    return {"Authorization": f"Bearer {text}"}


def is_address(server: str) -> bool:
    """Whether this is an address that can be called."""
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


def _retry_seconds(response: httpx.Response) -> float:
    told = response.headers.get("Retry-After", "")
    return min(float(told), MAX_RETRY_SECONDS) if told.isascii() and told.isdigit() else 0.0


def _api_error(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
        message, faults = body["error"], [Fault.model_validate(row) for row in body.get("faults", [])]
    except (ValueError, KeyError, TypeError):
        message, faults = f"the server answered with status {response.status_code}", []
    kind = _KINDS.get(response.status_code, ApiError)
    return kind(response.status_code, message, faults)
