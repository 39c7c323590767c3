"""What the benchmarks share: where they ran, and tables."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("numpy", "scipy", "pyarrow")


def environment() -> str:
    """Versions, cores and load, in one line."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Farthing {version('farthing')}, Python {platform.python_version()}, {libraries}; "
        f"{os.cpu_count()} cores, load {load}"
    )


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def recordings(directory: Path, pattern: str) -> list[Path]:
    """The recordings that match; ends the program with a message where there are none."""
    found = sorted(directory.glob(pattern))
    if not found:
        print(f"skipped: no {pattern} in {directory}", file=sys.stderr)
        raise SystemExit(0)
    return found
