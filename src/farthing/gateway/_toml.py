"""Where the keys of a TOML document stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

Path = tuple[str, ...]

_TOKEN = re.compile(
    r"""
    (?P<string>\"{3}(?:\\.|[^\\])*?\"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    |(?P<comment>\#[^\n]*)
    |(?P<newline>\n)
    |(?P<mark>[\[\]{}=,.])
    |(?P<bare>[^\s\[\]{}=,.\#"']+)
    """,
    re.VERBOSE | re.DOTALL,
)


def key_lines(text: str) -> dict[Path, int]:
    """The line, counted from 1, of every key and table header of a valid TOML document.

    The second element of an array `a` is at `("a", "[1]")`. Without such indices a path leads to
    the first key of that name in any element.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._elements: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self._at < len(self._tokens):
            kind, value, line = self._tokens[self._at]
            if kind == "newline":
                self._at += 1
            elif value == "[" and kind == "mark":
                brackets = 0
                while self._is("mark", "["):
                    brackets += 1
                    self._at += 1
                table = self._table(self._key(), array=brackets == 2)
                self._note(table, line)
                while self._is("mark", "]"):
                    self._at += 1
            else:
                self._pair(table)
        return self._lines

    def _is(self, kind: str, value: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at][:2] == (kind, value)

    def _note(self, path: Path, line: int) -> None:
        plain: Path = ()
        for length, part in enumerate(path, 1):
            self._lines.setdefault(path[:length], line)
            if not part.startswith("["):
                plain += (part,)
                self._lines.setdefault(plain, line)

    def _table(self, key: Path, *, array: bool) -> Path:
        """The path of a header, with the index of the latest element of each array of tables."""
        path: Path = ()
        for depth, part in enumerate(key, 1):
            path += (part,)
            if array and depth == len(key):
                self._elements[path] = self._elements.get(path, 0) + 1
            if path in self._elements:
                path += (f"[{self._elements[path] - 1}]",)
        return path

    def _key(self) -> Path:
        parts = []
        while self._at < len(self._tokens):
            kind, value, _ = self._tokens[self._at]
            if kind == "string":
                parts.append(value[1:-1])
            elif kind == "bare":
                parts.append(value)
            elif value != ".":
                break
            self._at += 1
        return tuple(parts)

    def _pair(self, table: Path) -> None:
        """`key = value` in `table`; moves past both."""
        line = self._tokens[self._at][2]
        path = table + self._key()
        self._note(path, line)
        self._at += 1
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._is("mark", "{"):
            self._at += 1
            while not self._is("mark", "}") and self._at < len(self._tokens):
                if self._is("mark", ",") or self._is("newline", "\n"):
                    self._at += 1
                else:
                    self._pair(path)
            self._at += 1
        elif self._is("mark", "["):
            self._at += 1
            index = 0
            while not self._is("mark", "]") and self._at < len(self._tokens):
                if self._is("newline", "\n"):
                    self._at += 1
                elif self._is("mark", ","):
                    self._at += 1
                    index += 1
                else:
                    element = (*path, f"[{index}]")
                    self._note(element, self._tokens[self._at][2])
                    self._value(element)
            self._at += 1
        else:
            while self._at < len(self._tokens):
                kind, value, _ = self._tokens[self._at]
                if kind == "newline" or (kind == "mark" and value in ",}]"):
                    break
                self._at += 1


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind, value = match.lastgroup or "", match.group()
        if kind != "comment":
            yield kind, value, line
        line += value.count("\n")
