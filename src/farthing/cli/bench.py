"""`farthing bench`: policies beside one another, on recorded answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from farthing.cli._app import app, err, out, print_json
from farthing.cli._names import chosen, parts

WIDTH = 108
"""Columns of the widest table; it is better wrapped by the terminal than cut."""

bench = typer.Typer(
    name="bench",
    help="Put policies beside one another: quality and cost in one table.",
    no_args_is_help=True,
)
app.add_typer(bench)


@bench.command("policies")
def policies(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings (Parquet or JSON Lines).")],
    wanted: Annotated[
        str | None, typer.Option("--policies", help="Their names, by commas. Default: all.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Cheap to strong, by commas. Default: all with costs, up to the best."),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(help="MODEL=USD a sample, for models without recorded costs; repeatable."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Of each model, at most.", min=1)] = 5,
    folds: Annotated[int, typer.Option(help="Outer folds.", min=2)] = 5,
    truth: Annotated[
        Literal["correct", "agreement"],
        typer.Option(help="What is right: the recording's marks, or the strongest's answer."),
    ] = "correct",
    seed: Annotated[int, typer.Option(help="Of the draw of samples and the folds.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Processes. Default: as many as there are cores.", min=1)
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot (.png, .svg, .pdf).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge policies by nested cross-validation, with baselines and intervals.

    Each is asked only questions that it has not learnt from. A gain or saving whose interval
    includes zero is shown as not significant.
    """
    from rich.console import Console
    from rich.progress import Progress

    from farthing.bench import figures, show
    from farthing.bench.plotting import check_plot
    from farthing.bench.policies import bench as judge
    from farthing.models.recording import load_recording
    from farthing.plan.selection import METHODS

    names = chosen(wanted, METHODS, "--policies")
    asked = None if models is None else parts(models)
    costs = _costs(cost or [])
    if plot is not None:
        check_plot(plot)
    done = []
    with Progress(console=err, transient=True) as bar:
        for path in recordings:
            task = bar.add_task(path.name, total=len(names))
            done.append(
                judge(
                    load_recording(path).priced(costs) if costs else load_recording(path),
                    models=asked,
                    methods=names,
                    samples=samples,
                    outer=folds,
                    truth=truth,
                    seed=seed,
                    jobs=jobs or os.cpu_count() or 1,
                    progress=lambda name, n, _, task=task, path=path: bar.update(  # type: ignore[misc]
                        task, completed=n, description=f"{path.name}: {name}"
                    ),
                )
            )
    told = [(one, figures.rows(one)) for one in done]
    if as_json:
        print_json({"recordings": [figures.as_json(*one) for one in told]})
    else:
        wide = Console(highlight=False, width=max(out.width, WIDTH))
        for one in told:
            wide.print(show.table(*one), crop=False)
            wide.print()
    if plot is not None:
        show.plot(told, plot)
        err.print(f"Plotted to {plot}")


def _costs(told: list[str]) -> dict[str, float]:
    costs = {}
    for pair in told:
        model, _, usd = pair.rpartition("=")
        try:
            costs[model] = float(usd)
        except ValueError:
            costs[model] = -1.0
        if not model or not 0 <= costs[model] < float("inf"):
            raise typer.BadParameter(f"{pair!r}: want MODEL=USD", param_hint="--cost")
    return costs
