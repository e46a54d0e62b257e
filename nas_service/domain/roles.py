"""Who may do what: the roles of API keys, what each may do, and the quotas that a key may have."""

from enum import StrEnum

from pydantic import Field

from nas_service.domain.values import Value


class Role(StrEnum):
    """What a key is for."""

    VIEWER = "viewer"  # looks at searches that are shared
    SUBMITTER = "submitter"  # also submits searches, and changes its own
    WORKER = "worker"  # trains trials, and sees no search but through them
    ADMIN = "admin"  # everything, on everybody's searches


class Right(StrEnum):
    """What a call needs."""

    CALL = "call"  # any valid key
    LOOK = "look"  # at searches, trials, workers
    SUBMIT = "submit"  # and change what one owns
    WORK = "work"  # lease trials and hand in results
    ADMINISTER = "administer"  # what concerns everybody


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.CALL, Right.LOOK}),
    Role.SUBMITTER: frozenset({Right.CALL, Right.LOOK, Right.SUBMIT}),
    Role.WORKER: frozenset({Right.CALL, Right.WORK}),
    Role.ADMIN: frozenset(Right),
}


def roles_with(right: Right) -> list[Role]:
    """The roles that have a right, the least first."""
    return [role for role in Role if right in RIGHTS[role]]


class Caller(Value):
    """Who makes a call."""

    key_id: int | None  # None: no key in the table stands behind it
    name: str
    role: Role

    def may(self, right: Right) -> bool:
        """Whether the role has the right."""
        return right in RIGHTS[self.role]

    def may_see(self, owner_key_id: int | None, shared: bool) -> bool:
        """Whether a search of that owner, shared or not, is visible to it."""
        return self.may(Right.LOOK) and (shared or self._is_like(owner_key_id))

    def may_change(self, owner_key_id: int | None) -> bool:
        """Whether it may pause, cancel or delete a search of that owner, and so on."""
        return self.may(Right.SUBMIT) and self._is_like(owner_key_id)

    def _is_like(self, owner_key_id: int | None) -> bool:
        return self.may(Right.ADMINISTER) or (owner_key_id is not None and owner_key_id == self.key_id)


# While there are no keys whoever reaches the service, on this machine alone, may do everything.
ANYBODY_HERE = Caller(key_id=None, name="this machine", role=Role.ADMIN)
# The workers that `hourglass up` starts: their secret lives as long as that process and has no row.
OWN_WORKERS = Caller(key_id=None, name="own workers", role=Role.WORKER)


class Quotas(Value):
    """The most that the searches of one key may take; None for no limit."""

    max_running_searches: int | None = Field(default=None, ge=0, description="searches in state running, at once")
    max_trials: int | None = Field(default=None, ge=0, description="trials in training or ended, imported left out")
    max_artifact_bytes: int | None = Field(default=None, ge=0, description="kept networks and checkpoints")


class Usage(Value):
    """What the searches of one key take now, in the quotas' units."""

    running_searches: int
    trials: int
    artifact_bytes: int
