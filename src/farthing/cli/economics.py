"""`farthing economics`: what models cost for what they get right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, err, out, print_json


@app.command("economics")
def economics(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RECORDING|LEDGER|TABLE",
            help="Recorded answers, a ledger (file or URL), or a table with a row a model.",
        ),
    ],
    human_usd: Annotated[float, typer.Option(help="What a human's attempt costs.")] = 20.0,
    human_success: Annotated[float, typer.Option(help="How often it is right.")] = 1.0,
    dates: Annotated[
        Path | None, typer.Option(help="CSV with model, date, and maybe class.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS", help="The frontier without a class, or a pattern such as 'gpt-*'."
        ),
    ] = None,
    before: Annotated[
        list[str] | None,
        typer.Option(metavar="DATE", help="The frontier of models dated before (ISO)."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of the ranking, such as quality=2,gain=1,cost=1.")
    ] = None,
    mix: Annotated[str, typer.Option(help="Input to output tokens in a listed price.")] = "3:1",
    family: Annotated[
        str | None, typer.Option(help="Column that variants of one model share (base_model).")
    ] = None,
    effort: Annotated[
        str | None, typer.Option(help="Numeric column that orders the variants.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A configuration, whose prices come first."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot (.png, .svg, .pdf).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge models by cost-of-pass, price reversal, a ranking, and the price of effort.

    What is unknown is left empty. A model that is never right costs "never" for a right answer.
    """
    from rich.progress import Progress

    from farthing.bench.economics import report, show
    from farthing.bench.economics.cost_of_pass import Human
    from farthing.bench.economics.plot import plot as write
    from farthing.bench.economics.pricing import Mix
    from farthing.bench.economics.ranking import parse_weights
    from farthing.bench.economics.source import dated, open_study
    from farthing.bench.economics.tabled import read_dates
    from farthing.bench.plotting import check_plot
    from farthing.cli.prices import open_prices

    human, shares = Human(human_usd, human_success), Mix.parse(mix)
    wanted = None if weights is None else parse_weights(weights)
    days = [_day(text) for text in before or ()]
    if plot is not None:
        check_plot(plot)
    book, card_of = open_prices(config)
    study = open_study(source, family=family, effort=effort)
    if dates is not None:
        study = dated(study, read_dates(dates))
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(source, total=report.PARTS)
        found = report.economics(
            study,
            human=human,
            without=without or (),
            before=days,
            book=book,
            card_of=card_of,
            mix=shares,
            weights=wanted,
            progress=lambda name, n: bar.update(task, completed=n, description=name),
        )
    if as_json:
        print_json(report.as_json(found))
    else:
        out.print(show.table(found))
    if plot is not None:
        write(found, plot)
        err.print(f"Plotted to {plot}")


def _day(text: str) -> str:
    from datetime import date

    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no date such as 2025-06-30", param_hint="--before"
        ) from None
