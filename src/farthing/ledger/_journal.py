"""The journal that keeps batches while the ledger is away."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from sqlalchemy import Connection

from farthing.core.errors import LedgerError
from farthing.ledger._batches import UNWRITABLE, Batch

logger = logging.getLogger("farthing.ledger")

_DIGITS = 32  # hexadecimal, of the checksum
_PIECE = 2**16
_TORN = re.compile(rb"[0-9a-f]{32} \{|[0-9a-f]{0,32} ?\Z|\0")  # how what is cut short begins


class Journal:
    """A file of batches, each a line: a checksum, a space and JSON.

    What `append` has confirmed is on disk. Only the last record can be torn, by a crash while it
    was written; it was not confirmed, and is cut off when the file is opened. One process has
    the file at a time.

    Attributes:
        records: how many batches were appended or found and not cleared yet.
        rejected: how many the ledger could not hold.
    """

    def __init__(self, path: Path, file: int) -> None:
        self.path, self.records, self.rejected = path, 0, 0
        self._file = file
        self._end = self._at = 0

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True) -> Self:
        """Open the journal at `path`, to begin with its first batch.

        Raises LedgerError if it cannot be read or written, is damaged before its end, or another
        process has it.
        """
        path = Path(path)
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        except OSError as error:
            raise LedgerError(f"cannot open the journal {path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal = cls(path, file)
            journal._find_end()
            _sync_folder(path)
        except BlockingIOError:
            os.close(file)
            raise LedgerError(f"another process has the journal {path}; stop it first") from None
        except OSError as error:
            os.close(file)
            raise LedgerError(f"cannot read the journal {path}: {error.strerror}") from error
        except LedgerError:
            os.close(file)
            raise
        return journal

    @property
    def pending(self) -> bool:
        """Whether there are batches that were not taken."""
        return self._at < self._end

    def append(self, batch: Batch) -> None:
        """Add `batch`; OSError if that fails, and then it is not there."""
        record = _record(batch)
        try:
            _write(self._file, record, self._end)
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end += len(record)
        self.records += 1

    def replay(self, connection: Connection) -> bool:
        """Write the next batch, in a transaction of its own.

        A batch that the ledger cannot hold, whatever its state, is moved to a file beside the
        journal. Returns whether it was written: a batch that the ledger already has is not.
        """
        line = self._next()
        batch = _batch(line)
        if batch is None:
            raise LedgerError(f"the journal {self.path} is damaged at byte {self._at}")
        try:
            written = self._write_once(connection, batch)
        except UNWRITABLE as error:
            self.reject(line, error)
            written = False
        self._at += len(line)
        return written

    def reject(self, record: bytes | Batch, error: Exception) -> None:
        """Put what the ledger cannot hold into a file beside the journal, and log it."""
        record = _record(record) if isinstance(record, Batch) else record
        path = self.path.with_name(self.path.name + ".rejected")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _write(file, record, os.lseek(file, 0, os.SEEK_END))
            os.fsync(file)
        finally:
            os.close(file)
        self.rejected += 1
        logger.error("the ledger cannot hold a batch, which is now in %s: %s", path, _told(error))

    def clear(self) -> None:
        """Forget all batches."""
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self._at = self._end = self.records = 0

    def close(self) -> None:
        """Leave the file to others."""
        os.close(self._file)

    def _write_once(self, connection: Connection, batch: Batch) -> bool:
        try:
            with connection.begin():
                return batch.write_once(connection)
        except UNWRITABLE:
            with connection.begin():
                return batch.cleaned().write_once(connection)

    def _find_end(self) -> None:
        damaged = None
        for start, line in self._lines():
            if damaged is None and not _is_whole(line):
                if not _TORN.match(line):
                    raise LedgerError(f"{self.path} is no journal, or damaged at byte {start}")
                damaged = start
                continue
            if damaged is not None:
                raise LedgerError(
                    f"the journal {self.path} is damaged at byte {damaged}, before its end; what "
                    "is before and after can be replayed from a copy without that line"
                )
            self._end = start + len(line)
            self.records += 1
        if damaged is not None:
            size = os.fstat(self._file).st_size
            logger.warning(
                "the last %d bytes of the journal %s are cut off: they were being written when "
                "their process died, and nobody was told that they are safe",
                size - self._end,
                self.path,
            )
            os.ftruncate(self._file, self._end)
            os.fsync(self._file)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        start = 0
        with open(os.dup(self._file), "rb") as lines:
            for line in lines:
                yield start, line
                start += len(line)

    def _next(self) -> bytes:
        line = bytearray()
        while self._at + len(line) < self._end:
            piece = os.pread(self._file, _PIECE, self._at + len(line))
            newline = piece.find(b"\n")
            if newline >= 0 or not piece:
                return bytes(line + piece[: newline + 1])
            line += piece
        return bytes(line)


def _record(batch: Batch) -> bytes:
    told = json.dumps(batch.as_json(), separators=(",", ":")).encode()
    return _checksum(told) + b" " + told + b"\n"


def _checksum(told: bytes) -> bytes:
    return hashlib.sha256(told).hexdigest()[:_DIGITS].encode()


def _is_whole(line: bytes) -> bool:
    return line.endswith(b"\n") and line[:_DIGITS] == _checksum(line[_DIGITS + 1 : -1])


def _batch(line: bytes) -> Batch | None:
    return Batch.from_json(json.loads(line[_DIGITS + 1 :])) if _is_whole(line) else None


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _sync_folder(path: Path) -> None:
    """Make sure that a new file is found again after a crash."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _told(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
