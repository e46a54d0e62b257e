"""Results on their way to the server: kept on disk until the server answered, however long it is away.

Each worker has a folder of its own below the root, and a lock beside it that ends with its process. A result is a
folder in it, written under another name, synced and renamed. A worker that starts takes over what ended ones left.
Without room on the disk a result is sent from memory all the same. Leaves out when to give up: that is the caller's.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep, time

import structlog
from filelock import FileLock, Timeout

from nas_service.artifacts import sync_folder
from nas_service.client import ApiError, LeaseLost, ServerUnreachable, WorkerClient
from nas_service.domain.states import FailureReason
from nas_service.domain.values import Value
from nas_service.messages import Lease, Result

log = structlog.get_logger()

PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0  # between calls to a server that is away
LOOK_SECONDS = 0.1  # between looks whether to give up
KEPT_SECONDS = 30 * 86400.0  # then nobody waits for a result any more
TRY_LATER = {401, 403, 429}  # the key may be mended, there are too many calls: nothing is wrong with the result
PART = ".part"  # ends the name of what is not written to its end


class Letter(Value):
    """A result, and what its sender must say to hand it in."""

    server: str
    lease_id: str
    token: int
    trial_id: int
    result: Result


@dataclass(frozen=True)
class Kept:
    """A letter with its network, and where both lie."""

    letter: Letter
    network: bytes | None
    folder: Path | None  # None: in memory only


class Outbox:
    """The results of one worker; without a root, or where that cannot be written, in memory only."""

    def __init__(self, root: Path | None) -> None:
        self.holds_back = False  # whether a result was given up and waits on disk for the next worker
        self._folder: Path | None = None
        if root is None:
            return
        try:
            self._open(root)
            self._take_over(root)
        except OSError as error:
            log.warning("results cannot be kept on disk", folder=str(root), why=str(error))

    def keep(self, server: str, lease: Lease, result: Result, network: bytes | None) -> Kept:
        """Store a result; where the disk does not allow it, it stays in memory."""
        facts = {"lease_id": lease.lease_id, "token": lease.token, "trial_id": lease.trial_id}
        letter = Letter(server=server, result=result, **facts)
        folder = None
        if self._folder is not None:
            try:
                folder = _write(self._folder / f"trial-{lease.trial_id}-{token_hex(4)}", letter, network)
            except OSError as error:
                log.warning("result not kept on disk, sending it from memory", trial=lease.trial_id, why=str(error))
        return Kept(letter, network, folder)

    def left(self, server: str) -> Iterator[Kept]:
        """What ended workers could not deliver to this server; what is for others stays."""
        for folder in sorted(self._folder.iterdir()) if self._folder is not None else ():
            try:
                kept = _read(folder)
            except (OSError, ValueError) as error:  # of another version, say
                log.warning("a kept result cannot be read", folder=str(folder), why=str(error))
                continue
            if kept.letter.server == server:
                yield kept
            else:
                log.info("a kept result is for another server", trial=kept.letter.trial_id, server=kept.letter.server)

    def deliver(self, client: WorkerClient, kept: Kept, give_up: Callable[[], bool]) -> None:
        """Hand a result in, again and again until the server answers, or until `give_up` says so: then it stays."""
        pause, trial = PAUSE_SECONDS, kept.letter.trial_id
        while (why := _try_to_hand_in(client, kept)) is not None:
            if pause == PAUSE_SECONDS:
                log.warning("result not delivered, trying again", trial=trial, error=why)
            if not _wait(pause, give_up):
                self.holds_back |= kept.folder is not None
                where = str(kept.folder) if kept.folder is not None else "nowhere: it is lost"
                log.warning("result not delivered, ending", trial=trial, kept=where)
                return
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        if kept.folder is not None:
            shutil.rmtree(kept.folder, ignore_errors=True)

    def close(self) -> None:
        """Leave what was not delivered to the next worker."""
        if self._folder is None:
            return
        with suppress(OSError):
            if not any(self._folder.iterdir()):
                _remove_with_lock(self._folder)
            self._lock.release()
        self._folder = None

    def _open(self, root: Path) -> None:
        folder = root / token_hex(8)
        root.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_of(folder)  # before the folder is there, so that nobody takes it for one that was left
        self._lock.acquire(timeout=0)
        folder.mkdir()
        self._folder = folder

    def _take_over(self, root: Path) -> None:
        """Bring what ended workers left into the own folder."""
        assert self._folder is not None
        for folder in sorted(root.iterdir()):
            if folder == self._folder or not folder.is_dir():
                continue
            with suppress(Timeout, OSError), _lock_of(folder):  # its worker lives; another one was quicker
                for found in folder.iterdir():
                    if found.suffix == PART or time() - found.stat().st_mtime > KEPT_SECONDS:
                        log.info("removing a kept result: it is not whole, or too old", result=found.name)
                        shutil.rmtree(found)
                    else:
                        found.rename(self._folder / found.name)
                _remove_with_lock(folder)


def _try_to_hand_in(client: WorkerClient, kept: Kept) -> str | None:
    """None when the server has answered, whatever it said; else why it is to be tried again."""
    trial = kept.letter.trial_id
    try:
        _hand_in(client, kept)
    except ServerUnreachable as error:
        return str(error)
    except LeaseLost as error:
        log.warning("lease lost, work thrown away", trial=trial, why=str(error))
    except ApiError as error:
        if error.status in TRY_LATER:
            return str(error)
        log.error("the server refused the result, work thrown away", trial=trial, why=str(error))
    return None


def _hand_in(client: WorkerClient, kept: Kept) -> None:
    """Hand a result in, once; one that the server has no use for ends its trial all the same, with the reason."""
    letter = kept.letter
    try:
        if kept.network is not None:
            with suppress(LeaseLost):  # the trial may have ended by this very result, whose answer was lost
                client.send_network(letter, kept.network)
        client.send_result(letter, letter.result)
    except LeaseLost:
        raise
    except ApiError as error:
        if error.status in TRY_LATER or letter.result.outcome == "failed":
            raise
        message = f"the server refused the result: {error}"[:4000]
        client.send_result(letter, Result(outcome="failed", reason=FailureReason.ERROR, message=message))


def _wait(seconds: float, give_up: Callable[[], bool]) -> bool:
    """Wait; False as soon as it is time to give up."""
    until = monotonic() + seconds
    while monotonic() < until:
        if give_up():
            return False
        sleep(LOOK_SECONDS)
    return not give_up()


def _write(folder: Path, letter: Letter, network: bytes | None) -> Path:
    part = folder.with_suffix(PART)
    try:
        part.mkdir()
        _write_file(part / "letter.json", letter.model_dump_json().encode())
        if network is not None:
            _write_file(part / "network.safetensors", network)
        sync_folder(str(part))
        part.rename(folder)
        sync_folder(str(folder.parent))
    except OSError:
        shutil.rmtree(part, ignore_errors=True)  # a part of it would only fill the disk further
        raise
    return folder


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(folder: Path) -> Kept:
    letter = Letter.model_validate_json((folder / "letter.json").read_bytes())
    network = folder / "network.safetensors"
    return Kept(letter, network.read_bytes() if network.exists() else None, folder)


def _lock_of(folder: Path) -> FileLock:
    return FileLock(f"{folder}.lock", timeout=0)


def _remove_with_lock(folder: Path) -> None:
    """Remove an empty folder; its name is never used again."""
    folder.rmdir()
    Path(f"{folder}.lock").unlink(missing_ok=True)
