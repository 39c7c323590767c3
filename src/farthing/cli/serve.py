"""`farthing serve`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app


class Level(StrEnum):
    """What is logged."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


@app.command("serve")
def serve(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")] = Path(
        "farthing.toml"
    ),
    plan: Annotated[
        list[Path] | None, typer.Option("--plan", help="A plan to serve as well; repeatable.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that serve the port together.")
    ] = 1,
    log_level: Annotated[Level, typer.Option(help="From where on to log.")] = Level.warning,
    worker: Annotated[int, typer.Option(min=0, hidden=True)] = 0,
) -> None:
    """Answer OpenAI-shaped requests with models and plans, and book what they cost."""
    from farthing.gateway.config import load
    from farthing.gateway.logs import configure

    def read() -> Config:
        found = load(config, host=host, port=port, plans=plan or ())
        return for_worker(found, worker) if worker else found

    from farthing.gateway.config import Config
    from farthing.gateway.workers import for_worker, left_behind, supervise

    settings = read()
    configure(settings.gateway.log, log_level)
    if not worker:
        for journal in left_behind(settings, workers if workers > 1 else 0):
            typer.echo(
                f"farthing: the journal {journal} is of no gateway that runs here; write it to the "
                f"ledger with `farthing db replay {journal}`",
                err=True,
            )
    if workers > 1:
        options = ["--config", str(config), "--log-level", log_level]
        options += [] if host is None else ["--host", host]
        for path in plan or ():
            options += ["--plan", str(path)]
        supervise(settings, ["serve", *options], workers, _say)
        return
    from farthing.gateway.server import run

    run(settings, _say, read=read, worker=bool(worker))


def _say(line: str) -> None:
    print(line, flush=True)
