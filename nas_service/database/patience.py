"""A connection to PostgreSQL that does not wait for ever.

A server may be frozen while its machine still acknowledges packets: neither its own limits nor TCP's end that wait.
"""

from collections.abc import Generator
from time import monotonic
from typing import Any, TypeVar

import psycopg

Answer = TypeVar("Answer")


class PatientConnection(psycopg.Connection[Any]):
    """Closes itself when an answer takes longer than `answer_seconds`."""

    answer_seconds = 60.0

    def wait(self, gen: Generator[Any, Any, Answer], *arguments: Any, **options: Any) -> Answer:
        """Wait for an answer; raises OperationalError, which leaves a closed connection, when it does not come."""
        return super().wait(self._bounded(gen), *arguments, **options)

    def _bounded(self, gen: Generator[Any, Any, Answer]) -> Generator[Any, Any, Answer]:
        deadline = monotonic() + self.answer_seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted  # the driver comes back at least every 0.1 s, ready or not
                if not ready and monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"no answer from the database within {self.answer_seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
