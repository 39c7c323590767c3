"""`farthing bench ttc`: what compute at request time buys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import err, out, print_json
from farthing.cli._names import chosen, parts
from farthing.cli.bench import bench


@bench.command("ttc")
def ttc(
    model: Annotated[
        str | None,
        typer.Option(help="Who is asked. Default: tiny-small, or the recording's cheapest."),
    ] = None,
    problems: Annotated[int, typer.Option(help="Chains of arithmetic to ask.", min=10)] = 2000,
    seeds: Annotated[int, typer.Option(help="How often each is asked.", min=1)] = 5,
    wanted: Annotated[
        str | None, typer.Option("--policies", help="Their kinds, by commas. Default: all.")
    ] = None,
    budgets: Annotated[
        str, typer.Option(help="Dollars an operation, in greedy answers of the model, by commas.")
    ] = "2,4,8,16",
    recording: Annotated[
        Path | None, typer.Option(help="Ask this recording in place of tiny models.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Whose times are told; see farthing device.")
    ] = "epyc-2core",
    seed: Annotated[int, typer.Option(help="Of the chains.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Processes. Default: as many as there are cores.", min=1)
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep each policy's results in this folder, and go on from there."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot (.png, .svg, .pdf).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge policies that spend compute at request time, by budget, beside larger models.

    Each operation has a cap in dollars. What is right is known: the answers of chains, or what
    the recording says.
    """
    from rich.console import Console
    from rich.progress import Progress

    from farthing.bench.compute import figures, show
    from farthing.bench.compute.judging import bench as judge
    from farthing.bench.compute.worlds import Source, world
    from farthing.bench.plotting import check_plot
    from farthing.cost.devices import find
    from farthing.policies.ttc.registry import TTC

    kinds = chosen(wanted, TTC, "--policies")
    find(device)
    if plot is not None:
        check_plot(plot)
    source = Source(problems, None if recording is None else str(recording), 64, device, seed)
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("policies", total=None)
        done = judge(
            source,
            model=model or world(source).models[0],
            kinds=kinds,
            budgets=_budgets(budgets),
            seeds=seeds,
            jobs=jobs or os.cpu_count() or 1,
            keep=keep,
            progress=lambda name, n, total: bar.update(
                task, completed=n, total=total, description=name or "policies"
            ),
        )
    found = figures.rows(done)
    if as_json:
        print_json(figures.as_json(done, found))
    else:
        wide = Console(highlight=False, width=max(out.width, show.WIDTH))
        wide.print(show.table(done, found))
    if plot is not None:
        show.plot(done, found, plot)
        err.print(f"Plotted to {plot}")


def _budgets(text: str) -> list[int]:
    told = parts(text)
    if not told or not all(part.isdigit() and int(part) for part in told):
        raise typer.BadParameter(
            f"want whole numbers above 0 by commas, not {text!r}", param_hint="--budgets"
        )
    return [int(part) for part in told]
