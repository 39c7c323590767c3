"""The tables as they were before Alembic, in files that say `schema_version` 1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from farthing.ledger.migrations.types import Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables; files of version 1 have them, and are only stamped."""
    op.create_table(
        "meta",
        sa.Column("key", Text, primary_key=True),
        sa.Column("value", Text),
    )
    op.create_table(
        "operations",
        sa.Column("id", Text, primary_key=True),
        sa.Column("started_at", Text, nullable=False),
        sa.Column("question", Text, nullable=False),
        sa.Column("prompt", Text),
        sa.Column("requested", Text, nullable=False),
        sa.Column("plan", Text),
        sa.Column("strongest", Text),
        sa.Column("key", Text),
        sa.Column("tags", Text, nullable=False),
        sa.Column("answer_reader", Text),
        sa.Column("stream", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("operations_started_at", "operations", ["started_at"])
    op.create_table(
        "attempts",
        sa.Column("id", Text, primary_key=True),
        sa.Column("operation_id", Text, sa.ForeignKey("operations.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("node", Text, nullable=False),
        sa.Column("model", Text, nullable=False),
        sa.Column("started_at", Text, nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("error", Text),
        sa.Column("input", sa.BigInteger),
        sa.Column("cache_read", sa.BigInteger),
        sa.Column("cache_write", sa.BigInteger),
        sa.Column("output", sa.BigInteger),
        sa.Column("reasoning", sa.BigInteger),
        sa.Column("usage_basis", Text, nullable=False),
        sa.Column("cost_pico", sa.BigInteger),
        sa.Column("price_source", Text),
        sa.Column("price_date", Text),
        sa.Column("latency_s", sa.Double),
        sa.Column("ttft_s", sa.Double),
        sa.Column("temperature", sa.Double),
        sa.Column("upstream_id", Text),
        sqlite_with_rowid=False,
    )
    op.create_index("attempts_operation", "attempts", ["operation_id", "number"])
    op.create_table(
        "samples",
        sa.Column("attempt_id", Text, sa.ForeignKey("attempts.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("text", Text),
        sa.Column("answer", Text),
        sa.Column("finish_reason", Text),
        sa.Column("mean_logprob", sa.Double),
        sa.Column("min_logprob", sa.Double),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("cost_pico", sa.BigInteger),
        sa.Column("basis", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outcomes",
        sa.Column("operation_id", Text, sa.ForeignKey("operations.id"), primary_key=True),
        sa.Column("finished_at", Text, nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("answered_by", Text),
        sa.Column("answer", Text),
        sa.Column("signal", sa.Double),
        sa.Column("budget_pico", sa.BigInteger),
        sa.Column("alpha", sa.Double),
        sa.Column("error", Text),
        sqlite_with_rowid=False,
    )
