"""The loop that tells, stops and refills: reads what happened, asks the optimizer, fills the queue."""

from nas_service.scheduler.loop import Scheduler

__all__ = ["Scheduler"]
