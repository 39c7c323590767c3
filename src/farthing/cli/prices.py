"""`farthing prices`: what a model costs, and where that is known from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farthing.cli._app import app, out, print_json
from farthing.cli._when import moment

if TYPE_CHECKING:
    from rich.table import Table

    from farthing.core.money import Rates
    from farthing.core.protocols import ModelCard
    from farthing.cost import Price, PriceBook

_ALWAYS = ("input", "cache_read", "cache_write", "output", "reasoning")


@app.command("prices")
def prices(
    model: Annotated[
        str,
        typer.Argument(help="The provider's name of the model, or one of the configuration's."),
    ],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A configuration, whose prices come first."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="What holds then (ISO, UTC), not now."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a model charges, by whose word and since when; nothing is fetched."""
    book, card_of = open_prices(config)
    card = card_of(model)
    price = book.price(card, at)
    known = book.prices(card, at)
    holding = [p for p in known if p == book.price(card, at, service_tier=p.service_tier)]
    if as_json:
        standard = price and _as_json(price)
        print_json(
            {
                "model": model,
                "known": price is not None,
                **{key: standard and standard[key] for key in _STANDARD_KEYS},
                "prices": [
                    {
                        "service_tier": p.service_tier,
                        "holds": p in holding,
                        "why": _why(p, card, book),
                        **_as_json(p),
                    }
                    for p in known
                ],
            }
        )
        return
    if price is None:
        out.print(f"The price of {model!r} is unknown: its cost is booked as unknown, not as zero.")
        out.print("State it in the configuration, under the model.")
    else:
        since = f", since {price.date}" if price.date else ""
        out.print(f"{model}: {price.source}{since}")
        out.print(f"It holds because {_why(price, card, book)}.")
        if price.rates.input or price.rates.output or price.tiers:
            out.print(_table(price))
        if price.rates.request:
            out.print(f"and {_usd(price.rates.request)} USD per request")
        if price.per_second:
            out.print(f"and {_usd(price.per_second)} USD per second of the call")
        for name, pico in price.calls:
            out.print(f"and {_usd(pico)} USD per {name.replace('_', ' ')} within an answer")
    others = [p for p in known if p != price]
    if others:
        out.print(_others(others, holding))


_STANDARD_KEYS = (
    "source",
    "date",
    "usd_per_million_tokens",
    "usd_per_request",
    "usd_per_second",
    "usd_per_call",
    "tiers",
)


def open_prices(config: Path | None) -> tuple[PriceBook, Callable[[str], ModelCard]]:
    """The price book, and what it needs to know of a model of a name.

    That is a name in the configuration, else the provider's own. Raises ConfigError.
    """
    from farthing.core.protocols import ModelCard
    from farthing.cost import PriceBook

    if config is None:
        return PriceBook(), lambda model: ModelCard(model, upstream_name=model)
    from farthing.gateway.build import build_prices, price_card
    from farthing.gateway.config import load

    settings = load(config)

    def card(model: str) -> ModelCard:
        if model in settings.models:
            return price_card(settings, model)
        return ModelCard(model, upstream_name=model)

    return build_prices(settings), card


def _why(price: Price, card: ModelCard, book: PriceBook) -> str:
    if price in book.overrides.get(card.name, ()):
        return "the configuration's price book states it"
    if card.rates is not None:
        return f"the model's {card.price_source or 'card'} states it"
    return f"it is published for {card.upstream_name!r}, and nothing overrides it"


def _table(price: Price) -> Table:
    from rich.table import Table

    table = Table(caption="USD per million tokens")
    table.add_column("tokens")
    table.add_column("price", justify="right")
    columns = [price.rates]
    for threshold, rates in price.tiers:
        table.add_column(f"above {threshold:,} input tokens", justify="right")
        columns.append(rates)
    table.add_column("charged")
    for leaf in _leaves():
        stated = any(getattr(rates, leaf) is not None for rates in columns)
        if stated or leaf in _ALWAYS:
            charged = "as stated" if stated else f"as {price.rates.of(leaf)[1]}"
            cells = (_usd(rates.of(leaf)[0] * 10**6) for rates in columns)
            table.add_row(leaf, *cells, charged)
    return table


def _others(prices: list[Price], holding: list[Price]) -> Table:
    """Those of other service tiers and other times."""
    from rich.table import Table

    table = Table(title="Other prices, USD per million tokens", title_justify="left")
    for name in ("service tier", "since", "holds", "above", "stated", "source"):
        table.add_column(name, overflow="fold")
    for price in prices:
        for threshold, rates in ((0, price.rates), *price.tiers):
            stated = [
                f"{leaf} {_usd(rates.of(leaf)[0] * 10**6)}"
                for leaf in _leaves()
                if getattr(rates, leaf) is not None
            ]
            if price.per_second:
                stated.append(f"{_usd(price.per_second)} a second")
            stated += [f"{_usd(pico)} a {name.replace('_', ' ')}" for name, pico in price.calls]
            table.add_row(
                price.service_tier or "standard",
                price.date or "",
                "yes" if price in holding else "no",
                f"{threshold:,}" if threshold else "",
                "\n".join(stated),
                price.source,
            )
    return table


def _as_json(price: Price) -> dict[str, Any]:
    return {
        "source": price.source,
        "date": price.date,
        "usd_per_million_tokens": _per_million(price.rates),
        "usd_per_request": _usd(price.rates.request),
        "usd_per_second": _usd(price.per_second),
        "usd_per_call": {name: _usd(pico) for name, pico in price.calls},
        "tiers": [
            {"above_input_tokens": threshold, "usd_per_million_tokens": _per_million(rates)}
            for threshold, rates in price.tiers
        ],
    }


def _leaves() -> tuple[str, ...]:
    """The leaves, those of the prompt first."""
    from farthing.core.usage import LEAVES

    return tuple(sorted(LEAVES, key=lambda leaf: leaf.startswith(("output", "reasoning"))))


def _per_million(rates: Rates) -> dict[str, str]:
    return {leaf: _usd(rates.of(leaf)[0] * 10**6) for leaf in _leaves()}


def _usd(pico: int) -> str:
    from farthing.core.money import Cost

    return str(Cost(pico))
