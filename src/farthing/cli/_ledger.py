"""Which ledger a command means."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT = "farthing.db"

Db = Annotated[
    str,
    typer.Option(
        "--db",
        metavar="PATH|URL",
        envvar="FARTHING_LEDGER_URL",
        help="The ledger: a file, or postgresql://USER@HOST:PORT/DATABASE.",
    ),
]
