"""Whether a call comes from where it should: from this machine, or from a page of our own.

While there are no API keys the service is for this machine only. A foreign Host or Origin is refused then, which keeps
a web page in the user's browser from reaching the service by DNS rebinding or a cross-site request.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def why_foreign(headers: Mapping[str, str]) -> str | None:
    """Why a call is not from this machine; None when it is."""
    for name, given in (("Host", f"//{headers.get('host', '')}"), ("Origin", headers.get("origin", ""))):
        if given and not is_loopback(given):
            return f"the {name} must be this machine (got {given.lstrip('/')}); use http://127.0.0.1:PORT"
    return None


def is_loopback(address: str) -> bool:
    """Whether a URL or //host:port names this machine."""
    try:
        return urlsplit(address).hostname in LOOPBACK_NAMES
    except ValueError:
        return False


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a page of our own makes the call: browsers name the page's host as Origin in all that changes something.

    The scheme is not compared: a proxy may speak HTTPS in front of us.
    """
    try:
        origin = urlsplit(headers.get("origin", "")).netloc
    except ValueError:
        return False
    is_from_elsewhere = headers.get("sec-fetch-site", "same-origin") != "same-origin"
    return origin != "" and origin == headers.get("host") and not is_from_elsewhere
