"""`farthing db`: the ledger's tables, its journal, and what is too old."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, out, print_json
from farthing.cli._ledger import DEFAULT, Db
from farthing.core.errors import LedgerError

db = typer.Typer(
    name="db",
    help="Look after the ledger: its tables, its journal, and what is too old.",
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


def _age(text: str) -> timedelta:
    from farthing.ledger.retention import days

    try:
        return days(text)
    except LedgerError as error:
        raise typer.BadParameter(str(error)) from None


@db.command("prune")
def prune(
    older_than: Annotated[
        timedelta,
        typer.Option(parser=_age, metavar="DAYSd", help="What began before goes, such as 90d."),
    ],
    where: Db = DEFAULT,
    texts: Annotated[
        bool, typer.Option("--texts", help="Remove only prompts and verbatim answers.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old operations with all that belongs to them, and book that and what they cost.

    Operations in flight, or with a reservation that is not settled, stay. Gateways may go on
    writing.
    """
    from farthing.ledger.retention import prune, told

    before = datetime.now(UTC) - older_than
    removal = prune(where, "texts" if texts else "operations", before, counts_only=dry_run)
    if as_json:
        print_json(removal.as_json() | {"dry_run": dry_run})
        return
    out.print(f"{'Would remove' if dry_run else 'Removed'} {told(removal)}.", soft_wrap=True)


@db.command("replay")
def replay(
    journal: Annotated[Path, typer.Argument(help="The journal, such as farthing.spool.")],
    where: Db = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Write a journal that a gateway left behind to the ledger, then empty it.

    A batch that the ledger has already is left out, so that it can be done again. A gateway does
    the same when it starts.
    """
    from farthing.ledger.replay import replay as write

    done = write(journal, where)
    if as_json:
        print_json({"journal": str(journal), **asdict(done)})
        return
    text = f"{journal}: {done.added} batches added to the ledger, {done.known} were there"
    if done.rejected:
        text += f"; no ledger can hold {done.rejected}, which are now in {journal}.rejected"
    out.print(f"{text}.", soft_wrap=True)
