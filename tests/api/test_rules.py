"""Every route for every role: what is forbidden is refused, what is allowed is not. A new route must stand here."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.pages import PLOTLY_PATH
from api.rules import require_rules
from nas_service.database import Database
from tests.builders import a_key, a_search_file, an_outside_result, bearing, enqueued, submitted

V1, SEARCH, TRIAL, LEASE = (
    "/api/v1",
    "/api/v1/searches/{search_id}",
    "/api/v1/trials/{trial_id}",
    "/api/v1/leases/{lease_id}",
)
LOOK, SUBMIT = ("viewer", "submitter", "admin"), ("submitter", "admin")
WORK, EVERY_KEY = ("worker", "admin"), ("viewer", "submitter", "worker", "admin")
NOBODY = ("no key", "expired", "revoked", "made up")
PAGES = ("/", "/searches/{search_id}")

ROLES = {
    **dict.fromkeys(("GET /healthz", "GET /readyz", f"GET {PLOTLY_PATH}", "/static"), ()),
    **dict.fromkeys(("GET /login", "POST /login", "POST /logout"), ()),
    **dict.fromkeys(("GET /openapi.json", f"GET {V1}/me"), EVERY_KEY),
    **dict.fromkeys([f"GET {path}" for path in (*PAGES, f"{V1}/searches", f"{V1}/workers", SEARCH, TRIAL)], LOOK),
    **dict.fromkeys([f"GET {SEARCH}/{part}" for part in ("front", "plot", "trials", "events")], LOOK),
    **dict.fromkeys([f"GET {TRIAL}/{part}" for part in ("reports", "network")], LOOK),
    **dict.fromkeys((f"POST {V1}/searches", f"DELETE {SEARCH}", f"POST {SEARCH}/trials"), SUBMIT),
    **dict.fromkeys([f"POST {SEARCH}/{verb}" for verb in ("pause", "resume", "cancel", "extend", "results")], SUBMIT),
    **dict.fromkeys([f"POST {SEARCH}/{verb}" for verb in ("share", "unshare")], SUBMIT),
    **dict.fromkeys([f"{method} {TRIAL}/network/pin" for method in ("POST", "DELETE")], SUBMIT),
    **dict.fromkeys((f"POST {V1}/leases", f"PUT {LEASE}", f"DELETE {V1}/workers/{{worker_id}}"), WORK),
    **dict.fromkeys([f"POST {LEASE}/{verb}" for verb in ("result", "release")], WORK),
    **dict.fromkeys([f"{verb} {LEASE}/{file}" for verb, file in (("PUT", "network"), ("PUT", "checkpoint"))], WORK),
    f"GET {LEASE}/checkpoint": WORK,
    f"GET {V1}/audit": ("admin",),
}
OF_A_SEARCH = {route for route in ROLES if "{search_id}" in route or "{trial_id}" in route}
BODIES: dict[str, Any] = {
    f"POST {SEARCH}/extend": {"budget": 50},
    f"POST {SEARCH}/results": {"results": [an_outside_result().model_dump(mode="json")]},
    f"POST {SEARCH}/trials": {"arm": "hourglass", "d_z": 66, "d_h": 8, "depth": 1, "lr": 1e-3},
}


@pytest.fixture
def keys(database: Database) -> dict[str, str | None]:
    """A key of every role, and what is none, by what it is."""
    from nas_service.domain.roles import ANYBODY_HERE
    from nas_service.lifecycle.keys import revoke_key

    made: dict[str, str | None] = {role: a_key(database, role) for role in EVERY_KEY}
    made |= {"expired": a_key(database, "admin", "late", days=-1), "revoked": a_key(database, "admin", "bad")}
    with database.write() as connection:
        revoke_key(connection, "bad", ANYBODY_HERE)
    admins = made["admin"] or ""
    return {**made, "no key": None, "made up": admins[:-1] + ("A" if admins[-1] != "A" else "B")}


def routes_of(app: FastAPI) -> set[str]:
    found = set()
    for route in iter_route_contexts(app.routes):
        verbs = sorted((route.methods or set()) - {"HEAD"}) if hasattr(route, "methods") else []
        found |= {f"{verb} {route.path}" for verb in verbs} or {str(route.path)}
    return found


def call(
    client: httpx.Client, route: str, key: str | None, search_id: int = 999_999, trial_id: int = 999_999
) -> httpx.Response:
    method, _, path = route.rpartition(" ")
    path = path.format(search_id=search_id, trial_id=trial_id, lease_id="none", worker_id="none")
    path += "/style.css" if path == "/static" else ""
    headers = {"Origin": "http://127.0.0.1", **({} if key is None else bearing(key))}
    return client.request(method or "GET", path, json=BODIES.get(route), headers=headers, follow_redirects=False)


def test_every_route_stands_in_the_table(client: httpx.Client) -> None:
    assert routes_of(client.app) == set(ROLES)  # type: ignore[attr-defined]


def test_an_application_with_a_route_without_a_rule_is_not_built() -> None:
    app = FastAPI(openapi_url=None)

    @app.get("/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(AssertionError, match="/forgotten must name one rule"):
        require_rules(app)


@pytest.mark.parametrize("role", EVERY_KEY)
def test_a_role_may_do_what_is_its_own_and_nothing_else(
    client: httpx.Client, keys: dict[str, str | None], role: str
) -> None:
    for route, allowed in ROLES.items():
        answer = call(client, route, keys[role])
        if not allowed or role in allowed:
            assert answer.status_code not in (401, 403) or route == "POST /login", f"{route}: {answer.text}"
        else:
            assert answer.status_code == 403, f"{route}: {answer.text}"
            assert f"needs a key of the role {' or '.join(allowed)}" in answer.json()["error"]


@pytest.mark.parametrize("who", NOBODY)
def test_nobody_without_a_good_key_is_let_in(client: httpx.Client, keys: dict[str, str | None], who: str) -> None:
    for route, allowed in ROLES.items():
        answer = call(client, route, keys[who])
        if route.split(" ")[-1] in PAGES:
            assert answer.status_code == 303, route
            assert answer.headers["location"].startswith("/login?next=%2F"), route
        elif allowed:
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (
                f"{route}: {answer.text}"
            )
            assert set(answer.json()) == {"error", "faults"}
        else:
            assert answer.status_code != 401 or route == "POST /login", route


def test_somebody_elses_search_is_not_there_on_any_route(
    client: httpx.Client, keys: dict[str, str | None], database: Database
) -> None:
    owner = a_key(database, "submitter", "owner")
    search_id = submitted(database, owner_key_id=int(owner.split("_")[1]))
    assert enqueued(database, search_id) == search_id == 1
    for route in OF_A_SEARCH:
        for role in set(ROLES[route]) - {"admin"}:
            answer = call(client, route, keys[role], 1, 1)
            missing = call(client, route, keys[role], 999_999)
            assert answer.status_code == missing.status_code == 404, f"{route} as {role}: {answer.text}"
            assert answer.text.replace("999999", "1") == missing.text.replace("999999", "1"), route
    listed = [client.get(f"{V1}/searches", headers=bearing(keys[role] or "")).json()["items"] for role in LOOK]
    assert [len(items) for items in listed] == [0, 0, 1]


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_the_owner_and_admins_reach_a_search_on_every_route(
    client: httpx.Client, keys: dict[str, str | None], database: Database, who: str
) -> None:
    owner = a_key(database, "submitter", "owner")
    key = owner if who == "owner" else keys["admin"]
    for route in OF_A_SEARCH - {f"GET {SEARCH}/events"}:
        search_id = submitted(database, owner_key_id=int(owner.split("_")[1]))
        answer = call(client, route, key, search_id, enqueued(database, search_id))
        assert "there is no search" not in answer.text
        assert "there is no trial" not in answer.text
        assert answer.status_code not in (401, 403), f"{route}: {answer.text}"


def test_a_shared_search_can_be_looked_at_and_not_changed(
    client: httpx.Client, keys: dict[str, str | None], database: Database
) -> None:
    owner = a_key(database, "submitter", "owner")
    search_id = client.post(f"{V1}/searches", json=a_search_file(), headers=bearing(owner)).json()["id"]
    trial_id = enqueued(database, search_id)
    assert call(client, f"POST {SEARCH}/share", owner, search_id).json()["shared"] is True
    for route in OF_A_SEARCH - {f"GET {SEARCH}/events"}:
        for role in set(ROLES[route]) - {"admin"}:
            answer = call(client, route, keys[role], search_id, trial_id)
            if route.startswith("GET"):
                assert answer.status_code == 200 or "no network of trial" in answer.text, f"{route}: {answer.text}"
            else:
                assert answer.status_code == 403, f"{route}: {answer.text}"
                assert "only its owner or an admin may change it" in answer.json()["error"]
    assert call(client, f"POST {SEARCH}/unshare", owner, search_id).json()["shared"] is False
    assert call(client, f"GET {SEARCH}", keys["viewer"], search_id).status_code == 404
