"""`farthing prices`: what a model costs, and where that is known from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from farthing.cli._app import app, out, print_json

if TYPE_CHECKING:
    from farthing.core.money import Rates


@app.command("prices")
def prices(
    model: Annotated[str, typer.Argument(help="The provider's name of the model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the published price of a model, its source and its date; nothing is fetched."""
    from farthing.core.protocols import ModelCard
    from farthing.cost import PriceBook

    price = PriceBook().price(ModelCard(model, upstream_name=model))
    if as_json:
        print_json(
            {
                "model": model,
                "known": price is not None,
                "source": price and price.source,
                "date": price and price.date,
                "usd_per_million_tokens": price and _per_million(price.rates),
                "usd_per_request": price and _usd(price.rates.request),
                "tiers": price
                and [
                    {
                        "above_input_tokens": threshold,
                        "usd_per_million_tokens": _per_million(rates),
                    }
                    for threshold, rates in price.tiers
                ],
            }
        )
        return
    if price is None:
        out.print(f"The price of {model!r} is unknown: its cost is booked as unknown, not as zero.")
        out.print("State it in the configuration, under the model.")
        return

    from rich.table import Table

    since = f", since {price.date}" if price.date else ""
    table = Table(title=f"{model}: {price.source}{since}", caption="USD per million tokens")
    table.add_column("tokens")
    table.add_column("price", justify="right")
    columns = [_per_million(price.rates)]
    for threshold, rates in price.tiers:
        table.add_column(f"above {threshold:,} input tokens", justify="right")
        columns.append(_per_million(rates))
    for leaf in columns[0]:
        table.add_row(leaf, *(column[leaf] for column in columns))
    out.print(table)
    if price.rates.request:
        out.print(f"and {_usd(price.rates.request)} USD per request")


def _per_million(rates: Rates) -> dict[str, str]:
    leaves: dict[str, int | None] = {
        "input": rates.input,
        "cache_read": rates.cache_read,
        "cache_write": rates.cache_write,
        "output": rates.output,
        "reasoning": rates.reasoning,
    }
    same_as: dict[str, Any] = {
        "cache_read": rates.input,
        "cache_write": rates.input,
        "reasoning": rates.output,
    }
    return {
        leaf: _usd((same_as[leaf] if rate is None else rate) * 10**6)
        for leaf, rate in leaves.items()
    }


def _usd(pico: int) -> str:
    from farthing.core.money import Cost

    return str(Cost(pico))
