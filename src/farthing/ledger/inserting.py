"""Insertions that differ between SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from farthing.ledger.schema import spending

Insertion = sqlite.Insert | postgresql.Insert


def insertion(table: Table, dialect: str) -> Insertion:
    """An insertion that can be told what to do about rows that are there already."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def addition(dialect: str) -> Insertion:
    """What adds to the sums in `spending`."""
    new = insertion(spending, dialect)
    return new.on_conflict_do_update(
        index_elements=list(spending.primary_key.columns),
        set_={"pico": spending.c.pico + new.excluded.pico},
    )
