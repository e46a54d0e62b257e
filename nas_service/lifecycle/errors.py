"""What a verb may refuse.

LifecycleError
├── NotSignedIn  the key is missing, unknown, expired or revoked  401
├── Forbidden    the key is good, but not for this                403
├── NotFound     no such search, trial or arm                     404
├── Conflict     it is there, but not in a state for this         409
├── Unsuitable   understood, but it does not suit the search       422
└── LeaseLost    the lease ended or another worker has the trial  410
"""

from collections.abc import Sequence

from nas_service.domain.faults import Fault


class LifecycleError(Exception):
    """The message says what was wrong, what was expected and what to do."""


class NotSignedIn(LifecycleError):
    """Nobody knows who calls."""


class Forbidden(LifecycleError):
    """The caller may not do this."""


class NotFound(LifecycleError):
    """There is no such thing."""


class Conflict(LifecycleError):
    """The thing is in a state that does not allow this."""


class Unsuitable(LifecycleError):
    """The values sent do not suit the search; `faults` names each where there may be many."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = list(faults)


class LeaseLost(LifecycleError):
    """The caller no longer has a right to the trial; its work is void."""
