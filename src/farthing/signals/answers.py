"""Reading the final answer from a model's text, so that answers can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable

from farthing.core.canonical import canonical_json
from farthing.core.errors import ConfigError

Reader = Callable[[str], str | None]

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_CHOICE = re.compile(r"(?:answer\s*(?:is)?\s*:?\s*)?\(?\b([A-J])\b\)?", re.IGNORECASE)
_ANSWERED = re.compile(r"answer\s*(?:is)?\s*:?\s*\(?([A-J])\b", re.IGNORECASE)


def whole_text(text: str) -> str | None:
    """The text in lower case, with white space folded and a closing full stop removed."""
    return " ".join(text.lower().split()).removesuffix(".") or None


def last_line(text: str) -> str | None:
    """The last line that is not blank, read as `whole_text` does."""
    lines = text.strip().splitlines()
    return whole_text(lines[-1]) if lines else None


def last_number(text: str) -> str | None:
    """The last number, without thousands separators and needless zeros: `1,200.50` is `1200.5`."""
    numbers = _NUMBER.findall(text)
    if not numbers:
        return None
    number = numbers[-1].replace(",", "")
    sign = "-" if number.startswith("-") else ""
    whole, _, fraction = number.lstrip("-").partition(".")
    digits = whole.lstrip("0") or "0"
    fraction = fraction.rstrip("0")
    value = f"{digits}.{fraction}" if fraction else digits
    return value if value == "0" else sign + value


def choice(text: str) -> str | None:
    """The letter A to J of a multiple choice: the one announced as the answer, or the only one."""
    announced = _ANSWERED.findall(text)
    if announced:
        return str(announced[-1]).upper()
    letters = {letter.upper() for letter in _CHOICE.findall(text) if letter.isupper()}
    return letters.pop() if len(letters) == 1 else None


READERS: dict[str, Reader] = {
    "text": whole_text,
    "last-line": last_line,
    "last-number": last_number,
    "choice": choice,
    "json": canonical_json,
}


def reader(name: str) -> Reader:
    """The reader called `name`; `regex:PATTERN` takes the last match (its first group, if any).

    Raises ConfigError for a name or pattern that is not understood.
    """
    if name in READERS:
        return READERS[name]
    if not name.startswith("regex:"):
        known = ", ".join([*READERS, "regex:PATTERN"])
        raise ConfigError(f"{name!r} is no way to read an answer; known: {known}", key="answer")
    try:
        pattern = re.compile(name.removeprefix("regex:"))
    except re.error as error:
        raise ConfigError(f"pattern of {name!r} is wrong: {error}", key="answer") from error

    def read(text: str) -> str | None:
        matches = list(pattern.finditer(text))
        if not matches:
            return None
        last = matches[-1]
        return whole_text((last.group(1) if pattern.groups else last.group(0)) or "")

    return read
