"""A table of real answers, several models and samples per question (design: recording format)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.core.errors import DataError
from farthing.models.arrow import pa, pc

REQUIRED = ("question", "model", "answer", "cost_usd")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording in memory, its rows ordered by model, question and sample.

    Attributes:
        path: the file, as the user named it.
        table: the rows, in the canonical order.
        questions: the distinct questions, in alphabetical order. Questions of different tasks
            are different even if they share an identifier.
        models: the distinct models, in alphabetical order.
        start: first row of a (model, question), shape (models, questions + 1).
        metadata: the file's own key-value metadata.
    """

    path: str
    table: pa.Table
    questions: tuple[str, ...]
    models: tuple[str, ...]
    start: Ints
    metadata: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the rows, independent of their order in the file."""
        return _digest(self.table)

    def model_index(self, model: str) -> int:
        """The index of `model`; DataError that lists the models there are."""
        if model not in self.models:
            known = ", ".join(self.models)
            raise DataError(f"{self.path}: no rows of model {model!r}; it has {known}")
        return self.models.index(model)

    def counts(self, model: str) -> Ints:
        """Samples of `model` for each question, shape (questions,)."""
        counts: Ints = np.diff(self.start[self.model_index(model)])
        return counts

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of `table`; DataError if there is none of that name."""
        if name not in self.table.column_names:
            known = ", ".join(self.table.column_names)
            raise DataError(f"{self.path}: no column {name!r}; it has {known}")
        return self.table[name]

    def floats(self, name: str) -> Floats:
        """A numeric column with NaN for null; DataError if it is missing or not numeric."""
        column = self.column(name)
        if pa.types.is_null(column.type):
            raise DataError(f"{self.path}: column {name!r} is null in all rows, want a number")
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DataError(f"{self.path}: column {name!r} is {column.type}, want a number")
        values: Floats = column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
        return values

    def priced(self, costs: Mapping[str, float]) -> Recording:
        """The recording with each sample of the models in `costs` at that many USD.

        For models whose costs were not recorded; DataError for models it does not have.
        """
        each = np.full(self.table.num_rows, np.nan)
        if not pa.types.is_null(self.table["cost_usd"].type):
            each = self.floats("cost_usd").copy()
        for model, usd in costs.items():
            index = self.model_index(model)
            each[self.start[index, 0] : self.start[index, -1]] = usd
        values = pa.array(each, pa.float64(), mask=np.isnan(each))
        table = self.table.drop_columns(["cost_usd"]).append_column("cost_usd", values)
        return replace(self, table=table)

    def select(self, questions: Sequence[int] | Ints) -> Recording:
        """The recording of some of the questions, by index; their order stays as it is."""
        wanted = np.unique(np.asarray(questions, dtype=np.int64))
        counts = np.diff(self.start, axis=1)[:, wanted]
        begin = self.start[:, :-1][:, wanted]
        start = _offsets(counts)
        rows = np.arange(start[-1, -1]) + np.repeat((begin - start[:, :-1]).ravel(), counts.ravel())
        names = tuple(self.questions[q] for q in wanted)
        table = self.table.take(pa.array(rows))
        return Recording(self.path, table, names, self.models, start, self.metadata)


def load_recording(path: str | Path) -> Recording:
    """Read a recording from Parquet, or from JSON Lines (`.jsonl`, `.ndjson`, `.json`).

    Raises DataError, naming the file and what to mend, when it cannot be read, when a required
    column is missing, when it is empty, or when a (task, question, model, sample) occurs twice.
    """
    name = str(path)
    table = _read(Path(path), name)
    missing = [column for column in REQUIRED if column not in table.column_names]
    if missing:
        raise DataError(
            f"{name}: column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; a "
            f"recording has at least {', '.join(REQUIRED)} (see docs/recordings.md)"
        )
    return from_table(table, name)


def from_table(table: pa.Table, path: str = "<table>") -> Recording:
    """The recording held by `table` (see `load_recording`)."""
    if table.num_rows == 0:
        raise DataError(f"{path}: no rows")
    metadata = {
        key.decode(): value.decode(errors="replace")
        for key, value in (table.schema.metadata or {}).items()
        if key != b"ARROW:schema"
    }
    for column in ("question", "model"):
        if table[column].null_count:
            row = pc.index(pc.is_null(table[column]), True).as_py()
            raise DataError(f"{path}: row {row + 1}: column {column!r} is null")
    table = table.replace_schema_metadata(None)
    questions = table["question"].cast(pa.string())
    if "task" in table.column_names and len(pc.unique(table["task"])) > 1:
        task = table["task"].cast(pa.string()).fill_null("")
        questions = pc.binary_join_element_wise(task, questions, "/")
    question, distinct = _codes(questions)
    model, names = _codes(table["model"].cast(pa.string()))
    sample = _samples(table, path)
    order = np.lexsort((sample, question, model))
    model, question, sample = model[order], question[order], sample[order]
    same = (np.diff(model) == 0) & (np.diff(question) == 0)
    table = table.take(pa.array(order))
    if "sample" in table.column_names:
        twice = np.flatnonzero(same & (np.diff(sample) == 0))
        if len(twice):
            row = table.slice(int(twice[0]), 1).to_pylist()[0]
            raise DataError(
                f"{path}: question {row['question']!r}, model {row['model']!r}, sample "
                f"{row['sample']} occurs more than once"
            )
    counts = np.bincount(model * len(distinct) + question, minlength=len(names) * len(distinct))
    start = _offsets(counts.reshape(len(names), len(distinct)))
    return Recording(path, table, distinct, names, start, metadata)


def _codes(column: pa.ChunkedArray) -> tuple[Ints, tuple[str, ...]]:
    """Each value's place among the distinct values, and these in alphabetical order."""
    encoded = column.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    codes = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    return codes, tuple(names[i] for i in order)


def _read(path: Path, name: str) -> pa.Table:
    try:
        if path.suffix in (".jsonl", ".ndjson", ".json"):
            import pyarrow.json as pj

            return pj.read_json(path)
        import pyarrow.parquet as pq

        return pq.read_table(path)
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file") from error
    except (OSError, pa.ArrowInvalid) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{name}: not a readable Parquet or JSON Lines file: {first}") from error


def _samples(table: pa.Table, path: str) -> Ints:
    if "sample" not in table.column_names:
        return np.arange(table.num_rows, dtype=np.int64)
    column = table["sample"]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(f"{path}: column 'sample' must hold whole numbers, none of them null")
    samples: Ints = column.cast(pa.int64()).to_numpy()
    return samples


def _offsets(counts: Ints) -> Ints:
    """Rows before each (model, question); the last column is where the next model begins."""
    ends = np.cumsum(counts.ravel()).reshape(counts.shape)
    first = np.concatenate([[0], ends[:-1, -1]]) if counts.shape[1] else np.zeros(len(counts), int)
    return np.concatenate([first[:, None], ends], axis=1).astype(np.int64)


def _digest(table: pa.Table) -> str:
    """SHA-256 over the format's columns in the canonical row order."""
    digest = hashlib.sha256()
    for name in ("question", "model", "sample", "answer", "cost_usd"):
        if name in table.column_names:
            column = table[name].combine_chunks()
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                column = column.cast(pa.float64())
            else:
                column = column.cast(pa.string())
            digest.update(name.encode())
            # Offsets and validity depend on slicing, so the values themselves are hashed.
            digest.update(pc.is_null(column).to_numpy(zero_copy_only=False).tobytes())
            if pa.types.is_string(column.type):
                digest.update(pc.fill_null(pc.binary_length(column), 0).to_numpy().tobytes())
                digest.update("".join(pc.fill_null(column, "").to_pylist()).encode())
            else:
                digest.update(column.fill_null(0.0).to_numpy(zero_copy_only=False).tobytes())
    return "sha256:" + digest.hexdigest()
