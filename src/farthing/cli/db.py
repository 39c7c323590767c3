"""`farthing db`: the version of the ledger's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, out, print_json

db = typer.Typer(
    name="db",
    help="Show and upgrade the ledger's tables.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(db)

Db = Annotated[Path, typer.Option("--db", help="The ledger.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_TOLD = {
    "current": "nothing to do",
    "old": "run `farthing db upgrade`",
    "newer": "a newer Farthing wrote it; update Farthing",
}


@db.command("status")
def status(path: Db = Path("farthing.db"), as_json: AsJson = False) -> None:
    """Show which schema the ledger has, and whether it must be upgraded."""
    from farthing.ledger.upgrade import schema_state

    found = schema_state(path)
    if as_json:
        told = {"path": str(path), "schema": found.version, "newest": found.newest}
        print_json(told | {"state": found.state})
        return
    text = f"{path} has schema {found.version}; this Farthing writes schema {found.newest}"
    out.print(f"{text}: {_TOLD[found.state]}.", soft_wrap=True)


@db.command("upgrade")
def upgrade(
    path: Db = Path("farthing.db"),
    backup: Annotated[
        Path | None, typer.Option(help="Copy the ledger there first; a file that is new.")
    ] = None,
) -> None:
    """Bring an older ledger to this Farthing's schema; stop what writes to it before.

    All of it happens or nothing, and no row is lost. There is no way back but a copy: make one
    with --backup.
    """
    from farthing.ledger.upgrade import upgrade as bring_up

    before, after = bring_up(path, backup=backup)
    if before == after:
        out.print(f"{path} has schema {after}: nothing to do.", soft_wrap=True)
        return
    kept = f"; as it was, it is in {backup}" if backup else ""
    out.print(f"{path} upgraded from schema {before} to {after}{kept}.", soft_wrap=True)
