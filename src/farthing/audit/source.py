"""A log that is to be audited: which format it has, and its lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from farthing.audit.formats import FORMATS, LEDGER
from farthing.audit.formats.columns import with_mapping
from farthing.audit.formats.format import Format
from farthing.audit.ledger_lines import ledger_lines
from farthing.audit.line import Line, LineError, Skipped
from farthing.audit.records import File
from farthing.core.errors import DataError, FarthingError

SAMPLE = 200
_COARSE = 10

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Source:
    """One log.

    Attributes:
        name: as the user gave it, without a password.
        format: its name.
        title: the format, for people.
        detected: what was seen of it; empty where the user named the format.
        decimals: places that its claims are rounded to; None where they are exact, are as long
            as a computer's numbers, or too few to tell.
        size: in bytes, or lines of a ledger.
        models: those that its first lines name, or that a ledger has.
    """

    name: str
    format: str
    title: str
    detected: str
    decimals: int | None
    size: int
    models: tuple[str, ...]
    _file: File | None = field(repr=False)
    _read: Format | None = field(repr=False)
    _where: str = field(repr=False)

    def lines(self, progress: Progress = lambda done: None) -> Iterator[Line | Skipped]:
        """Its lines in their order; `progress` is told how much of `size` has been read."""
        if self._file is None or self._read is None:
            yield from ledger_lines(self._where, lambda done, _: progress(done))
            return
        for told in self._file.records(progress):
            if isinstance(told, Skipped):
                yield told
                continue
            number, record = told
            try:
                yield from self._read.read(record, number)
            except LineError as error:
                yield Skipped(number, str(error))
            except (FarthingError, TypeError, ValueError, AttributeError, KeyError) as error:
                yield Skipped(number, f"a field of an unexpected kind ({type(error).__name__})")


def open_source(
    where: str, format: str = "auto", mapping: Mapping[str, str] | None = None
) -> Source:
    """Look at a log.

    Args:
        where: a file, or the URL of a ledger in PostgreSQL.
        format: its name, or "auto" to find out.
        mapping: of a table: which column tells which field.

    Raises DataError or LedgerError if it cannot be read or its format cannot be told.
    """
    if format != "auto" and format not in FORMATS and format != LEDGER:
        raise DataError(f"no format is called {format!r}; there are {', '.join(names())}")
    if "://" in where:
        return _ledger(where)
    file = File.of(Path(where))
    if file.kind == "sqlite":
        if format not in ("auto", LEDGER):
            raise DataError(f"{where}: an SQLite database, not a log of format {format!r}")
        return _ledger(where)
    if format == LEDGER:
        raise DataError(f"{where}: not an SQLite database, hence no ledger")
    seen = list(islice(file.records(), SAMPLE))
    records = [one[1] for one in seen if not isinstance(one, Skipped)]
    if not records:
        raise DataError(f"{where}: none of its first {len(seen)} records can be read")
    if mapping:
        chosen, detected = with_mapping(mapping), ""
        columns = set(mapping.values()) - set(records[0])
        if columns:
            raise DataError(
                f"{where}: no column {min(columns)!r}; it has {', '.join(map(str, records[0]))}"
            )
    elif format == "columns":
        raise DataError(f"{where}: format columns needs --map field=column")
    elif format != "auto":
        chosen, detected = FORMATS[format], ""
    else:
        chosen, detected = _detect(where, records)
    source = Source(
        where, chosen.name, chosen.title, detected, None, file.size, (), file, chosen, where
    )
    return _with_first_lines(source)


def names() -> tuple[str, ...]:
    """The formats that can be asked for."""
    return (LEDGER, *FORMATS)


def _ledger(where: str) -> Source:
    from sqlalchemy import func, select

    from farthing.ledger.address import Address
    from farthing.ledger.engines import reading
    from farthing.ledger.schema import attempts

    with reading(where) as connection:
        rows = connection.execute(select(func.count()).select_from(attempts)).scalar_one()
        models = connection.execute(select(attempts.c.model).distinct()).scalars().all()
    name, title = str(Address.of(where)), "ledger of Farthing"
    return Source(name, LEDGER, title, "its tables", None, rows, tuple(models), None, None, where)


def _detect(where: str, records: list[Mapping[str, object]]) -> tuple[Format, str]:
    votes = Counter[str]()
    for record in records:
        for name, one in FORMATS.items():
            if one.marks(record):
                votes[name] += 1
                break
    if not votes:
        keys = ", ".join(map(str, list(records[0])[:12]))
        raise DataError(
            f"{where}: no known log; its records have {keys}. Name the format with --format "
            f"({', '.join(FORMATS)}), or say which column tells what with --map"
        )
    name, count = votes.most_common(1)[0]
    others = "".join(f"; {n} look like {o}" for o, n in votes.most_common()[1:])
    return FORMATS[name], f"{count} of the first {len(records)} records{others}"


def _with_first_lines(source: Source) -> Source:
    """The source, with what its first lines tell: places of claims, and models."""
    places, found, models = 0, 0, dict[str, None]()
    for line in islice(source.lines(), SAMPLE):
        if not isinstance(line, Line):
            continue
        models.setdefault(line.model)
        if line.claimed:
            exponent = line.claimed.normalize().as_tuple().exponent
            assert isinstance(exponent, int)
            places, found = max(places, -exponent), found + 1
    rounded = found and places <= _COARSE
    return replace(source, decimals=places if rounded else None, models=tuple(models))
