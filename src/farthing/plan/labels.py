"""Labels: what people said of recorded answers, from a CSV file."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from farthing.core.errors import DataError

REQUIRED = ("question", "correct")


@dataclass(frozen=True, slots=True)
class Label:
    """One line of the file.

    Attributes:
        line: where it stands, counted from 1.
        question: as in the recording.
        correct: 0 to 1.
        model, sample: whose answer it is; None where the file does not say.
    """

    line: int
    question: str
    correct: float
    model: str | None
    sample: int | None


def load_labels(path: str | Path) -> list[Label]:
    """The labels of a CSV file with a header, in its order; other columns are passed over.

    Raises DataError, naming file and line, when it cannot be read, lacks `question` or `correct`,
    holds no line, a value that is none, or two labels of one answer.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return _labels(str(path), csv.DictReader(file))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from error


def _labels(path: str, reader: csv.DictReader[str]) -> list[Label]:
    names = reader.fieldnames or ()
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise DataError(
            f"{path}:1: column {missing[0]!r} missing; labels have at least question,correct and "
            "may have model,sample"
        )
    found: list[Label] = []
    seen: dict[tuple[str, str | None, int | None], int] = {}
    for row in reader:
        where = f"{path}:{reader.line_num}"
        if not row["question"]:
            raise DataError(f"{where}: no question")
        label = Label(
            reader.line_num,
            row["question"],
            _correct(where, row["correct"]),
            row.get("model") or None,
            _sample(where, row.get("sample") or None),
        )
        key = (label.question, label.model, label.sample)
        if key in seen:
            raise DataError(
                f"{where}: question {label.question!r} is labelled a second time; first on line "
                f"{seen[key]}"
            )
        seen[key] = label.line
        found.append(label)
    if not found:
        raise DataError(f"{path}: no labels")
    return found


def _correct(where: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise DataError(f"{where}: correct is {text or ''!r}, want a number from 0 to 1")
    return value


def _sample(where: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{where}: sample is {text!r}, want a whole number") from error
