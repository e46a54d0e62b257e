"""API keys, who owns what, and the audit, to which rows can only be added."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_21_keys"
down_revision = "2026_11_21_leadership"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# On SQLite a later batch change of the table `audit` copies it without its triggers: create them anew there.
SQLITE_TRIGGER = """
CREATE TRIGGER audit_refuses_{verb} BEFORE {verb} ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END
"""
POSTGRESQL_FUNCTION = """
CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$
"""
POSTGRESQL_TRIGGER = """
CREATE TRIGGER audit_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit()
"""


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.Column("last_used_at", sa.Float(), nullable=True),
        sa.Column("max_running_searches", sa.BigInteger(), nullable=True),
        sa.Column("max_trials", sa.BigInteger(), nullable=True),
        sa.Column("max_artifact_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_api_keys_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("key_id", ID, nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("search_id", ID, nullable=True),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    _create_triggers()
    op.add_column("searches", sa.Column("owner_key_id", ID, nullable=True))
    op.add_column("searches", sa.Column("shared", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_searches_owner_key_id", "searches", ["owner_key_id"], unique=False)
    op.add_column("workers", sa.Column("key_id", ID, nullable=True))
    op.create_index("ix_artifacts_search_id", "artifacts", ["search_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_artifacts_search_id", "artifacts")
    op.drop_column("workers", "key_id")
    op.drop_index("ix_searches_owner_key_id", "searches")
    op.drop_column("searches", "shared")
    op.drop_column("searches", "owner_key_id")
    op.drop_table("audit")
    op.drop_table("api_keys")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change_of_audit()")


def _create_triggers() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(POSTGRESQL_FUNCTION)
        op.execute(POSTGRESQL_TRIGGER)
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(SQLITE_TRIGGER.format(verb=verb))
