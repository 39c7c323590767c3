"""`farthing db`: the version of the ledger's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, out, print_json
from farthing.cli._ledger import DEFAULT, Db

db = typer.Typer(
    name="db",
    help="Show and upgrade the ledger's tables.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(db)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_TOLD = {
    "current": "nothing to do",
    "old": "run `farthing db upgrade`",
    "newer": "a newer Farthing wrote it; update Farthing",
}


@db.command("status")
def status(where: Db = DEFAULT, as_json: AsJson = False) -> None:
    """Show which schema the ledger has, and whether it must be upgraded."""
    from farthing.ledger.upgrade import schema_state

    found = schema_state(where)
    if as_json:
        told = {"ledger": str(found.address), "schema": found.version, "newest": found.newest}
        print_json(told | {"state": found.state})
        return
    text = f"{found.address} has schema {found.version}; this Farthing writes schema {found.newest}"
    out.print(f"{text}: {_TOLD[found.state]}.", soft_wrap=True)


@db.command("upgrade")
def upgrade(
    where: Db = DEFAULT,
    backup: Annotated[
        Path | None, typer.Option(help="Copy an SQLite ledger there first; a new file.")
    ] = None,
) -> None:
    """Bring an older ledger to this Farthing's schema; stop what writes to it before.

    All of it happens or nothing, and no row is lost. There is no way back but a copy: make one
    with --backup, or of a PostgreSQL database with pg_dump.
    """
    from farthing.ledger.address import Address
    from farthing.ledger.upgrade import upgrade as bring_up

    address = Address.of(where)
    before, after = bring_up(address, backup=backup)
    if before == after:
        out.print(f"{address} has schema {after}: nothing to do.", soft_wrap=True)
        return
    kept = f"; as it was, it is in {backup}" if backup else ""
    out.print(f"{address} upgraded from schema {before} to {after}{kept}.", soft_wrap=True)
