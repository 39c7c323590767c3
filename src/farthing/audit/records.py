"""The records of a file of logs, one at a time: JSON Lines, JSON, CSV or Parquet, also gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Literal

from farthing.audit.fields import Record, decode
from farthing.audit.line import LineError, Skipped
from farthing.core.errors import DataError

Kind = Literal["jsonl", "json", "csv", "parquet", "sqlite"]
Numbered = tuple[int, Record] | Skipped

_HEAD = 1 << 16
_WHOLE = 256 << 20
_CELL = 64 << 20
_TOLD = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class File:
    """A file of logs.

    Attributes:
        kind: how its records are written.
        size: in bytes, as it lies on the disk.
    """

    path: Path
    kind: Kind
    size: int

    @classmethod
    def of(cls, path: Path) -> File:
        """Look at a file's beginning; DataError if it cannot be read or has no records."""
        try:
            size = path.stat().st_size
            with _open(path)[0] as stream:
                head = stream.read(_HEAD)
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file") from error
        except (OSError, EOFError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        return cls(path, _kind(path, head), size)

    def records(self, progress: Callable[[int], object] = lambda read: None) -> Iterator[Numbered]:
        """Its records with the numbers of their lines; those that cannot be read as `Skipped`.

        `progress` is told the bytes read so far. DataError if the file breaks off.
        """
        if self.kind == "parquet":
            return _parquet(self.path, progress, self.size)
        make = {"jsonl": _lines, "json": _elements, "csv": _rows}[self.kind]
        return self._told(make, progress)

    def _told(
        self,
        make: Callable[[BinaryIO, Path], Iterator[Numbered]],
        progress: Callable[[int], object],
    ) -> Iterator[Numbered]:
        try:
            stream, raw = _open(self.path)
            with stream, raw:
                for count, record in enumerate(make(stream, self.path)):
                    if not count & 0x3FF:
                        progress(raw.tell())
                    yield record
                progress(self.size)
        except (OSError, EOFError) as error:
            raise DataError(f"{self.path}: cannot be read to its end: {error}") from error


def _open(path: Path) -> tuple[BinaryIO, BinaryIO]:
    """The file, unpacked where it is gzipped, and as it lies on the disk."""
    raw = path.open("rb")
    zipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    if not zipped:
        return raw, raw
    return io.BufferedReader(gzip.GzipFile(fileobj=raw)), raw


def _kind(path: Path, head: bytes) -> Kind:
    if head.startswith(b"SQLite format 3\0"):
        return "sqlite"
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.removeprefix(_TOLD).lstrip()
    if not text:
        raise DataError(f"{path}: empty")
    if text[:1] == b"[":
        return "json"
    if text[:1] != b"{":
        return "csv"
    first, newline, _ = text.partition(b"\n")
    if not newline and len(head) == _HEAD:
        return "jsonl"  # one long line is a record, as far as can be seen
    try:
        told = decode(first)
    except LineError:
        return "json" if not newline or first.strip() == b"{" else "jsonl"
    pages = isinstance(told, dict) and isinstance(told.get("data"), list)
    return "json" if pages and not text[len(first) :].strip() else "jsonl"


def _lines(stream: BinaryIO, path: Path) -> Iterator[Numbered]:
    for number, line in enumerate(stream, 1):
        if number == 1:
            line = line.removeprefix(_TOLD)
        if line.isspace():
            continue
        try:
            record = decode(line)
        except LineError as error:
            yield Skipped(number, str(error))
            continue
        if type(record) is dict:
            yield number, record
        else:
            yield Skipped(number, "not an object")


def _elements(stream: BinaryIO, path: Path) -> Iterator[Numbered]:
    """Elements of an array, read piece by piece; or the `data` of an object, read as a whole."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")
    start = text.read(_HEAD)
    if start.lstrip()[:1] == "{":
        rest = text.read(_WHOLE)
        if len(rest) == _WHOLE:
            raise DataError(f"{path}: one JSON object of more than {_WHOLE >> 20} MiB; split it")
        try:
            told = decode((start + rest).encode())
        except LineError as error:
            raise DataError(f"{path}: neither JSON nor JSON Lines") from error
        found = told.get("data", told.get("observations")) if isinstance(told, dict) else None
        for number, one in enumerate(found if isinstance(found, list) else [told], 1):
            yield (number, one) if isinstance(one, dict) else Skipped(number, "not an object")
        return
    yield from _array(text, start, path)


def _array(text: io.TextIOBase, buffer: str, path: Path) -> Iterator[Numbered]:
    scan = json.JSONDecoder(parse_float=Decimal).raw_decode
    at = buffer.index("[") + 1
    number, piece = 0, _HEAD
    while True:
        while at < len(buffer) and (buffer[at].isspace() or buffer[at] == ","):
            at += 1
        if at < len(buffer) and buffer[at] == "]":
            return
        try:
            if at == len(buffer):
                raise ValueError
            value, at = scan(buffer, at)
        except ValueError:
            more = text.read(piece)
            if not more:
                number += 1
                yield Skipped(number, "the array breaks off, or is not JSON from here")
                return
            buffer, at = buffer[at:] + more, 0
            piece = min(max(piece, len(buffer)), 1 << 24)
            continue
        number += 1
        yield (number, value) if isinstance(value, dict) else Skipped(number, "not an object")


def _rows(stream: BinaryIO, path: Path) -> Iterator[Numbered]:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
    csv.field_size_limit(_CELL)
    sample = text.readline()
    dialect = max(",;\t", key=sample.count)
    names = next(csv.reader([sample], delimiter=dialect), [])
    if len(names) < 2:
        raise DataError(f"{path}: neither JSON nor a table: its first line has no columns")
    reader, begin = csv.reader(text, delimiter=dialect), 2
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Skipped(begin, "not a row of a table")
            begin = reader.line_num + 2
            continue
        if len(row) == len(names):
            yield begin, dict(zip(names, row, strict=True))
        elif row:
            yield Skipped(begin, "a row with another number of columns")
        begin = reader.line_num + 2


def _parquet(path: Path, progress: Callable[[int], object], size: int) -> Iterator[Numbered]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number, total = 0, file.metadata.num_rows
            for batch in file.iter_batches(4096):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
                progress(size * number // max(1, total))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
