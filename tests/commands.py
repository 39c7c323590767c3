"""`farthing` as a user runs it, in this process, which spares what a new one has to import."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess

from rich.console import Console

from farthing.cli import COMMANDS
from farthing.cli import _app as cli

COLUMNS = 120


def farthing(place: Path, *arguments: str) -> CompletedProcess[str]:
    """What `python -m farthing` with these arguments does in the folder `place`."""
    for name in COMMANDS:
        import_module(f"farthing.cli.{name}")
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(place),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        wide(cli.out),
        wide(cli.err),
    ):
        try:
            status = cli.run(lambda: cli.app(list(arguments), prog_name="farthing"))
        except SystemExit as ended:
            status = int(ended.code or 0)
    return CompletedProcess(("farthing", *arguments), status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def wide(console: Console) -> Iterator[None]:
    """The console with `COLUMNS` columns; it was made when the first test imported it."""
    before, console.width = console.width, COLUMNS
    yield
    console.width = before
