"""Types of columns that the steps name, besides those of SQLAlchemy."""

import sqlalchemy as sa

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Text that sorts by its bytes, as times and identifiers must; SQLite's does anyway."""
