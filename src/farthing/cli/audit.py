"""`farthing audit`: what logs claim was spent, what it really cost, and what could be saved."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farthing.cli._app import app, err, out, print_json

if TYPE_CHECKING:
    from farthing.audit.levers.routed import Routed


@app.command("audit")
def audit(
    logs: Annotated[
        list[str],
        typer.Argument(help="Files, or postgresql://USER@HOST:PORT/DATABASE of a ledger."),
    ],
    format: Annotated[
        str, typer.Option(help="Of the logs: `auto` finds out and says what it found.")
    ] = "auto",
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="What a column of a table tells."),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option("--prices", help="A configuration, whose models and prices come first."),
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(help="Graded answers: what routing saves is measured on them."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as one page.")] = None,
    lines: Annotated[
        Path | None, typer.Option(help="Write every line that differs, with its causes (CSV).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Price every line of some logs anew, say why claims differ, and bound what could be saved.

    Nothing is sent anywhere. Lines that cannot be read are counted and named, never dropped.
    """
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn

    from farthing.audit import run
    from farthing.audit.pricing import Pricing
    from farthing.audit.source import open_source
    from farthing.cli.prices import open_prices

    pricing = Pricing(*open_prices(prices))
    columns = _mapping(mapping or [])
    sources = [open_source(log, format, columns) for log in logs]
    routed = None if recording is None else _routed(recording)
    shown = (*Progress.get_default_columns()[:2], DownloadColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        deviation = None if lines is None else stack.enter_context(run.deviations(lines))
        bar = stack.enter_context(Progress(*shown, console=err, transient=True))
        tasks = {s.name: bar.add_task(Path(s.name).name, total=s.size) for s in sources}
        done = run.audit(
            sources,
            pricing,
            routed=routed,
            deviation=deviation,
            progress=lambda source, read: bar.update(tasks[source.name], completed=read),
        )
    if html is not None:
        from farthing.audit.page import write

        write(done, html)
    if as_json:
        print_json(done.as_json())
    else:
        from farthing.audit.show import report

        out.print(report(done))
    for path in (html, lines):
        if path is not None:
            err.print(f"Written to {path}", soft_wrap=True)


def _routed(path: Path) -> Routed:
    from farthing.audit.levers.routed import Routed
    from farthing.models.recording import load_recording

    return Routed.measure(load_recording(path))


def _mapping(told: list[str]) -> dict[str, str]:
    found = {}
    for one in told:
        name, equals, column = one.partition("=")
        if not equals or not name or not column:
            raise typer.BadParameter(f"{one!r} is not FIELD=COLUMN", param_hint="--map")
        found[name] = column
    return found
