"""One walk through the whole of the REST interface on each database: what is told apart there behaves the same."""

from pathlib import Path

import pytest

from nas_service.database import Database
from nas_service.domain.digests import digest_of
from tests.builders import a_request, a_result, a_search_file, serving

ROUTES_OF_A_SEARCH = ("", "/front", "/front?format=csv", "/plot", "/trials", "/trials?format=csv")


def test_the_way_of_a_trial_over_http(each_database: Database, tmp_path: Path) -> None:
    with serving(each_database.url, tmp_path) as client:
        created = client.post("/api/v1/searches", json=a_search_file(keep_networks="all"))
        search = created.headers["Location"]
        sizes = {"arm": "hourglass", "d_z": 65, "d_h": 8, "depth": 1, "lr": 1e-3}
        trial = client.post(f"{search}/trials", json=sizes).json()
        lease = client.post("/api/v1/leases", json=a_request().model_dump(mode="json")).json()
        mine, token = f"/api/v1/leases/{lease['lease_id']}", {"Lease-Token": str(lease["token"])}
        news = {"step": 1, "reports": [{"training": 0, "epoch": 1, "metrics": {"psnr_db": 15.0}}]}
        assert client.put(mine, json=news, headers=token).json()["action"] == "continue"
        for kind in ("checkpoint", "network"):
            headers = token | {"Content-Digest": digest_of(b"weights"), "Content-Type": "application/octet-stream"}
            assert client.put(f"{mine}/{kind}", content=b"weights", headers=headers).status_code == 204
        for _ in range(2):
            result = client.post(f"{mine}/result", json=a_result().model_dump(mode="json"), headers=token)
            assert (result.status_code, result.json()["state"]) == (200, "completed")
        assert client.put(mine, json=news, headers=token).status_code == 410
        for path in ROUTES_OF_A_SEARCH:
            assert client.get(f"{search}{path}").status_code == 200, path
        assert client.get(f"/api/v1/trials/{trial['id']}/network").content == b"weights"
        assert client.get(f"/api/v1/trials/{trial['id']}/reports").json()["reports"] == news["reports"]
        for page in ("/", f"/searches/{created.json()['id']}", "/api/v1/workers", "/readyz"):
            assert client.get(page).status_code == 200, page
        for verb in ("pause", "resume", "cancel"):
            assert client.post(f"{search}/{verb}").status_code == 200, verb
        assert client.delete(search).status_code == 204
        assert client.get(search).status_code == 404


@pytest.mark.parametrize("what", [{"name": "\0"}, {"priority": 2**40}])
def test_what_one_of_the_databases_cannot_hold_is_no_error_of_the_server(
    each_database: Database, tmp_path: Path, what: dict[str, object]
) -> None:
    with serving(each_database.url, tmp_path) as client:
        assert client.post("/api/v1/searches", json=a_search_file(**what)).status_code < 500
