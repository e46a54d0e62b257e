"""The service over HTTP: `Client` for people's programs, `WorkerClient` for workers."""

from nas_service.client.errors import ApiError, LeaseLost, NotAllowed, ServerUnreachable
from nas_service.client.people import Client
from nas_service.client.worker import WorkerClient

__all__ = ["ApiError", "Client", "LeaseLost", "NotAllowed", "ServerUnreachable", "WorkerClient"]
