"""`farthing` as a user runs it, in this process, which spares what a new one has to import."""

from __future__ import annotations

import contextlib
import io
import os
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from farthing.cli import COMMANDS
from farthing.cli._app import app, run


def farthing(place: Path, *arguments: str) -> CompletedProcess[str]:
    """What `python -m farthing` with these arguments does in the folder `place`."""
    for name in COMMANDS:
        import_module(f"farthing.cli.{name}")
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(place),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, {"COLUMNS": "120"}),
    ):
        try:
            status = run(lambda: app(list(arguments), prog_name="farthing"))
        except SystemExit as ended:
            status = int(ended.code or 0)
    return CompletedProcess(("farthing", *arguments), status, out.getvalue(), err.getvalue())
