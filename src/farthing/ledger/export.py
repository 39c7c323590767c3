"""The ledger as a recording: yesterday's traffic, ready to be planned on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.ledger.address import Where
from farthing.ledger.engines import reading
from farthing.ledger.queries import input_tokens, is_answer, sample_count, started_within
from farthing.ledger.schema import attempts, operations, samples

SCHEMA = pa.schema(
    [
        pa.field("question", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("reference", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("correct", pa.float64()),
        pa.field("input_tokens", pa.int64()),
        pa.field("cached_tokens", pa.int64()),
        pa.field("output_tokens", pa.int64()),
        pa.field("reasoning_tokens", pa.int64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("latency_s", pa.float64()),
        pa.field("mean_logprob", pa.float64()),
        pa.field("min_logprob", pa.float64()),
    ]
)
"""The columns of a recording."""

_BATCH = 4_096


@dataclass(frozen=True, slots=True)
class Exported:
    """What `export` wrote.

    Attributes:
        rows: samples written.
        left_out: attempts that failed or were cancelled, returned no sample, judged others, or
            were answered from a cache.
        estimated: rows whose tokens and cost were divided by the lengths of the texts.
    """

    rows: int
    left_out: int
    estimated: int


class _Sink(Protocol):
    def write(self, rows: list[dict[str, Any]]) -> None: ...

    def close(self) -> None: ...


def export(
    where: Where,
    out: str | Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    task: str = "ledger",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Exported:
    """Write the ledger at `where` as a recording to `out`, in memory that does not grow.

    Args:
        out: a file that ends in .parquet or .jsonl; JSON Lines hold no metadata.
        since, until: operations that started in [since, until).
        task: the recording's `task`.
        progress: called with the rows written and their total.

    Raises:
        LedgerError: the ledger cannot be read, or `out` cannot be written.
    """
    out = Path(out)
    if out.suffix not in (".parquet", ".jsonl"):
        raise LedgerError(f"cannot write {out}: a recording ends in .parquet or .jsonl")
    window = started_within(since, until)
    part = out.with_name(out.name + ".part")
    try:
        with reading(where) as connection:
            exported = _write(connection, window, part, out.suffix, task, progress)
        part.replace(out)
    except OSError as error:
        raise LedgerError(f"cannot write {out}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return exported


def _write(
    connection: Connection,
    window: list[ColumnElement[bool]],
    part: Path,
    suffix: str,
    task: str,
    progress: Callable[[int, int], object],
) -> Exported:
    total, estimated = connection.execute(_counts(window)).one()
    left_out = connection.execute(_left_out(window)).scalar_one()
    exported = Exported(total, left_out, estimated)
    metadata = {
        "source": "a ledger of Farthing",
        "licence": "the owner's",
        "notes": _notes(exported),
    }
    for key, column in (
        ("farthing.answer", operations.c.answer_reader),
        ("farthing.temperature", attempts.c.temperature),
    ):
        values = connection.execute(_answered(window, column).distinct()).scalars().all()
        if len(values) == 1 and values[0] is not None:
            metadata[key] = str(values[0])
    sink: _Sink = _Parquet(part, metadata) if suffix == ".parquet" else _JsonLines(part)
    rows, done = _rows(connection, window, task), 0
    with closing(sink):
        while batch := list(islice(rows, _BATCH)):
            sink.write(batch)
            done += len(batch)
            progress(done, total)
    return exported


def _notes(exported: Exported) -> str:
    return (
        "Recorded traffic. cost_usd is what the sample would have cost asked alone: the whole "
        "prompt and its own output; samples of one call share the prompt's bill, so the rows can "
        "add up to more than was spent. latency_s only where the call returned one sample. "
        f"{exported.left_out} attempts that failed, were cancelled or gave no answer are left "
        f"out. In {exported.estimated} rows output_tokens and cost_usd are estimated: tokens "
        "counted by us, or the call's tokens divided by the lengths of its texts."
    )


class _Parquet:
    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        schema = SCHEMA.with_metadata(dict(metadata))
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=self._writer.schema))

    def close(self) -> None:
        self._writer.close()


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def close(self) -> None:
        self._file.close()


def _rows(
    connection: Connection, window: list[ColumnElement[bool]], task: str
) -> Iterator[dict[str, Any]]:
    query = _answered(
        window,
        operations,
        attempts,
        samples,
        sample_count.label("in_call"),
        input_tokens.label("input_tokens"),
    ).order_by(
        operations.c.question,
        attempts.c.model,
        attempts.c.started_at,
        attempts.c.id,
        samples.c.number,
    )
    stream = connection.execution_options(yield_per=_BATCH).execute(query).mappings()
    for _, group in groupby(stream, key=lambda r: (r[operations.c.question], r[attempts.c.model])):
        for number, row in zip(count(), group):
            yield _row(row, number, task)


def _row(row: Mapping[Any, Any], number: int, task: str) -> dict[str, Any]:
    alone = row["in_call"] == 1
    cost = row[samples.c.cost_pico]
    reasoning = row[attempts.c.reasoning]
    return {
        "question": row[operations.c.question],
        "task": task,
        "prompt": row[operations.c.prompt],
        "reference": None,
        "model": row[attempts.c.model],
        "sample": number,
        "answer": row[samples.c.answer],
        "correct": None,
        "input_tokens": row["input_tokens"],
        "cached_tokens": row[attempts.c.cache_read],
        "output_tokens": row[samples.c.output_tokens],
        "reasoning_tokens": reasoning if alone or reasoning == 0 else None,
        "cost_usd": None if cost is None else float(Cost(cost)),
        "latency_s": row[attempts.c.latency_s] if alone else None,
        "mean_logprob": row[samples.c.mean_logprob],
        "min_logprob": row[samples.c.min_logprob],
    }


def _answered(window: list[ColumnElement[bool]], *columns: Any) -> Select[Any]:
    joined = samples.join(attempts).join(operations)
    query: Select[Any] = select(*columns).select_from(joined)
    return query.where(attempts.c.status == "ok", is_answer, *window)


def _counts(window: list[ColumnElement[bool]]) -> Select[Any]:
    estimated = func.count().filter(samples.c.basis == "estimated")
    return _answered(window, func.count(), estimated)


def _left_out(window: list[ColumnElement[bool]]) -> Select[Any]:
    answers = select(samples.c.number).where(samples.c.attempt_id == attempts.c.id).exists()
    return (
        select(func.count())
        .select_from(attempts.join(operations))
        .where(or_(attempts.c.status != "ok", ~answers, ~is_answer), *window)
    )
