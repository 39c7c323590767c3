"""Which certificate an operation was under, how many calls it made, and the watch on each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from farthing.ledger.migrations.types import Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns to outcomes; make the table of certificates."""
    op.add_column("outcomes", sa.Column("certificate", Text))
    op.add_column("outcomes", sa.Column("calls", sa.Integer))
    op.create_table(
        "certificates",
        sa.Column("plan", Text, primary_key=True),
        sa.Column("digest", Text, primary_key=True),
        sa.Column("models", Text, nullable=False),
        sa.Column("budget_pico", sa.BigInteger, nullable=False),
        sa.Column("alpha", sa.Double, nullable=False),
        sa.Column("mode", Text, nullable=False),
        sa.Column("level", sa.Double, nullable=False),
        sa.Column("since", Text, nullable=False),
        sa.Column("seen_at", Text, nullable=False),
        sa.Column("place", Text, nullable=False),
        sa.Column("looks", sa.BigInteger, nullable=False),
        sa.Column("state", Text, nullable=False),
        sa.Column("alarm_at", Text),
        sa.Column("drift_at", Text),
        sqlite_with_rowid=False,
    )
