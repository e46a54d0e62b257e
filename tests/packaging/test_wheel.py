"""The wheel holds all that the service needs: it is built, installed away from the checkout, and used from there."""

import json
import os
import queue
import re
import subprocess
import sys
import sysconfig
import threading
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHECKOUT = Path(__file__).parents[2]
# What users set for their own service must not reach the one under test.
CLEAN = {
    name: value for name, value in os.environ.items() if not name.startswith(("HOURGLASS_", "PYTHON", "VIRTUAL_ENV"))
}
TINY_SEARCH = """
name: tiny-digits
dataset: {name: digits}
task: {kind: denoising, noise_std: 0.25}
recipe: {epochs: 1}
arms:
  hourglass: {family: hourglass, w_in: learned, w_out: learned, d_z: [65, 96], d_h: [4, 32], depth: [1, 2], lr: 1.0e-3}
  conventional: {family: conventional, w_in: none, w_out: none, d_z: 64, d_h: [65, 128], depth: [1, 2], lr: 1.0e-3}
objectives: [{name: parameters_trainable, scale: log}, {name: psnr_db}]
budget: {trials_per_arm: 2}
sampler: random
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"), "--wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel; third-party packages are this environment's."""
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip(python, "install", "--no-deps", str(wheel))
    # A .pth file found through a .pth file is not followed, so the editable install of the checkout stays out.
    (site_packages(python) / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_the_wheel_carries_migrations_pages_and_examples(wheel: Path) -> None:
    carried = set(contents(wheel))

    def from_the_checkout(folder: str, inside: str) -> set[str]:
        tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder, cwd=CHECKOUT)
        return {inside + path.removeprefix(folder) for path in tracked.split()}

    assert from_the_checkout("migrations", "nas_service/migrations") <= carried
    assert from_the_checkout("examples", "nas_service/examples") <= carried
    for package in ("api", "nas_service", "workers"):
        assert from_the_checkout(package, package) <= carried
    assert {"api/templates/base.html", "api/static/style.css", "nas_service/migrations/env.py"} <= carried
    assert {path.split("/")[0] for path in carried if ".dist-info" not in path} == {"api", "nas_service", "workers"}


def test_the_wheel_built_from_the_sdist_is_the_same(wheel: Path, tmp_path: Path) -> None:
    assert contents(build(tmp_path)) == contents(wheel)  # without --wheel: the sdist, then the wheel from it


def test_the_installed_packages_are_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    script = "import api, nas_service, workers; print(api.__file__, nas_service.__file__, workers.__file__)"
    files = run(installed / "python", "-c", script, cwd=tmp_path).split()
    assert all(Path(file).is_relative_to(site_packages(installed / "python")) for file in files), files


def test_the_pinned_packages_satisfy_the_wheel(installed: Path) -> None:
    said = pip(installed / "python", "install", "--dry-run", "-c", str(CHECKOUT / "constraints.txt"), "hourglass-nas")
    assert "Would install" not in said


def test_a_search_runs_to_its_front_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(TINY_SEARCH)
    hourglass = installed / "hourglass"
    with service(hourglass, tmp_path) as url:
        said = run(hourglass, "submit", file, "--wait", "--server", url, cwd=tmp_path, timeout=240)
        submitted = re.search(r"^search (\d+) \(tiny-digits\)", said, re.MULTILINE)
        assert submitted, said
        printed = run(hourglass, "front", submitted[1], "--format", "json", "--server", url, cwd=tmp_path)
    front = json.loads(printed)
    assert {arm: bool(part["points"]) for arm, part in front["arms"].items()} == {
        "hourglass": True,
        "conventional": True,
    }


@contextmanager
def service(hourglass: Path, folder: Path) -> Iterator[str]:
    """`hourglass up` on a free port, as its URL; it must end by SIGTERM, with status 0."""
    options = ["--host", "127.0.0.1", "--port", "0", "--workers", "1", "--data-dir", folder / "data"]
    with subprocess.Popen(
        [hourglass, "up", *options],
        cwd=folder,
        env=CLEAN,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        lines: queue.Queue[str | None] = queue.Queue()
        said: list[str] = []
        reader = threading.Thread(target=forward, args=(process, lines, said))
        reader.start()
        try:
            yield first_url(lines, said)
            process.terminate()
            status = process.wait(timeout=60)
        finally:
            process.kill()  # nothing to do where it has ended; its scheduler and workers end with it
            reader.join(timeout=30)
    assert status == 0, "".join(said)


def forward(process: subprocess.Popen[str], lines: queue.Queue[str | None], said: list[str]) -> None:
    """Read what the service prints until it ends, so that it never waits for a reader."""
    assert process.stdout
    for line in process.stdout:
        said.append(line)
        lines.put(line)
    lines.put(None)


def first_url(lines: queue.Queue[str | None], said: list[str], seconds: float = 90) -> str:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left)
        except queue.Empty:
            break
        if line is None:
            break
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError(f"`hourglass up` printed no URL within {seconds:.0f} s:\n{''.join(said)}")


def build(folder: Path, *options: str) -> Path:
    """Build with this environment's hatchling, so that nothing is fetched."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, *options, CHECKOUT, cwd=folder)
    return next(folder.glob("*.whl"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pip(python: Path, *arguments: str) -> str:
    return run(sys.executable, "-m", "pip", "--python", python, *arguments, "--no-index", cwd=python.parent)


def site_packages(python: Path) -> Path:
    return Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=python.parent).strip())


def run(*command: str | Path, cwd: Path, timeout: float = 120) -> str:
    """What the command prints on standard output; it must end with status 0."""
    ended = subprocess.run(command, cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=timeout, check=False)
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout
