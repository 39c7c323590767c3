"""`farthing serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app


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
) -> None:
    """Answer OpenAI-shaped requests with models and plans, and book what they cost."""
    import logging

    from farthing.gateway.config import load
    from farthing.gateway.server import run

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run(load(config, host=host, port=port, plans=plan or ()), lambda line: print(line, flush=True))
