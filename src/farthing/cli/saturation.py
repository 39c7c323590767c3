"""`farthing saturation`: where another sample, or another round of thought, stops paying."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, err, out, print_json
from farthing.cli._names import parts


@app.command("saturation")
def saturation(
    recording: Annotated[Path, typer.Argument(help="Recording with several samples a question.")],
    rounds: Annotated[
        bool,
        typer.Option("--rounds", help="Samples of a question are rounds of rethinking, in order."),
    ] = False,
    models: Annotated[str | None, typer.Option(help="By commas. Default: all.")] = None,
    samples: Annotated[int, typer.Option(help="Of each model, at most.", min=4)] = 64,
    gain: Annotated[
        float, typer.Option(help="What another one has to gain to be worth it.")
    ] = 0.01,
    fit_to: Annotated[
        int | None, typer.Option(help="Fit laws to so many. Default: half of them.", min=3)
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot (.png, .svg, .pdf).")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw and the intervals.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say after how many samples, or rounds of rethinking, another gains less than `--gain`.

    Two laws are fitted to the first half and held against the rest: what they miss is told.
    """
    from rich.console import Console

    from farthing.bench.compute import saturated
    from farthing.bench.plotting import check_plot
    from farthing.core.errors import DataError
    from farthing.models.recording import load_recording
    from farthing.plan.compute_units import units

    if plot is not None:
        check_plot(plot)
    loaded = load_recording(recording)
    found, left_out = units(
        loaded,
        list(loaded.models) if models is None else parts(models),
        rounds=rounds,
        most=samples,
        fit_to=fit_to,
        least_gain=gain,
        seed=seed,
    )
    for model, reason in left_out.items():
        err.print(f"{model} left out: {reason}", style="yellow")
    if not found:
        raise DataError(f"{recording}: no model has samples enough")
    if as_json:
        print_json([saturated.as_json(one) for one in found])
    else:
        wide = Console(highlight=False, width=max(out.width, saturated.WIDTH))
        wide.print(saturated.table(found, rounds=rounds))
    if plot is not None:
        saturated.plot(found, plot, rounds=rounds)
        err.print(f"Plotted to {plot}")
