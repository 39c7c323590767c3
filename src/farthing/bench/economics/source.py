"""Which kind of source a path is, and the study in it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from farthing.bench.economics.recorded import Recorded, recorded
from farthing.bench.economics.study import Study
from farthing.bench.economics.tabled import Known, Tabled, read_table
from farthing.core.errors import DataError

_SQLITE = b"SQLite format 3\x00"


def open_study(where: str, *, family: str | None = None, effort: str | None = None) -> Study:
    """The study in a recording, in a ledger, or in a table with a row a model.

    Args:
        family, effort: columns of a recording, see `recorded`.

    Raises DataError, and LedgerError where a ledger cannot be read.
    """
    from farthing.models.recording import load_recording

    path = Path(where)
    columns = (family or "base_model", effort)
    if "://" in where or _is_sqlite(path):
        return _ledger(where, *columns)
    if path.suffix.lower() == ".csv" or (path.suffix == ".parquet" and not _has_questions(path)):
        if family or effort:
            raise DataError(f"{path}: a table of models names its families in the column family")
        return read_table(path)
    return recorded(load_recording(path), *columns)


def dated(study: Study, known: Mapping[str, Known]) -> Study:
    """The study with dates and classes from a file; what it tells itself stands otherwise."""
    assert isinstance(study, Recorded | Tabled)
    entries = []
    for entry in study.entries:
        told = known.get(entry.model, Known(None, None))
        entries.append(replace(entry, date=told.date or entry.date, kind=told.kind or entry.kind))
    if isinstance(study, Tabled):
        return Tabled(study.source, tuple(entries), study.rates)
    return replace(study, entries=tuple(entries))


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _has_questions(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return "question" in pq.read_schema(path).names
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, pa.ArrowInvalid) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file: {first}") from error


def _ledger(where: str, family: str, effort: str | None) -> Study:
    from farthing.ledger.export import export
    from farthing.models.recording import from_table

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ledger.parquet"
        export(where, out)
        import pyarrow.parquet as pq

        return recorded(from_table(pq.read_table(out), where), family, effort)
