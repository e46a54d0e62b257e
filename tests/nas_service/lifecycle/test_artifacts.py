"""What is kept and for how long, on both databases: checkpoints, networks, and room for the next ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from nas_service.artifacts import ArtifactStore, BrokenArtifact, StoreFails
from nas_service.database import Database
from nas_service.database.clock import now
from nas_service.database.reports import reports_of_trial
from nas_service.database.tables import artifacts
from nas_service.domain.digests import digest_of
from nas_service.lifecycle import control, front, networks
from nas_service.lifecycle.arrivals import Lessee, keep_file, open_checkpoint, place_for
from nas_service.lifecycle.errors import LeaseLost, NotFound
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import dismiss, lease, reap, release, report
from nas_service.lifecycle.networks import open_network, pin_network, sweep_artifacts, unpin_network
from nas_service.lifecycle.overview import detail_of
from nas_service.lifecycle.space import shortage_of_space
from nas_service.messages import EpochReport, Lease, Release, Report
from nas_service.settings import Settings
from tests.builders import a_request, a_result, brought_file, enqueued, leased, submitted

SETTINGS = Settings(max_attempts=1)
EXPIRED = SETTINGS.model_copy(update={"lease_seconds": -1.0})


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


@pytest.fixture
def files(tmp_path: Path, each_database: Database, store: ArtifactStore) -> Callable[[], list[bytes]]:
    """The contents of all files in the store after a sweep."""

    def look() -> list[bytes]:
        with each_database.write() as connection:
            sweep_artifacts(connection, store)
        return sorted(path.read_bytes() for path in (tmp_path / "artifacts").rglob("*") if path.is_file())

    return look


def held(database: Database, tmp_path: Path, **search: object) -> Lease:
    """A lease on the only trial of a new search."""
    enqueued(database, submitted(database, **search))
    return leased(database, tmp_path)


def checkpoint_of(database: Database, store: ArtifactStore, held: Lease) -> bytes:
    with open_checkpoint(database, store, Lessee(held.lease_id, held.token)).file as file:
        return file.read()


def trained(database: Database, store: ArtifactStore, search_id: int, home: Path, psnr_db: float, d_h: int) -> int:
    """A completed trial with a network of these bytes: its d_h."""
    trial_id = enqueued(database, search_id, d_h=d_h)
    holder = leased(database, home, request_id=f"request-{trial_id}")
    brought_file(database, store, holder, str(d_h).encode(), "network")
    with database.write() as connection:
        finish(connection, holder.lease_id, holder.token, a_result(psnr_db))
    return trial_id


def seconds_left(database: Database, trial_id: int) -> float | None:
    """How long the trial's network is kept; None for ever."""
    with database.read() as connection:
        query = select(artifacts.c.expires_at - now()).where(artifacts.c.trial_id == trial_id)
        return connection.execute(query).scalar_one()


def reported(database: Database, held: Lease, *epochs: int) -> None:
    rows = [EpochReport(training=0, epoch=epoch, metrics={"psnr_db": 15.0}) for epoch in epochs]
    with database.write() as connection:
        report(connection, held.lease_id, held.token, Report(step=1, reports=rows), SETTINGS)


# ---- checkpoints


def test_only_the_latest_checkpoint_is_kept_and_the_next_holder_gets_it(
    each_database: Database, tmp_path: Path, store: ArtifactStore, files
) -> None:
    first = held(each_database, tmp_path)
    for content in (b"one", b"two", b"three"):
        brought_file(each_database, store, first, content, "checkpoint")
    assert files() == [b"three"]
    with each_database.write() as connection:
        dismiss(connection, "w1")
    second = leased(each_database, tmp_path, request_id="request-2")
    assert second.checkpoint == digest_of(b"three")
    assert checkpoint_of(each_database, store, second) == b"three"


def test_who_lost_the_trial_can_neither_bring_nor_read_its_checkpoint(
    each_database: Database, tmp_path: Path, store: ArtifactStore, files
) -> None:
    loser = held(each_database, tmp_path)
    brought_file(each_database, store, loser, b"good", "checkpoint")
    with each_database.write() as connection:
        release(connection, loser.lease_id, loser.token, Release(reason="shutdown"))
    leased(each_database, tmp_path, request_id="request-2")
    with pytest.raises(LeaseLost):
        brought_file(each_database, store, loser, b"late", "checkpoint")
    with pytest.raises(LeaseLost):
        checkpoint_of(each_database, store, loser)
    assert files() == [b"good"]


def test_a_lease_lost_while_the_file_was_written_leaves_no_file(
    each_database: Database, tmp_path: Path, store: ArtifactStore, files
) -> None:
    holder = held(each_database, tmp_path)
    with store.part(place_for(each_database, Lessee(holder.lease_id, holder.token), "checkpoint")) as part:
        part.write(b"late")
        with each_database.write() as connection:
            dismiss(connection, "w1")
        with pytest.raises(LeaseLost):
            keep_file(each_database, Lessee(holder.lease_id, holder.token), "checkpoint", part, digest_of(b"late"))
    assert files() == []


def test_reports_up_to_the_checkpoint_outlive_the_worker_and_later_ones_do_not(
    each_database: Database, tmp_path: Path, store: ArtifactStore
) -> None:
    holder = held(each_database, tmp_path)
    reported(each_database, holder, 1, 2)
    brought_file(each_database, store, holder, b"after epoch 2", "checkpoint")
    reported(each_database, holder, 3)
    with each_database.write() as connection:
        release(connection, holder.lease_id, holder.token, Release(reason="shutdown"))
        assert [row["epoch"] for row in reports_of_trial(connection, holder.trial_id)] == [1, 2]


def end_completed(database: Database, holder: Lease) -> None:
    with database.write() as connection:
        finish(connection, holder.lease_id, holder.token, a_result())


def end_failed(database: Database, holder: Lease) -> None:
    with database.write() as connection:
        failed = a_result(outcome="failed", reason="error", message="boom", metrics=None)
        finish(connection, holder.lease_id, holder.token, failed)


def end_cancelled(database: Database, holder: Lease) -> None:
    with database.write() as connection:
        control.cancel(connection, holder.search_id)


def end_poisoned(database: Database, holder: Lease) -> None:
    with database.write() as connection:
        report(connection, holder.lease_id, holder.token, Report(step=1), EXPIRED)
        assert reap(connection, max_attempts=1) == 1


def end_deleted(database: Database, holder: Lease) -> None:
    end_cancelled(database, holder)
    with database.write() as connection:
        control.delete(connection, holder.search_id)


@pytest.mark.parametrize("end", [end_completed, end_failed, end_cancelled, end_poisoned, end_deleted])
def test_the_checkpoint_goes_when_its_trial_ends(
    each_database: Database, tmp_path: Path, store: ArtifactStore, files, end
) -> None:
    holder = held(each_database, tmp_path)
    brought_file(each_database, store, holder, b"state", "checkpoint")
    end(each_database, holder)
    assert files() == []


# ---- networks


def test_a_network_that_leaves_the_front_is_kept_for_a_day(
    each_database: Database, tmp_path: Path, store: ArtifactStore, files
) -> None:
    search_id = submitted(each_database)
    first = trained(each_database, store, search_id, tmp_path, 20.0, d_h=8)
    assert seconds_left(each_database, first) is None
    second = trained(each_database, store, search_id, tmp_path, 21.0, d_h=7)
    assert seconds_left(each_database, first) == pytest.approx(86_400, abs=60)
    assert seconds_left(each_database, second) is None
    assert files() == [b"7", b"8"]
    with each_database.read() as connection, open_network(connection, store, first).file as file:
        assert file.read() == b"8"


def test_the_day_over_it_is_gone_unless_it_was_pinned(
    each_database: Database, tmp_path: Path, store: ArtifactStore, files, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (front, networks):
        monkeypatch.setattr(module, "DAY", -1.0)
    search_id = submitted(each_database, budget={"trials_per_arm": 100})
    first, second = (
        trained(each_database, store, search_id, tmp_path, psnr_db, d_h) for psnr_db, d_h in ((20.0, 9), (19.0, 8))
    )
    with each_database.write() as connection:
        pin_network(connection, first)
    trained(each_database, store, search_id, tmp_path, 21.0, d_h=7)  # better and smaller than both
    assert files() == [b"7", b"9"]
    with each_database.write() as connection:
        with pytest.raises(NotFound, match="is kept"):
            pin_network(connection, second)
        unpin_network(connection, first)
    assert files() == [b"7"]


def test_unpinning_on_the_front_or_where_all_are_kept_changes_nothing(
    each_database: Database, tmp_path: Path, store: ArtifactStore
) -> None:
    for keep_networks, psnr_dbs in (("front", (20.0,)), ("all", (20.0, 19.0))):
        search_id = submitted(each_database, keep_networks=keep_networks)
        for number, psnr_db in enumerate(psnr_dbs):
            trial_id = trained(each_database, store, search_id, tmp_path, psnr_db, d_h=8 + number)
        with each_database.write() as connection:
            pin_network(connection, trial_id)
            unpin_network(connection, trial_id)
        assert seconds_left(each_database, trial_id) is None


def test_a_trial_cancelled_after_its_network_came_leaves_none(
    each_database: Database, tmp_path: Path, store: ArtifactStore, files
) -> None:
    holder = held(each_database, tmp_path)
    brought_file(each_database, store, holder, b"weights", "network")
    end_cancelled(each_database, holder)
    assert files() == []


# ---- space


def test_without_free_space_nothing_is_leased_and_the_search_says_why(
    each_database: Database, store: ArtifactStore
) -> None:
    enqueued(each_database, search_id := submitted(each_database))
    shortage = shortage_of_space(store, Settings(min_free_bytes=2**60))
    with each_database.write() as connection:
        assert lease(connection, a_request(), SETTINGS, shortage) is None
        detail = detail_of(connection, control.require_search(connection, search_id), shortage)
    assert detail.waiting_because == shortage
    assert "GiB free and nothing is leased below 1073741824.00 GiB" in shortage


def test_a_lease_granted_before_the_space_ran_out_is_still_had_by_the_same_request(
    each_database: Database, tmp_path: Path
) -> None:
    granted = held(each_database, tmp_path)
    with each_database.write() as connection:
        assert lease(connection, a_request(), Settings(home=tmp_path), "no space") == granted


def test_with_enough_space_or_in_a_store_elsewhere_there_is_no_shortage(store: ArtifactStore) -> None:
    assert shortage_of_space(store, Settings(min_free_bytes=0)) is None
    assert shortage_of_space(ArtifactStore("memory://artifacts"), Settings(min_free_bytes=2**60)) is None


def test_a_write_that_fails_leaves_no_part_of_a_file(store: ArtifactStore, tmp_path: Path, monkeypatch) -> None:
    def is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", is_full)
    with store.part("search-1/trial-1.checkpoint") as part:
        part.write(b"state")
        with pytest.raises(StoreFails, match=r"does not take the file \(No space left"):
            part.keep()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("url", ["memory://artifacts", "{folder}"])
def test_a_store_of_any_kind_takes_lists_gives_and_removes_a_file(tmp_path: Path, url: str) -> None:
    store = ArtifactStore(url.format(folder=tmp_path / "artifacts"))
    with store.part("search-1/trial-1.checkpoint") as part:
        part.write(b"one")
        part.write(b"two")
        part.keep()
    (found,) = store.files()
    assert (found.path, found.size_bytes, part.digest) == ("search-1/trial-1.checkpoint", 6, digest_of(b"onetwo"))
    with store.open(found.path, part.digest) as file:
        assert file.read() == b"onetwo"
    with pytest.raises(BrokenArtifact, match="was changed"):
        store.open(found.path, digest_of(b"other"))
    store.remove(found.path)
    assert store.files() == []
