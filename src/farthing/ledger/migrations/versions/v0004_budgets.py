"""Budgets: each row is one that was set, topped up or removed, and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table `budgets`."""
    op.create_table(
        "budgets",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("scope", sa.Text),
        sa.Column("limit_pico", sa.BigInteger),
        sa.Column("window", sa.Text),
        sa.Column("zone", sa.Text),
        sa.Column("alpha", sa.Double),
        sa.Column("mode", sa.Text),
        sa.Column("soft", sa.Integer),
        sa.Column("per_operation_pico", sa.BigInteger),
    )
