"""The tables. Times are seconds since 1970 by the database's clock; JSON columns hold dumped domain values."""

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from nas_service.domain.states import TrialState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

JSON = sqlalchemy.JSON(none_as_null=True)  # None is SQL's null, not JSON's


class String(TypeDecorator[str]):
    """Text without the character NUL, which PostgreSQL does not store: another sign stands for it."""

    impl = sqlalchemy.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sqlalchemy.Dialect) -> str | None:
        """What the database is given."""
        return None if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")


class Text(String):
    """The same of any length."""

    impl = sqlalchemy.Text
    cache_ok = True


# SQLite counts only INTEGER primary keys up by itself.
Id = BigInteger().with_variant(Integer(), "sqlite")

searches = Table(
    "searches",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text),  # why it failed or ended early
    Column("spec", JSON, nullable=False),  # the Search as submitted
    Column("budget", Float, nullable=False),  # of each arm, in the budget's unit; may be extended
    Column("priority", Integer, nullable=False),
    Column("dataset", String(500), nullable=False),  # Dataset.key: what a worker must have
    Column("dataset_digest", String(80)),  # what it must find there, where that is known
    Column("device", String(200)),  # whose costs are measured: a worker's device by name or kind; null = any
    Column("stall_seconds", Float, nullable=False),  # a trial without a new step for so long is taken back
    Column("trivial", JSON),  # metrics of the task's trivial answer, brought by the first result
    Column("last_event", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("owner_key_id", Id),  # whose it is; null: submitted while there were no keys
    Column("shared", Boolean, nullable=False, server_default=text("false")),  # everybody with a key may look
    Index("ix_searches_owner_key_id", "owner_key_id"),
    sqlite_autoincrement=True,  # an id is never used again
)

arms = Table(
    "arms",
    metadata,
    Column("search_id", Id, ForeignKey("searches.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("exhausted", Text),  # why no shape is left; null while there are some
    Column("spending", Float, nullable=False, server_default=text("0")),  # spent and promised, in the budget's unit
    Column("imported", Integer, nullable=False, server_default=text("0")),  # completed trials measured elsewhere
    # how many of its trials stand in each state, kept by `trials.move_trial` so that progress costs one row
    *(Column(state.value, Integer, nullable=False, server_default=text("0")) for state in TrialState),
)

trials = Table(
    "trials",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("search_id", Id, ForeignKey("searches.id", ondelete="CASCADE"), nullable=False),
    Column("arm", String(64), nullable=False),
    Column("number", Integer, nullable=False),  # in its arm, from 0 without gaps
    Column("state", String(20), nullable=False),
    Column("reason", String(30)),
    Column("message", Text),
    Column("origin", String(20), nullable=False),
    Column("architecture", JSON),
    Column("lr", JSON, nullable=False),
    Column("costs", JSON),
    Column("metrics", JSON),
    Column("replicates", JSON),
    Column("seed", BigInteger, nullable=False),
    Column("on_front", Boolean, nullable=False, server_default=text("false")),
    # what the optimizer needs to be asked again
    Column("ask", JSON),  # parameters and attributes of the Optuna trial; null until the optimizer saw a user's trial
    Column("violation", Float),  # of a refused proposal
    Column("spending", Float, nullable=False, server_default=text("0")),  # planned while open, actual once ended
    Column("duplicate_key", String(32)),  # equal where the same would be trained; null for a refused proposal
    Column("asked_after", JSON),  # what was known when it was proposed; null for a user's trial
    Column("ended_event", BigInteger),  # the event that told its end
    # the lease
    Column("attempt", Integer, nullable=False, server_default=text("0")),  # leases that expired
    Column("worker_id", String(64)),
    Column("lease_id", String(64)),  # kept after the end: a repeated result finds its trial
    Column("request_id", String(64)),  # of the call that was granted the lease: a repeated call gets it again
    Column("token", Integer, nullable=False, server_default=text("0")),  # counts leases: fences off earlier holders
    Column("lease_expires_at", Float),
    Column("step", BigInteger, nullable=False, server_default=text("0")),
    Column("step_at", Float),  # when the step last moved
    Column("queued_at", Float, nullable=False),
    Column("leased_at", Float),
    Column("finished_at", Float),
    # the result
    Column("seconds", Float),
    Column("epochs_done", Integer, nullable=False, server_default=text("0")),
    Column("environment", JSON),
    Column("projection_hash", String(80)),
    Column("result_digest", String(80)),
    UniqueConstraint("search_id", "arm", "number"),
    Index("ix_trials_state_queued_at", "state", "queued_at"),
    Index("ix_trials_search_id_state", "search_id", "state"),
    Index("ix_trials_search_id_arm_duplicate_key", "search_id", "arm", "duplicate_key"),
    Index("ix_trials_lease_id", "lease_id", unique=True),
    Index("ix_trials_request_id", "request_id", unique=True),
    Index("ix_trials_worker_id_state", "worker_id", "state"),
    sqlite_autoincrement=True,
)

reports = Table(
    "reports",
    metadata,
    Column("trial_id", Id, ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True),
    Column("training", Integer, primary_key=True),  # which of the trial's networks, from 0
    Column("epoch", Integer, primary_key=True),  # from 1: epochs finished
    Column("metrics", JSON, nullable=False),
    Column("at", Float, nullable=False),
)

rungs = Table(
    "rungs",
    metadata,
    Column("trial_id", Id, ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, primary_key=True),  # after which the trial was judged
    Column("values", JSON, nullable=False),  # of each objective: the known cost, or the quality there
    Column("peers", Integer, nullable=False),  # as in `Standing`
    Column("better", Integer, nullable=False),
    Column("goes_on", Boolean, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("search_id", Id, ForeignKey("searches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True),  # per search, gapless, in commit order
    Column("kind", String(40), nullable=False),
    Column("trial_id", Id),
    Column("data", JSON, nullable=False),
    Column("at", Float, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("device", String(200), nullable=False),
    Column("memory_bytes", BigInteger),
    Column("slots", Integer, nullable=False),  # trials that it trains at once
    Column("labels", JSON, nullable=False),
    Column("version", String(40), nullable=False),
    Column("datasets", JSON, nullable=False),  # {key: digest or null}: what it can read
    Column("problems", JSON, nullable=False),  # {key: why it cannot}
    Column("first_seen_at", Float, nullable=False),
    Column("last_seen_at", Float, nullable=False),
    Column("gone_at", Float),  # when it said goodbye
    Column("key_id", Id),  # that announced it; null: without a key of its own
)

leadership = Table(  # one row
    "leadership",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False, unique=True),  # counts leaders: fences off earlier ones
    Column("holder", String(200)),  # the scheduler that leads or led last, for people
    Column("expires_at", Float, nullable=False),  # when another one may take over
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("search_id", Id, nullable=False),  # no foreign keys: the file outlives its row until the sweeper came
    Column("trial_id", Id, nullable=False),
    Column("kind", String(20), nullable=False),  # network or checkpoint
    Column("path", String(300), nullable=False, unique=True),  # below the artifact store's root
    Column("digest", String(80), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),  # when the sweeper may remove it; null = kept
    Column("pinned", Boolean, nullable=False, server_default=text("false")),  # kept although off the front
    Index("ix_artifacts_trial_id_kind", "trial_id", "kind"),
    Index("ix_artifacts_expires_at", "expires_at"),
    Index("ix_artifacts_search_id", "search_id"),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys",  # no row is ever removed: the first one closes the service for good
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(20), nullable=False),
    Column("digest", String(80), nullable=False),  # of the secret, which is stored nowhere
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),  # null: never
    Column("revoked_at", Float),
    Column("last_used_at", Float),  # exact to a minute
    Column("max_running_searches", BigInteger),  # quotas; null = none
    Column("max_trials", BigInteger),
    Column("max_artifact_bytes", BigInteger),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",  # rows are added only: triggers refuse to change or remove one
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("key_id", Id),  # of who did it; null where no key stands behind it
    Column("actor", String(200), nullable=False),  # the key's name, or who it was without one
    Column("action", String(40), nullable=False),
    Column("search_id", Id),  # no foreign key: the entry outlives the search
    Column("detail", JSON, nullable=False),
    sqlite_autoincrement=True,
)
