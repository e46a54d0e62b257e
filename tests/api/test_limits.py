"""How much may be sent: bodies counted while they arrive, nesting, numbers; on a real connection."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.body_limits import RESULTS_BYTES
from nas_service.domain.objectives import QUALITIES
from nas_service.messages import MAX_RESULTS
from tests.builders import a_search_file, an_outside_result, serving

MIB = 2**20
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(served: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served, trust_env=False) as client:
        yield client


def in_parts(size: int, part: int = 64 * 1024) -> Iterator[bytes]:
    for start in range(0, size, part):
        yield b" " * min(part, size - start)


@pytest.mark.parametrize("path", ["/api/v1/searches", "/api/v1/searches/1/pause", "/nothing"])
def test_a_body_over_the_limit_is_refused_by_its_length(client: httpx.Client, path: str) -> None:
    answer = client.post(path, content=b" " * (4 * MIB + 1))
    assert answer.status_code == 413
    assert answer.json()["error"] == "the body of this call may have at most 4,194,304 bytes; send less, or in parts"


def test_a_body_without_a_length_is_counted_while_it_arrives(client: httpx.Client) -> None:
    assert client.post("/api/v1/searches", content=in_parts(5 * MIB)).status_code == 413
    assert client.post("/api/v1/searches", json=a_search_file()).status_code == 201


def test_a_search_just_within_the_limit_is_read(client: httpx.Client) -> None:
    body = json.dumps(a_search_file()).encode()
    padded = body + b" " * (4 * MIB - len(body))
    assert client.post("/api/v1/searches", content=padded, headers=JSON).status_code == 201


def test_a_large_body_is_refused_before_it_arrives(served: str) -> None:
    address = httpx.URL(served)
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        connection.sendall(b"POST /api/v1/searches HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
def test_uploads_have_a_limit_of_their_own(limited: Callable[..., Any], kind: str) -> None:
    headers = {"Lease-Token": "1", "Content-Digest": "sha256:" + "0" * 64}
    with limited(max_upload_bytes=5 * MIB) as client:
        within = client.put(f"/api/v1/leases/x/{kind}", content=b" " * 5 * MIB, headers=headers)
        over = client.put(f"/api/v1/leases/x/{kind}", content=b" " * (5 * MIB + 1), headers=headers)
    assert (within.status_code, over.status_code) == (410, 413)


def test_as_many_results_as_one_call_may_bring_fit_into_it() -> None:
    metrics = dict.fromkeys(QUALITIES, 0.12345678901234566)
    facts = {"replicate": 1, "seed": 1042, "lr": 0.0012345678901234567, "diverged_at_epoch": None}
    ten = [{"run": run, **facts, "metrics": {"eval": metrics, "test": metrics}} for run in range(10)]
    row = an_outside_result(metrics={"eval": metrics, "test": metrics}, replicates=ten, source="search 1, trial 123456")
    assert len(row.model_dump_json()) * MAX_RESULTS < RESULTS_BYTES


@pytest.mark.parametrize("depth", [50, 500, 5_000, 50_000, 500_000])
@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(client: httpx.Client, depth: int, before: str, after: str) -> None:
    nested = before * depth + "1" + after * depth
    for body in (nested, json.dumps(a_search_file()).replace('"denoising"', nested)):
        answer = client.post("/api/v1/searches", content=body, headers=JSON)
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["error"]


@pytest.mark.parametrize("number", ["1" * 5_000, "-" + "9" * 400, "1e400", "NaN", "Infinity", "0." + "1" * 9_999])
def test_a_number_of_any_size_is_refused(client: httpx.Client, number: str) -> None:
    body = json.dumps(a_search_file(seed=12321)).replace("12321", number)
    answer = client.post("/api/v1/searches", content=body, headers=JSON)
    assert answer.status_code in (400, 422), answer.text


def test_of_a_name_said_twice_the_last_one_counts(client: httpx.Client) -> None:
    body = json.dumps(a_search_file()).replace('"seed"', '"seed": 1, "seed"')[:-1] + ', "seed": 1, "seed": 2}'
    answer = client.post("/api/v1/searches", content=body, headers=JSON)
    assert answer.json()["spec"]["seed"] == 2


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"name": "\\ud800"}', b"{", b"", b"\x00"])
def test_what_is_no_json_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/api/v1/searches", content=body, headers=JSON)
    assert answer.status_code in (400, 422)


@pytest.fixture
def limited(database_url: str, tmp_path: Path) -> Callable[..., Any]:
    @contextmanager
    def serve(**settings: Any) -> Iterator[httpx.Client]:
        with serving(database_url, tmp_path, **settings) as client:
            yield client

    return serve
