"""`farthing explain`: a plan in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, out, print_json


@app.command("explain")
def explain(
    plan: Annotated[Path, typer.Argument(help="Plan file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a plan's tree, thresholds, certificate and evidence beside the baselines."""
    from farthing.plan import explain as words
    from farthing.plan import file

    loaded = file.load_plan(plan)
    if as_json:
        print_json(file.as_json(loaded))
    else:
        out.print(words.explain(loaded))
