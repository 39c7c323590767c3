"""`farthing device`: cards of machines, shipped and measured."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from farthing.cli._app import app, err, out, print_json

if TYPE_CHECKING:
    from farthing.cost.devices import Device

device = typer.Typer(
    name="device",
    help="What machines compute, move, hold, draw and cost an hour.",
    no_args_is_help=True,
)
app.add_typer(device)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@device.command("list")
def list_devices(as_json: AsJson = False) -> None:
    """List the cards that come with Farthing."""
    from rich.table import Table

    from farthing.cost.devices import find, names

    if as_json:
        print_json({"devices": [{"name": name, **as_dict(find(name))} for name in names()]})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "TFLOP/s", "in", "GB/s", "GB", "watts", "USD an hour", "figures"):
        table.add_column(column, justify="left" if column in ("name", "in", "figures") else "right")
    for name in names():
        card = find(name)
        rate, kind = card.rate("bf16")
        price = "unknown"
        if card.price:
            price = f"{card.price.usd_per_hour} ({card.price.basis})"
        table.add_row(
            name,
            f"{rate / 1e12:.4g}",
            kind,
            f"{card.bandwidth / 1e9:.4g}",
            f"{card.memory / 1e9:.4g}",
            "unknown" if card.watts is None else f"{card.watts:g}",
            price,
            card.basis,
        )
    out.print(table)


@device.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A card's name, or a card file.")],
    as_json: AsJson = False,
) -> None:
    """Show a card, with the sources of its figures."""
    from farthing.cost.devices import dump, find

    card = find(name)
    if as_json:
        print_json({"name": name, **as_dict(card)})
    else:
        out.print(dump(card).rstrip(), markup=False, soft_wrap=True)


@device.command("measure")
def measure(
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the card to this file (.toml).")
    ] = None,
    where: Annotated[
        Literal["cpu", "cuda"] | None,
        typer.Option("--on", help="Default: the accelerator if torch sees one."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Spent on each rate.", min=0.01)] = 1.5,
    usd_per_hour: Annotated[
        str | None, typer.Option(help="What an hour of the machine costs you.")
    ] = None,
    watts: Annotated[float | None, typer.Option(help="What it draws at full load.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the card of this machine: FLOP/s by type, bandwidth, memory, link."""
    import msgspec

    from farthing.core.errors import ConfigError
    from farthing.cost.devices import HourlyPrice, dump, measuring

    if os.getloadavg()[0] > measuring.processors() / 2:
        err.print("This machine is busy: its card will tell less than it can do.", soft_wrap=True)
    with err.status("measuring"):
        card = measuring.measure(where, seconds=seconds)
    if usd_per_hour is not None:
        price = HourlyPrice(usd_per_hour, "estimated", "as told to farthing", card.date)
        _ = price.cost
        card = msgspec.structs.replace(card, price=price)
    if watts is not None:
        card = msgspec.structs.replace(card, watts=watts)
    text = dump(card)
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot be written: {error}", path=str(output)) from error
    if as_json:
        print_json(as_dict(card))
    elif output is None:
        out.print(text.rstrip(), markup=False, soft_wrap=True)
    else:
        out.print(f"Wrote {output}: --device {output} takes it.", soft_wrap=True)


def as_dict(card: Device) -> dict[str, Any]:
    """A card for JSON, with the shares of its peaks that are reckoned with."""
    import msgspec

    made: dict[str, Any] = msgspec.to_builtins(card)
    made["compute_share"], made["bandwidth_share"] = card.reached
    return made
