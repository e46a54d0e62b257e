"""`python -m tests.chaos --seconds 600 --seed 0`: a storm of that length; exit status 1 when a promise broke."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.storm import Storm, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of faults (default: 600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=16)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hourglass-storm-"))
    print(f"seed {given.seed}, {given.workers} workers; logs and diaries are in {folder}", flush=True)
    outcome = run(Storm(given.seconds, given.seed, given.workers), folder)
    print(outcome.text())
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
