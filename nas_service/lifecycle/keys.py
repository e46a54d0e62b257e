"""API keys: made, recognised, revoked.

A key reads `hg_<id>_<secret>`. Only the secret's digest is stored; its 256 random bits need no slow hash.
"""

import re
from hmac import compare_digest
from secrets import token_urlsafe

from nas_service.database import Connection
from nas_service.database.audit import append_audit
from nas_service.database.keys import credential_of, has_keys, insert_key, key_by_id, key_by_name, revoke
from nas_service.domain.digests import digest_of
from nas_service.domain.records import StoredKey
from nas_service.domain.roles import OWN_WORKERS, Caller, Quotas, Role
from nas_service.lifecycle.errors import Conflict, NotFound, NotSignedIn, Unsuitable

DAY = 86400.0
NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
KEYS = re.compile(r"hg_([1-9][0-9]{0,17}|own)_([A-Za-z0-9_-]{43})")  # one written by `_written`
UNKNOWN = "this API key is not known here; look for a missing character, or ask an admin for a key"
GONE = {"expired": "has expired", "revoked": "was revoked"}
OWN = "own"  # stands for the id of the secret that has no row


def create_key(
    connection: Connection, name: str, role: Role, days: float | None, quotas: Quotas, by: Caller
) -> tuple[StoredKey, str]:
    """Store a new key; returns it and its text, which can be read nowhere afterwards.

    Raises:
        Conflict: when the name is taken, be it by a revoked key.
        Unsuitable: when it is no name for a key.
    """
    if not NAMES.fullmatch(name):
        raise Unsuitable(f"a key's name has 1 to 64 letters, digits and any of . _ @ - (got {name!r})")
    if (earlier := key_by_name(connection, name)) is not None:
        raise Conflict(f"there is a key {name} already ({earlier.standing}, {earlier.role}); choose another name")
    secret = token_urlsafe(32)
    lives = None if days is None else days * DAY
    key_id = insert_key(connection, name, role, digest_of(secret.encode()), lives, quotas)
    detail = {"name": name, "role": role, "expires_after_days": days, **quotas.model_dump(exclude_none=True)}
    append_audit(connection, by, "key_created", None, detail)
    key = key_by_name(connection, name)
    assert key is not None, "stored above"
    return key, _written(str(key_id), secret)


def revoke_key(connection: Connection, name: str, by: Caller) -> None:
    """Let a key be good for nothing from now on; revoking twice is revoking.

    Raises:
        NotFound: when there is no key of that name.
    """
    key = key_by_name(connection, name)
    if key is None:
        raise NotFound(f"there is no key {name}; `hourglass keys list` shows those that there are")
    if key.standing != "revoked":
        revoke(connection, key.id)
        append_audit(connection, by, "key_revoked", None, {"name": name})


def own_key() -> str:
    """A key without a row, for the workers that a service starts itself."""
    return _written(OWN, token_urlsafe(32))


def caller_of(connection: Connection, text: str, own: str | None) -> Caller:
    """Who calls with this key.

    Args:
        connection: to read from.
        text: the key as it was sent.
        own: the key of the service's own workers, if it has any.

    Raises:
        NotSignedIn: when it is nobody's, has expired or was revoked.
    """
    found = KEYS.fullmatch(text)
    if found is None or found[1] == OWN:
        if own is not None and compare_digest(text.encode(), own.encode()):
            return OWN_WORKERS
        raise NotSignedIn(UNKNOWN)
    credential = credential_of(connection, int(found[1]))
    if credential is None or not compare_digest(credential.digest, digest_of(found[2].encode())):
        raise NotSignedIn(UNKNOWN)
    key = credential.key
    if key.standing != "valid":
        raise NotSignedIn(f"the API key {key.name} {GONE[key.standing]}; ask an admin for another one")
    return Caller(key_id=key.id, name=key.name, role=key.role)


def require_standing(connection: Connection, caller: Caller) -> None:
    """Raise NotSignedIn when a caller, who was recognised earlier and has waited since, may call no more."""
    if caller == OWN_WORKERS:
        return
    key = None if caller.key_id is None else key_by_id(connection, caller.key_id)
    if has_keys(connection) if key is None else key.standing != "valid":
        raise NotSignedIn(f"the API key of this call ({caller.name}) is good no more; use another one")


def _written(key_id: str, secret: str) -> str:
    return f"hg_{key_id}_{secret}"
