import httpx
import pytest

from api.guard import is_loopback
from tests.builders import a_search_file


def test_a_living_server_says_so(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_the_openapi_document_lists_every_route(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    verbs = {(method.upper(), path.removeprefix("/api/v1")) for path, item in paths.items() for method in item}
    search, trial, lease = "/searches/{search_id}", "/trials/{trial_id}", "/leases/{lease_id}"
    assert verbs == {
        *(("POST", path) for path in ("/searches", f"{search}/pause", f"{search}/resume", f"{search}/cancel")),
        *(
            ("POST", path)
            for path in (f"{search}/extend", f"{search}/results", f"{search}/trials", f"{trial}/network/pin")
        ),
        *(("POST", f"{search}/{verb}") for verb in ("share", "unshare")),
        *(("GET", path) for path in ("/me", "/audit")),
        *(("GET", path) for path in ("/searches", search, f"{search}/front", f"{search}/plot", f"{search}/trials")),
        *(("GET", path) for path in (f"{search}/events", trial, f"{trial}/reports", f"{trial}/network", "/workers")),
        *(("POST", path) for path in ("/leases", f"{lease}/result", f"{lease}/release")),
        *(("PUT", path) for path in (lease, f"{lease}/checkpoint", f"{lease}/network")),
        ("GET", f"{lease}/checkpoint"),
        *(("DELETE", path) for path in (search, f"{trial}/network/pin", "/workers/{worker_id}")),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }


def test_every_refusal_is_documented_with_its_body(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                if status >= "400":
                    reference = answer["content"]["application/json"]["schema"]["$ref"]
                    assert reference == "#/components/schemas/Problem", f"{method} {path} {status}"


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/searches", "/openapi.json", "/static/style.css"])
def test_a_foreign_host_is_refused(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 403
    assert "the Host must be this machine (got evil.example)" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1.evil.example", "null"])
def test_a_foreign_origin_is_refused_and_changes_nothing(client: httpx.Client, origin: str) -> None:
    answer = client.post("/api/v1/searches", json=a_search_file(), headers={"Origin": origin})
    assert answer.status_code == 403
    assert client.get("/api/v1/searches").json()["items"] == []


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:8080", "localhost", "localhost:8080", "[::1]:8080"])
def test_this_machines_names_are_welcome(client: httpx.Client, name: str) -> None:
    headers = {"Host": name, "Origin": f"http://{name}"}
    assert client.get("/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "address",
    ["//evil.example", "//127.0.0.1@evil.example", "//localhost.evil.example", "//[::1", "", "//", "//0.0.0.0"],
)
def test_other_names_are_not_this_machine(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/v1/nothing", 404), ("PUT", "/api/v1/searches", 405)]
)
def test_an_unknown_way_is_answered_in_the_form_of_every_error(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "faults"}


def test_a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has(client: httpx.Client) -> None:
    answer = client.patch("/api/v1/searches")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
    assert client.post("/api/v1/searches/1").headers["Allow"] == "DELETE, GET"
    assert client.post("/healthz").status_code == 405
