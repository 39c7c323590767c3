"""What a format of logs is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from farthing.audit.fields import Record
from farthing.audit.line import Line, Skipped


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of log tells of calls.

    Attributes:
        name: as `--format` has it.
        title: for people.
        marks: whether a record is of this format, by the names of its fields.
        read: the calls that a record tells of; LineError if it cannot be read.
    """

    name: str
    title: str
    marks: Callable[[Record], bool]
    read: Callable[[Record, int], Iterable[Line | Skipped]]
