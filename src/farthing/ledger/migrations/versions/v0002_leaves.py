"""More leaves of usage, and the tier that an attempt was served at.

NULL in rows of version 1: what they would hold was not told apart then.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from farthing.ledger.migrations.types import Text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns to `attempts`."""
    for leaf in ("cache_write_1h", "input_audio", "output_audio", "input_image"):
        op.add_column("attempts", sa.Column(leaf, sa.BigInteger, nullable=True))
    op.add_column("attempts", sa.Column("service_tier", Text, nullable=True))
