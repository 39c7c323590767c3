"""`farthing card`: the physics of a model on a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farthing.cli._app import app, err, out, print_json

if TYPE_CHECKING:
    from farthing.cost.runtime import Server


def sizes(text: str) -> list[int]:
    """Batch sizes: `8`, `1,8,32`, or `1..64` for the powers of two between."""
    try:
        if ".." in text:
            low, high = (int(part) for part in text.split("..", 1))
            found = sorted({low, high} | {2**k for k in range(21) if low <= 2**k <= high})
            if low > high:
                raise ValueError
        else:
            found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(1 <= n <= 2**20 for n in found):
        raise typer.BadParameter(f"{text!r} is no batch size such as 8, 1,8,32 or 1..64")
    return found


@app.command("card")
def card(
    config: Annotated[Path, typer.Argument(help="A model's config.json, or its folder.")],
    device: Annotated[str, typer.Option(help="A name of `farthing device list`, or a card file.")],
    batch: Annotated[
        Any, typer.Option(parser=sizes, metavar="N..M", help="Requests that run together.")
    ] = "1..64",
    input: Annotated[int, typer.Option(help="Tokens of a prompt.", min=1)] = 4096,
    output: Annotated[int, typer.Option(help="Tokens of an answer.", min=1)] = 512,
    devices: Annotated[int, typer.Option(help="Devices that share the model.", min=1)] = 1,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights are stored in: bfloat16, fp8, int8, int4, mxfp4, ..."),
    ] = None,
    kv_bits: Annotated[int | None, typer.Option(help="Of a number in the cache.", min=1)] = None,
    overhead_ms: Annotated[float, typer.Option(help="On top of each pass.", min=0)] = 0.0,
    usd_per_hour: Annotated[
        str | None, typer.Option(help="Of one device. Default: its card's, an estimate.")
    ] = None,
    utilisation: Annotated[
        float, typer.Option(help="Busy share of the hours that are paid.", min=0.001, max=1)
    ] = 1.0,
    lengths: Annotated[
        Path | None,
        typer.Option(help="Trace (Parquet, CSV): the largest rate of such requests."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second that come: devices to buy.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="CSV of profiled calls: fits the idealized runtime.")
    ] = None,
    measured: Annotated[
        Path | None, typer.Option(help="CSV of an API's calls: compared with the ideal.")
    ] = None,
    joules: Annotated[
        float | None, typer.Option("--joules-per-token", help="Of an output token, measured.")
    ] = None,
    facility_watts: Annotated[
        float | None, typer.Option(help="Power that there is, cooling included.")
    ] = None,
    pue: Annotated[float, typer.Option(help="The facility's power over the machines'.")] = 1.0,
    model_energy: Annotated[
        bool,
        typer.Option(
            "--model-energy", help="Without joules: watts of the card times modelled time."
        ),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a roofline (.png, .svg, .pdf).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a model computes, moves, holds, takes and costs on a device.

    FLOPs, bytes and parameters are counted from the config.json; times and money are modelled.
    """
    from farthing.cli import _card
    from farthing.core.money import Cost
    from farthing.cost.architecture import load
    from farthing.cost.devices import find
    from farthing.cost.runtime import Server
    from farthing.cost.runtime.sheet import sheet

    if rate is not None and lengths is None:
        raise typer.BadParameter("wants --lengths too", param_hint="--rate")
    if plot is not None:
        _card.check_plot(plot)
    server = Server(
        load(config, weights=weights, kv_bits=kv_bits), find(device), devices, overhead_ms / 1e3
    )
    hour = None if usd_per_hour is None else Cost.from_usd(usd_per_hour)
    told = sheet(server, input, output, batch, hour=hour, utilisation=utilisation)
    told["energy"] = _card.energy(
        server, told, joules, facility_watts, pue, utilisation, modelled=model_energy
    )
    if lengths is not None:
        told["queue"] = _card.queue(server, lengths, rate, max(batch))
    if profile is not None or measured is not None:
        told["idealized"] = _card.idealized(server, profile, measured)
    if plot is not None:
        _card.plot(server, told, plot)
        err.print(f"Plotted to {plot}", soft_wrap=True)
    if as_json:
        print_json(told)
    else:
        for part in _card.tables(told, price=_price(server, usd_per_hour)):
            out.print(part, soft_wrap=isinstance(part, str))


def _price(server: Server, usd_per_hour: str | None) -> str:
    if usd_per_hour is not None:
        return f"{usd_per_hour} USD an hour, as told"
    price = server.device.price
    if price is None:
        return "an unknown price"
    return f"{price.usd_per_hour} USD an hour ({price.basis} {price.date})"
