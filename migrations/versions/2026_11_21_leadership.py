"""leadership: one row, the lease of the scheduler that leads."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_21_leadership"
down_revision = "2026_11_20"
branch_labels = None
depends_on = None


def upgrade() -> None:
    leadership = op.create_table(
        "leadership",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=True),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leadership")),
        sa.UniqueConstraint("epoch", name=op.f("uq_leadership_epoch")),
    )
    op.bulk_insert(leadership, [{"id": 1, "epoch": 0, "holder": None, "expires_at": 0.0}])


def downgrade() -> None:
    op.drop_table("leadership")
