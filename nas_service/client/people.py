"""The calls that people's programs make."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from pydantic import SecretStr

from nas_service.client.errors import ApiError
from nas_service.client.transport import Transport
from nas_service.domain.digests import digest_of
from nas_service.domain.records import AuditEntry, StoredWorker
from nas_service.domain.search import Search
from nas_service.domain.trial import Trial
from nas_service.messages import (
    MAX_RESULTS,
    Brought,
    Curves,
    Enqueue,
    Extend,
    Front,
    Me,
    OutsideResult,
    OutsideResults,
    Page,
    SearchDetail,
)

API = "/api/v1"
PART_BYTES = 24 * 2**20  # of the 32 MiB that the server takes at once


class Client:
    """A connection to the service. Every method raises ApiError or ServerUnreachable."""

    def __init__(self, server: str = "http://127.0.0.1:8080", api_key: SecretStr | str | None = None) -> None:
        """Speak to a server; it needs an API key once it has any.

        Raises:
            NotAllowed: when that is no API key.
            ServerUnreachable: when that is no address.
        """
        self._transport = Transport(server, SecretStr(api_key) if isinstance(api_key, str) else api_key)

    @property
    def server(self) -> str:
        """The server's address."""
        return self._transport.server

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def me(self) -> Me:
        """Whose key this is, with its quotas and what its searches take of them."""
        return Me.model_validate_json(self._transport.call("GET", f"{API}/me").content)

    def audit(self, limit: int = 100) -> list[AuditEntry]:
        """Who did what, newest first; for admins."""
        response = self._transport.call("GET", f"{API}/audit", params={"limit": limit})
        return Page[AuditEntry].model_validate_json(response.content).items

    def submit(self, search: Search | dict[str, Any], paused: bool = False) -> SearchDetail:
        """Submit a search; it runs from now on, or, when it begins paused, from when it is resumed."""
        return self._detail("POST", f"/searches{'?paused=true' if paused else ''}", search)

    def search(self, search_id: int) -> SearchDetail:
        """Show a search."""
        return self._detail("GET", f"/searches/{search_id}")

    def searches(self, limit: int = 50) -> list[SearchDetail]:
        """The newest searches, newest first."""
        response = self._transport.call("GET", f"{API}/searches", params={"limit": limit})
        return Page[SearchDetail].model_validate_json(response.content).items

    def pause(self, search_id: int) -> SearchDetail:
        """Lease nothing more; running trials go back to the queue."""
        return self._detail("POST", f"/searches/{search_id}/pause")

    def resume(self, search_id: int) -> SearchDetail:
        """Let a paused search run again."""
        return self._detail("POST", f"/searches/{search_id}/resume")

    def cancel(self, search_id: int) -> SearchDetail:
        """End a search; its finished trials stay."""
        return self._detail("POST", f"/searches/{search_id}/cancel")

    def share(self, search_id: int, shared: bool = True) -> SearchDetail:
        """Let everybody with a key look at a search, or its owner and admins alone."""
        return self._detail("POST", f"/searches/{search_id}/{'share' if shared else 'unshare'}")

    def extend(self, search_id: int, budget: float) -> SearchDetail:
        """Give every arm a larger budget (the new total, in the budget's own unit)."""
        return self._detail("POST", f"/searches/{search_id}/extend", Extend(budget=budget))

    def delete(self, search_id: int) -> None:
        """Forget a search that has ended."""
        self._transport.call("DELETE", f"{API}/searches/{search_id}")

    def enqueue(self, search_id: int, request: Enqueue) -> Trial:
        """Queue a given architecture in an arm."""
        response = self._transport.call("POST", f"{API}/searches/{search_id}/trials", request)
        return Trial.model_validate_json(response.content)

    def bring_results(self, search_id: int, results: Sequence[OutsideResult]) -> Brought:
        """Store results measured elsewhere as completed trials, outside the budget; may safely be repeated.

        What is too much for one call goes in parts; each part is stored as a whole or not at all.
        """
        added = already_there = 0
        for rows in _parts(results):
            part = OutsideResults(results=rows)
            response = self._transport.call("POST", f"{API}/searches/{search_id}/results", part)
            brought = Brought.model_validate_json(response.content)
            added, already_there = added + brought.added, already_there + brought.already_there
        return Brought(added=added, already_there=already_there)

    def front(self, search_id: int) -> Front:
        """The fronts of a search."""
        response = self._transport.call("GET", f"{API}/searches/{search_id}/front")
        return Front.model_validate_json(response.content)

    def front_csv(self, search_id: int) -> str:
        """The fronts of a search's arms as CSV."""
        return self._transport.call("GET", f"{API}/searches/{search_id}/front", params={"format": "csv"}).text

    def trials(self, search_id: int) -> Iterator[Trial]:
        """Every trial of a search, newest first, fetched page by page."""
        cursor: str | None = None
        while True:
            params = {"limit": 500} | ({"cursor": cursor} if cursor else {})
            response = self._transport.call("GET", f"{API}/searches/{search_id}/trials", params=params)
            page = Page[Trial].model_validate_json(response.content)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def trial(self, trial_id: int) -> Trial:
        """One trial."""
        return Trial.model_validate_json(self._transport.call("GET", f"{API}/trials/{trial_id}").content)

    def trials_csv(self, search_id: int) -> str:
        """Every trial of a search as CSV."""
        return self._transport.call("GET", f"{API}/searches/{search_id}/trials", params={"format": "csv"}).text

    def curves(self, trial_id: int) -> Curves:
        """What a trial reported epoch by epoch, and how it stood at the rungs of early stopping."""
        return Curves.model_validate_json(self._transport.call("GET", f"{API}/trials/{trial_id}/reports").content)

    def network(self, trial_id: int) -> bytes:
        """The trained network of a trial (safetensors), where it is kept; ApiError too when it comes damaged."""
        headers = {"Accept-Encoding": "identity"}  # weights do not shrink
        response = self._transport.call("GET", f"{API}/trials/{trial_id}/network", headers=headers)
        if digest_of(response.content) != response.headers.get("Content-Digest"):
            raise ApiError(response.status_code, "the network arrived damaged; get it again", [])
        return response.content

    def pin_network(self, trial_id: int) -> None:
        """Keep the network of a completed trial for good, also off the front."""
        self._transport.call("POST", f"{API}/trials/{trial_id}/network/pin")

    def unpin_network(self, trial_id: int) -> None:
        """Keep it no longer than its search says."""
        self._transport.call("DELETE", f"{API}/trials/{trial_id}/network/pin")

    def workers(self) -> list[StoredWorker]:
        """The workers, latest arrival first."""
        response = self._transport.call("GET", f"{API}/workers", params={"limit": 1000})
        return Page[StoredWorker].model_validate_json(response.content).items

    def _detail(self, method: str, path: str, body: Search | Extend | dict[str, Any] | None = None) -> SearchDetail:
        return SearchDetail.model_validate_json(self._transport.call(method, f"{API}{path}", body).content)


def _parts(results: Sequence[OutsideResult]) -> Iterator[list[OutsideResult]]:
    """The results in order, as many at once as one call may bring."""
    part: list[OutsideResult] = []
    size = 0
    for row in results:
        length = len(row.model_dump_json()) + 1
        if part and (len(part) == MAX_RESULTS or size + length > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    if part:
        yield part
