"""Queries on the leadership: which scheduler may write. One row, a lease by the database's clock (decision 0007).

The epoch counts leaders. Its column is unique, so that on PostgreSQL a change of the epoch waits for every transaction
that `holds_lead` let pass, while renewing, which leaves it alone, waits for none. SQLite has one writer at a time.
"""

from typing import NamedTuple

from sqlalchemy import Connection, select, update

from nas_service.database.clock import now
from nas_service.database.tables import leadership


class Lead(NamedTuple):
    """The right to lead, from when it was taken until another one takes it."""

    epoch: int
    vacant_seconds: float  # for how long nobody led before


def leader_now(connection: Connection) -> str | None:
    """Who leads; None when nobody does."""
    query = select(leadership.c.holder).where(leadership.c.expires_at > now())
    return connection.execute(query).scalar_one_or_none()


def take_lead(connection: Connection, holder: str, lease_seconds: float) -> Lead | None:
    """Lead from now on if nobody does; None while somebody else does. Earlier leaders can write nothing any more."""
    vacant = (now() - leadership.c.expires_at).label("vacant_seconds")
    found = connection.execute(select(leadership.c.epoch, vacant).with_for_update()).one()
    if found.vacant_seconds < 0:
        return None
    epoch = found.epoch + 1
    connection.execute(update(leadership).values(epoch=epoch, holder=holder, expires_at=now() + lease_seconds))
    return Lead(epoch, 0.0 if epoch == 1 else found.vacant_seconds)


def renew_lead(connection: Connection, epoch: int, lease_seconds: float) -> bool:
    """Let the leader of this epoch lead on; False when another one took its place."""
    mine = update(leadership).where(leadership.c.epoch == epoch)
    return connection.execute(mine.values(expires_at=now() + lease_seconds)).rowcount == 1


def give_up_lead(connection: Connection, epoch: int) -> None:
    """End the lease of this epoch's leader at once; nothing happens when another one leads."""
    connection.execute(update(leadership).where(leadership.c.epoch == epoch).values(expires_at=now()))


def holds_lead(connection: Connection, epoch: int) -> bool:
    """Whether this epoch is the present one; it stays so until the transaction ends."""
    query = select(leadership.c.epoch).with_for_update(read=True, key_share=True)
    present: int = connection.execute(query).scalar_one()
    return present == epoch
