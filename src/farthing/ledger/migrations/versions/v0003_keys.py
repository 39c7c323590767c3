"""Clients' keys: who they are, their secrets' hashes, and what ended a secret and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from farthing.ledger.migrations.types import Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables `keys`, `key_secrets` and `key_events`."""
    op.create_table(
        "keys",
        sa.Column("name", Text, primary_key=True),
        sa.Column("created_at", Text, nullable=False),
        sa.Column("user_name", Text),
        sa.Column("team", Text),
        sa.Column("tags", Text, nullable=False),
        sa.Column("models", Text),
        sa.Column("plans", Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_secrets",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", Text, nullable=False),
        sa.Column("key_name", Text, sa.ForeignKey("keys.name"), nullable=False),
        sa.Column("sha256", Text, nullable=False),
        sa.Column("created_at", Text, nullable=False),
        sa.Column("expires_at", Text),
    )
    op.create_index("key_secrets_id", "key_secrets", ["id"], unique=True)
    op.create_table(
        "key_events",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key_name", Text, sa.ForeignKey("keys.name"), nullable=False),
        sa.Column("secret_id", Text, sa.ForeignKey("key_secrets.id"), nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("at", Text, nullable=False),
        sa.Column("ends_at", Text, nullable=False),
    )
