"""`farthing export`: the ledger as a recording."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, err, out
from farthing.cli._ledger import DEFAULT, Db
from farthing.cli._when import moment


@app.command("export")
def export(
    to: Annotated[Path, typer.Option("--out", help="The recording: .parquet or .jsonl.")],
    db: Db = DEFAULT,
    since: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Started then or later (ISO, UTC)."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Started before (ISO, UTC)."),
    ] = None,
    task: Annotated[str, typer.Option(help="What the recording calls this traffic.")] = "ledger",
) -> None:
    """Write the ledger as a recording, so that yesterday's traffic can be planned on."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from farthing.ledger.export import export as write

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("rows", total=None)
        exported = write(
            db,
            to,
            since=since,
            until=until,
            task=task,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    out.print(
        f"{exported.rows} rows written to {to}; {exported.left_out} attempts that failed, were "
        f"cancelled or gave no answer left out; tokens estimated in {exported.estimated} rows.",
        soft_wrap=True,
    )
