"""Budgets: each row is one that was set, topped up or removed, and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from farthing.ledger.migrations.types import Text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table `budgets`."""
    op.create_table(
        "budgets",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", Text, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("at", Text, nullable=False),
        sa.Column("scope", Text),
        sa.Column("limit_pico", sa.BigInteger),
        sa.Column("window", Text),
        sa.Column("zone", Text),
        sa.Column("alpha", sa.Double),
        sa.Column("mode", Text),
        sa.Column("soft", sa.Integer),
        sa.Column("per_operation_pico", sa.BigInteger),
    )
