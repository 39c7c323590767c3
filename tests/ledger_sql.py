"""A ledger of either database as SQL sees it."""

from __future__ import annotations

from typing import Any

from farthing.ledger.address import Where
from farthing.ledger.engines import engine_for


def rows(where: Where, query: str) -> list[dict[str, Any]]:
    engine = engine_for(where, "read")
    try:
        with engine.begin() as connection:
            return [dict(row) for row in connection.exec_driver_sql(query).mappings()]
    finally:
        engine.dispose()


def execute(where: Where, *statements: str) -> None:
    engine = engine_for(where, "write")
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()
