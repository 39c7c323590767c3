"""What goes into the ledger in one transaction, and the SQL that puts it there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Dialect, Insert, Table, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.exc import DataError, IntegrityError

from farthing.core.errors import LedgerError
from farthing.ledger import schema
from farthing.ledger.inserting import addition, insertion
from farthing.ledger.rows import (
    AttemptRow,
    ChargeRow,
    OperationRow,
    OutcomeRow,
    ReservationRow,
)
from farthing.ledger.values import (
    attempt_values,
    charge_values,
    operation_values,
    outcome_values,
    reservation_values,
    sample_values,
    timestamp,
)

Row = OperationRow | AttemptRow | OutcomeRow | ReservationRow | ChargeRow
Values = tuple[Any, ...]
Tables = dict[str, tuple[tuple[str, ...], list[Values]]]

UNWRITABLE = (IntegrityError, DataError, OverflowError, UnicodeError, TypeError, ValueError)
"""Errors that are the rows' fault: trying again does not help."""

_TABLES = (
    schema.operations,
    schema.reservations,
    schema.attempts,
    schema.samples,
    schema.outcomes,
    schema.charges,
)
"""What batches are written to, parents first."""
NAMES = frozenset(table.name for table in _TABLES)
_BARE: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": psycopg.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]
}
"""Dialects whose statements take tuples."""
_SUMMED = tuple(column.name for column in schema.spending.primary_key)
_TELLING = ("operations", "reservations", "attempts", "charges")
"""Tables to which no row can be added twice."""


@dataclass(slots=True)
class Batch:
    """Rows that are written together or not at all.

    Attributes:
        id: by which a journal knows it.
        tables: by the name of the table its columns and rows.
        rows: what it was made of; empty if that is not known.
        doubtful: whether another process may have charged some of it, which took ours for dead.
        tried: whether it was written before, and perhaps with success.
    """

    id: str
    tables: Tables
    rows: Sequence[Row] = ()
    tried: bool = False
    doubtful: bool = False

    @classmethod
    def of(cls, rows: Sequence[Row], *, texts: bool) -> Batch:
        """A batch of `rows`; without `texts`, prompts and answers are left out."""
        found: dict[str, list[Values]] = {table.name: [] for table in _TABLES}
        columns: dict[str, tuple[str, ...]] = {}

        def add(name: str, values: dict[str, Any]) -> None:
            if name not in columns:
                columns[name] = tuple(values)
            found[name].append(tuple(values.values()))

        for row in rows:
            match row:
                case AttemptRow():
                    add("attempts", attempt_values(row))
                    for values in sample_values(row, texts=texts):
                        add("samples", values)
                case OperationRow():
                    add("operations", operation_values(row, texts=texts))
                case OutcomeRow():
                    add("outcomes", outcome_values(row))
                case ReservationRow():
                    add("reservations", reservation_values(row))
                case ChargeRow():
                    add("charges", charge_values(row))
        tables = {name: (columns[name], values) for name, values in found.items() if values}
        return cls(uuid4().hex, tables, rows)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Batch:
        """A batch from what `as_json` told, perhaps in another version.

        Raises LedgerError if there is a table or column that this Farthing does not know.
        """
        tables: Tables = {}
        for name, (columns, rows) in told["tables"].items():
            known = [c.name for c in schema.metadata.tables[name].columns] if name in NAMES else []
            if unknown := set(columns) - set(known):
                raise LedgerError(
                    f"the journal has {name}.{min(unknown)}, which a newer Farthing wrote; update "
                    "Farthing"
                )
            order = sorted(range(len(columns)), key=lambda at: known.index(columns[at]))
            values = [tuple(row[at] for at in order) for row in rows]
            tables[name] = (tuple(columns[at] for at in order), values)
        return cls(told["id"], tables, tried=True, doubtful=True)

    def as_json(self) -> dict[str, Any]:
        """Safe for JSON."""
        return {"id": self.id, "schema": schema.SCHEMA_VERSION, "tables": self.tables}

    def parts(self, *, texts: bool) -> list[Batch]:
        """A batch for each operation, with what kept the whole from being written made good."""
        groups: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[operation_of(row)].append(row)
        parts = [Batch.of(rows, texts=texts) for rows in groups.values()]
        return [Batch(p.id, p.cleaned().tables, p.rows, self.tried, True) for p in parts]

    def cleaned(self) -> Batch:
        """The same with texts that every database takes."""
        tables = {
            name: (columns, [tuple(map(_clean, row)) for row in rows])
            for name, (columns, rows) in self.tables.items()
        }
        return Batch(self.id, tables, tried=self.tried, doubtful=self.doubtful)

    def write(self, connection: Connection) -> None:
        """Write the rows, unless a transaction that seemed to fail has done so."""
        tried, self.tried = self.tried, True
        if tried and self._is_there(connection):
            return
        for table in _TABLES:
            if table is schema.charges:
                self._charge(connection)
            elif table.name in self.tables:
                _insert(connection, table.name, *self.tables[table.name])

    def _charge(self, connection: Connection) -> None:
        """Write charges and add them to the sums that stand for them."""
        if "charges" not in self.tables:
            return
        columns, rows = self.tables["charges"]
        if self.doubtful:
            rows = [row for row in rows if not _is_charged(connection, columns, row)]
        if not rows:
            return
        _insert(connection, "charges", columns, rows)
        sums: Counter[Values] = Counter()
        for row in rows:
            told = dict(zip(columns, row, strict=True))
            sums[tuple(told[name] for name in _SUMMED)] += told["pico"]
        added = [(*key, pico) for key, pico in sums.items()]
        _insert(connection, "spending", (*_SUMMED, "pico"), added)

    def write_once(self, connection: Connection) -> bool:
        """As `write`, unless the ledger has this batch; then it returns False."""
        now = timestamp(datetime.now(UTC))
        statement = _insertion(connection.dialect, "replays", ("batch", "at"))
        if not connection.exec_driver_sql(statement, (self.id, now)).rowcount:
            return False
        if self._is_there(connection):
            return False
        self.tried = False
        self.write(connection)
        return True

    def _is_there(self, connection: Connection) -> bool:
        """Whether the rows are in the ledger; since it is all or none, one tells of all."""
        for name in _TELLING:
            if name in self.tables:
                table = schema.metadata.tables[name]
                columns, rows = self.tables[name]
                first = dict(zip(columns, rows[0], strict=True))
                keys = [column == first[column.name] for column in table.primary_key]
                return (
                    connection.execute(select(1).select_from(table).where(*keys)).first()
                    is not None
                )
        return False


def _insert(
    connection: Connection, table: str, columns: tuple[str, ...], rows: list[Values]
) -> None:
    connection.exec_driver_sql(_insertion(connection.dialect, table, columns), rows)


def _is_charged(connection: Connection, columns: Sequence[str], row: Values) -> bool:
    told, charges = dict(zip(columns, row, strict=True)), schema.charges
    keys = [column == told[column.name] for column in charges.primary_key]
    return connection.execute(select(1).select_from(charges).where(*keys)).first() is not None


def operation_of(row: Row) -> str:
    """The operation that a row is about."""
    return row.id if isinstance(row, OperationRow) else row.operation_id


def _clean(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def _insertion(dialect: Dialect, table: str, columns: Sequence[str]) -> str:
    return _compiled(dialect.name, table, tuple(columns))


@cache
def _compiled(dialect: str, name: str, columns: tuple[str, ...]) -> str:
    """The statement that inserts tuples of `columns`, as the driver wants it."""
    statement = _statement(schema.metadata.tables[name], dialect)
    compiled = statement.compile(dialect=_BARE[dialect], column_keys=list(columns))
    assert tuple(getattr(compiled, "positiontup", ())) == columns, (name, columns)
    return str(compiled)


def _statement(table: Table, dialect: str) -> Insert:
    if table.name not in ("outcomes", "spending", "replays"):
        return insert(table)
    if table.name == "spending":
        return addition(dialect)
    # A caller whose `finish` failed may try again after its row was written all the same.
    return insertion(table, dialect).on_conflict_do_nothing()
