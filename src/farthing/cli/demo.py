"""`farthing demo`: the main job on the models that come with Farthing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, err, out, print_json


@app.command("demo")
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where its files go; kept afterwards.")
    ] = Path("farthing-demo"),
    questions: Annotated[int, typer.Option(min=60, help="Recorded, and asked afresh.")] = 300,
    budget: Annotated[str, typer.Option(help="Of one request in USD.")] = "0.000004",
    alpha: Annotated[float, typer.Option(help="Share of requests that may cost more.")] = 0.35,
    seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Record, plan, serve and compare, with three small models on this machine; two minutes.

    Needs the extra `demo` (the openai package), no keys, and no network beyond this machine.
    """
    from importlib.util import find_spec

    from farthing.core.errors import ConfigError

    if find_spec("openai") is None:
        raise ConfigError(
            "the demo talks to the gateway through the openai package: install it "
            "with `pip install 'farthing[demo]'`"
        )
    from farthing.cli._demo import Demo

    done = Demo(directory, questions, budget, alpha, seed, err if as_json else out).run()
    if as_json:
        print_json(done.as_json())
    else:
        out.print(done.table())
