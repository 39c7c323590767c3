"""Tags of operations in queries, for either database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from farthing.ledger.schema import operations


class tag(FunctionElement[str]):  # noqa: N801
    """The value of a tag of operations; NULL for those that do not have it."""

    inherit_cache = True
    type = Text()

    def __init__(self, name: str) -> None:
        super().__init__(operations.c.tags, literal(name))


@compiles(tag, "sqlite")
def _in_sqlite(element: tag, compiler: Any, **how: Any) -> str:
    tags, name = (compiler.process(part, **how) for part in element.clauses)
    return f"""json_extract({tags}, '$."' || {name} || '"')"""


@compiles(tag, "postgresql")
def _in_postgresql(element: tag, compiler: Any, **how: Any) -> str:
    tags, name = (compiler.process(part, **how) for part in element.clauses)
    # It refuses the whole object for a NUL in any of its texts.
    tags = rf"replace({tags}, '\u0000', '\ufffd')"
    return f"""((CAST({tags} AS JSON) ->> {name}) COLLATE "C")"""
