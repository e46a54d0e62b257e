"""What a call to the service may raise.

ApiError             the server refused: status, message, faulty fields
├── NotAllowed       401, 403: there is no good API key, or its role may not do this
└── LeaseLost        410: the lease ended or another worker has the trial
ServerUnreachable    no answer: not started, restarting, or behind a broken network
"""

from nas_service.domain.faults import Fault


class ApiError(Exception):
    """The server refused a call."""

    def __init__(self, status: int, message: str, faults: list[Fault]) -> None:
        super().__init__(message)
        self.status = status
        self.faults = faults


class NotAllowed(ApiError):
    """The API key is missing, unknown, expired or revoked, or its role may not do this."""


class LeaseLost(ApiError):
    """The trial is no longer this worker's; its work is void."""


class ServerUnreachable(Exception):
    """The server gave no answer."""
