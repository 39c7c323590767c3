"""What several processes must know of each other: reservations, charges, leases, who is alive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from farthing.ledger.migrations.types import Text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add columns for kinds of attempts, caps, rates and owners; make the shared tables."""
    op.add_column("operations", sa.Column("gateway", Text))
    op.add_column("attempts", sa.Column("kind", Text, nullable=False, server_default="sample"))
    op.add_column("outcomes", sa.Column("stopped", Text))
    op.add_column("budgets", sa.Column("requests", sa.BigInteger))
    op.add_column("budgets", sa.Column("tokens", sa.BigInteger))
    op.create_table(
        "reservations",
        sa.Column("operation_id", Text, sa.ForeignKey("operations.id"), primary_key=True),
        sa.Column("budget", Text, primary_key=True),
        sa.Column("counted_as", sa.Integer, nullable=False),
        sa.Column("held_pico", sa.BigInteger, nullable=False),
        sa.Column("at", Text, nullable=False),
        sa.Column("gateway", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("reservations_gateway", "reservations", ["gateway"])
    op.create_table(
        "charges",
        sa.Column("operation_id", Text, sa.ForeignKey("operations.id"), primary_key=True),
        sa.Column("budget", Text, primary_key=True),
        sa.Column("counted_as", sa.Integer, nullable=False),
        sa.Column("pico", sa.BigInteger, nullable=False),
        sa.Column("held_pico", sa.BigInteger, nullable=False),
        sa.Column("at", Text, nullable=False),
        sa.Column("basis", Text, nullable=False),
        sa.Column("gateway", Text, nullable=False),
        sa.Column("since", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("charges_budget", "charges", ["budget", "at"])
    op.create_table(
        "spending",
        sa.Column("counted_as", sa.Integer, primary_key=True),
        sa.Column("gateway", Text, primary_key=True),
        sa.Column("since", Text, primary_key=True),
        sa.Column("pico", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("counted_as", sa.Integer, primary_key=True),
        sa.Column("gateway", Text, primary_key=True),
        sa.Column("pico", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "gateways",
        sa.Column("id", Text, primary_key=True),
        sa.Column("started_at", Text, nullable=False),
        sa.Column("seen_at", Text, nullable=False),
        sa.Column("ended_at", Text),
        sa.Column("ended_by", Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "replays",
        sa.Column("batch", Text, primary_key=True),
        sa.Column("at", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "removals",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", Text, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("before", Text, nullable=False),
        sa.Column("operations", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("cost_pico", sa.BigInteger, nullable=False),
        sa.Column("unknown_cost", sa.BigInteger, nullable=False),
    )
