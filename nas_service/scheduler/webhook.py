"""Delivers the messages of the outbox to the webhook, signed by the Standard Webhooks scheme, at least once each.

It runs in a thread of its own: a slow receiver delays no search. Of several schedulers the leader delivers.
Leaves out what the messages say: `lifecycle/announce.py`.
"""

import json
import threading
from datetime import UTC, datetime

import httpx
import structlog
from standardwebhooks import Webhook

from nas_service.database import DatabaseAway
from nas_service.database.webhooks import (
    StoredWebhook,
    has_due_webhook,
    postpone_webhook,
    remove_webhook,
    take_due_webhook,
)
from nas_service.scheduler.leader import Leader, NotLeader
from nas_service.settings import Settings

log = structlog.get_logger()

LOOK_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0  # of connecting, sending, and of each wait for the answer
HOLD_SECONDS = 60.0  # a sender that dies meanwhile leaves the message to the next one
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 3600.0
GIVE_UP_SECONDS = 3 * 86400.0


def start_sender(leader: Leader, settings: Settings, stop: threading.Event) -> threading.Thread:
    """Deliver in the background until told to stop."""
    thread = threading.Thread(target=_run, args=(leader, settings, stop), name="webhook", daemon=True)
    thread.start()
    return thread


def _run(leader: Leader, settings: Settings, stop: threading.Event) -> None:
    while not stop.wait(LOOK_SECONDS):
        try:
            while leader.leads and _one_is_due(leader) and not stop.is_set():
                _deliver_one(leader, settings)
        except (DatabaseAway, NotLeader) as error:
            log.debug("webhooks wait", why=str(error))
        except Exception:
            log.exception("a webhook cannot be delivered; trying again")


def _one_is_due(leader: Leader) -> bool:
    with leader.read() as connection:
        return has_due_webhook(connection)


def _deliver_one(leader: Leader, settings: Settings) -> None:
    with leader.write() as connection:
        message = take_due_webhook(connection, HOLD_SECONDS)
    if message is None:
        return
    problem = None if settings.webhook_url is None else _send(message, settings)  # or nobody wants to be told
    with leader.write() as connection:
        if problem is None:
            remove_webhook(connection, message.id)
        elif message.age_seconds > GIVE_UP_SECONDS:
            log.error("webhook given up", webhook=message.id, search=message.search_id, why=problem)
            remove_webhook(connection, message.id)
        else:
            pause = pause_after(message.attempts)
            log.warning("webhook not taken, trying again", search=message.search_id, why=problem, seconds=pause)
            postpone_webhook(connection, message.id, pause)


def pause_after(attempts: int) -> float:
    """Seconds until the next attempt: 5, 10, 20, ... up to an hour."""
    return float(min(FIRST_PAUSE_SECONDS * 2 ** min(attempts - 1, 20), LONGEST_PAUSE_SECONDS))


def _send(message: StoredWebhook, settings: Settings) -> str | None:
    """Make one attempt; why it failed, None when the receiver took the message."""
    assert settings.webhook_url is not None
    assert settings.webhook_secret is not None, "the settings were checked"
    url = f"{settings.server.rstrip('/')}/searches/{message.search_id}"
    payload = {**message.payload, "data": {**message.payload["data"], "url": url}}
    body, at = json.dumps(payload, separators=(",", ":")), datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(settings.webhook_secret.get_secret_value()).sign(message.id, at, body),
    }
    try:
        # No redirect is followed: the signed message is for this address. Of the answer only the status is read.
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, follow_redirects=False) as client,
            client.stream("POST", str(settings.webhook_url), content=body, headers=headers) as answer,
        ):
            return None if answer.is_success else f"status {answer.status_code}"
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
