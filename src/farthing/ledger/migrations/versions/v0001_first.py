"""The tables as they were before Alembic, in files that say `schema_version` 1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables; files of version 1 have them, and are only stamped."""
    op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text),
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("prompt", sa.Text),
        sa.Column("requested", sa.Text, nullable=False),
        sa.Column("plan", sa.Text),
        sa.Column("strongest", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("answer_reader", sa.Text),
        sa.Column("stream", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("operations_started_at", "operations", ["started_at"])
    op.create_table(
        "attempts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("input", sa.BigInteger),
        sa.Column("cache_read", sa.BigInteger),
        sa.Column("cache_write", sa.BigInteger),
        sa.Column("output", sa.BigInteger),
        sa.Column("reasoning", sa.BigInteger),
        sa.Column("usage_basis", sa.Text, nullable=False),
        sa.Column("cost_pico", sa.BigInteger),
        sa.Column("price_source", sa.Text),
        sa.Column("price_date", sa.Text),
        sa.Column("latency_s", sa.Double),
        sa.Column("ttft_s", sa.Double),
        sa.Column("temperature", sa.Double),
        sa.Column("upstream_id", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("attempts_operation", "attempts", ["operation_id", "number"])
    op.create_table(
        "samples",
        sa.Column("attempt_id", sa.Text, sa.ForeignKey("attempts.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("text", sa.Text),
        sa.Column("answer", sa.Text),
        sa.Column("finish_reason", sa.Text),
        sa.Column("mean_logprob", sa.Double),
        sa.Column("min_logprob", sa.Double),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("cost_pico", sa.BigInteger),
        sa.Column("basis", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outcomes",
        sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), primary_key=True),
        sa.Column("finished_at", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("answered_by", sa.Text),
        sa.Column("answer", sa.Text),
        sa.Column("signal", sa.Double),
        sa.Column("budget_pico", sa.BigInteger),
        sa.Column("alpha", sa.Double),
        sa.Column("error", sa.Text),
        sqlite_with_rowid=False,
    )
