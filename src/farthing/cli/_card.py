"""What `farthing card` tells beside the sheet, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from farthing.bench.plotting import check_plot, save
from farthing.cost.queueing import Engine, devices_needed, limit
from farthing.cost.queueing import load as load_lengths
from farthing.cost.runtime import Server, compare, fit, supply
from farthing.cost.runtime.idealized import read

__all__ = ["check_plot", "energy", "idealized", "plot", "queue", "tables"]


def energy(
    server: Server,
    told: dict[str, Any],
    joules: float | None,
    facility_watts: float | None,
    pue: float,
    utilisation: float,
    *,
    modelled: bool,
) -> dict[str, Any]:
    """The energy-to-token function at the largest batch that fits; joules unknown unless told."""
    row = next((row for row in reversed(told["batches"]) if row["fits"]), None)
    basis = "unknown" if joules is None else "measured"
    watts = server.device.watts
    if joules is None and modelled and watts is not None and row and row["output_tokens_per_s"]:
        joules, basis = watts * server.devices / row["output_tokens_per_s"], "modelled"
    flops = told["batches"][0]["decode_last"]["flops"] / told["batches"][0]["batch"]
    found = supply(
        flops_per_s=server.flops_per_s,
        flops_per_token=flops,
        utilisation=utilisation,
        facility_watts=facility_watts,
        joules_per_token=joules,
        pue=pue,
    )
    return {
        "basis": basis,
        "joules_per_output_token": found.joules_per_token,
        "pue": pue,
        "utilisation": utilisation,
        "compute_ceiling_tokens_per_s": found.compute_ceiling,
        "energy_ceiling_tokens_per_s": found.energy_ceiling,
        "tokens_per_s": found.tokens_per_s,
        "binds": found.binds,
    }


def queue(server: Server, path: Path, rate: float | None, most: int) -> dict[str, Any]:
    """The largest sustainable rate of a trace's requests, and the devices for a given one."""
    engine = Engine(server, most=max(most, 1))
    lengths = load_lengths(path)
    usable = lengths.within(min(engine.capacity, server.model.positions or engine.capacity))
    found = limit(engine, usable)
    return {
        "requests": len(usable),
        "left_out": len(lengths) - len(usable),
        "cache_tokens": engine.capacity,
        "largest_rate_per_s": found.requests_per_s,
        "batch": found.batch,
        "step_s": found.step_s,
        "prefill_s": found.prefill_s,
        "binds": found.binds,
        "rate_per_s": rate,
        "devices": None if rate is None else devices_needed(rate, found, server.devices),
    }


def idealized(server: Server, profile: Path | None, measured: Path | None) -> dict[str, Any]:
    """The fitted runtime, and an API's times beside it, or beside the card's."""
    told: dict[str, Any] = {"from": "card" if profile is None else "profile"}
    ideal: Callable[[int, int], float] = server.request
    if profile is not None:
        fitted = fit(read(profile))
        ideal = fitted.seconds
        for name in fitted.__slots__:
            told[name] = getattr(fitted, name)
    if measured is not None:
        verdict = compare(read(measured), ideal)
        told["measured"] = {
            "calls": verdict.calls,
            "fastest_over_ideal": verdict.fastest,
            "median_over_ideal": verdict.median,
            "slowest_over_ideal": verdict.slowest,
            "verdict": list(verdict.names),
        }
    return told


def tables(told: dict[str, Any], price: str) -> Iterator[RenderableType]:
    """The sheet for people."""
    model, device = told["model"], told["device"]
    yield (
        f"{model['name']} ({model['family']}, {', '.join(model['weights'])}): "
        f"{model['parameters']:,} parameters, {model['active_parameters']:,} active, "
        f"{_bytes(model['weight_bytes'])} of weights, {model['kv_bytes_per_token']:,} bytes of "
        "cache a token (counted)"
    )
    yield from (f"Note: {note}." for note in model["notes"])
    yield (
        f"{device['devices']} x {device['title']}, {price}: "
        f"{device['peak_flops_per_s'] / 1e12:.4g} TFLOP/s in {device['computes_in']} and "
        f"{device['peak_bytes_per_s'] / 1e9:.4g} GB/s each ({device['basis']}), reckoned with at "
        f"{device['compute_share']:.0%} and {device['bandwidth_share']:.0%}"
    )
    yield ""
    yield _batches(told)
    yield ""
    yield from _sentences(told)


def _batches(told: dict[str, Any]) -> Table:
    table = Table(
        title=f"{told['input']:,} tokens in, {told['output']:,} out; bytes and FLOPs counted, "
        "seconds and USD modelled",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in (
        "batch",
        "prefill s",
        "binds",
        "decode ms",
        "binds",
        "FLOP/byte",
        "peak",
        "tokens/s",
        "USD/M in",
        "USD/M out",
    ):
        table.add_column(name, justify="left" if name == "binds" else "right", no_wrap=True)
    for row in told["batches"]:
        prefill, decode = row["prefill"], row["decode_last"]
        rate = row["output_tokens_per_s"]
        table.add_row(
            str(row["batch"]),
            f"{prefill['seconds']:.3g}",
            prefill["binds"],
            f"{decode['seconds'] * 1e3:.3g}",
            decode["binds"],
            f"{decode['flops_per_byte']:.1f}",
            _bytes(max(prefill["peak_bytes"], decode["peak_bytes"])),
            f"{rate:,.0f}" if rate and row["fits"] else "–",
            _usd(row["usd_per_million_input"]),
            _usd(row["usd_per_million_output"]),
        )
    return table


def _sentences(told: dict[str, Any]) -> Iterator[str]:
    at_length = told["long_context"]
    switch = at_length["context_switch_s"]
    switched = "unknown" if switch is None else f"{switch:.3g} s"
    yield (
        f"Users at this length: {at_length['users']}, {_bytes(at_length['kv_bytes_per_user'])} "
        f"each; prefill {at_length['prefill_s']:.3g} s, answer {at_length['decode_s']:.3g} s, "
        f"context switch {switched} (modelled)."
    )
    supplied = told["energy"]
    joules, power = supplied["joules_per_output_token"], supplied["energy_ceiling_tokens_per_s"]
    each = "unknown" if joules is None else f"{joules:.3g} J an output token ({supplied['basis']})"
    allowed = "" if power is None else f" (power allows {power:,.0f})"
    yield (
        f"Energy: {each}; at most {supplied['tokens_per_s']:,.0f} tokens/s, by "
        f"{supplied['binds']}{allowed}."
    )
    if queued := told.get("queue"):
        yield (
            f"Queue: at most {queued['largest_rate_per_s']:.3g} requests/s of the trace's lengths "
            f"(modelled), {queued['batch']:.0f} at once; the {queued['binds']} binds. "
            f"{queued['left_out']} of {queued['left_out'] + queued['requests']} do not fit."
        )
        if queued["devices"] is not None:
            yield f"For {queued['rate_per_s']:g} requests/s: {queued['devices']} devices."
    if ideal := told.get("idealized"):
        if ideal["from"] == "profile":
            error = ideal["worst_error"]
            yield (
                f"Idealized runtime of {ideal['points']} profiled points: {ideal['fixed']:.3g} s + "
                f"{ideal['per_input']:.3g} s an input token + {ideal['per_output']:.3g} s an "
                f"output token; points left out are missed by "
                f"{'an unknown share' if error is None else f'{error:.1%} at most'}."
            )
        if seen := ideal.get("measured"):
            yield (
                f"The API's {seen['calls']} calls take {seen['fastest_over_ideal']:.2f} (fastest), "
                f"{seen['median_over_ideal']:.2f} (median) and {seen['slowest_over_ideal']:.2f} "
                f"(slowest) of the ideal by the {ideal['from']}: {', '.join(seen['verdict'])}."
            )


def plot(server: Server, told: dict[str, Any], path: Path) -> None:
    """The roofline with prefill and decode of each batch; DataError if it cannot be written."""
    check_plot(path)
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    passes = [(row, name) for row in told["batches"] for name in ("prefill", "decode_last")]
    at = [row[name]["flops_per_byte"] for row, name in passes]
    ridge = told["device"]["ridge_flops_per_byte"]
    x = np.geomspace(min([*at, ridge]) / 2, max([*at, ridge]) * 2, 100)
    axes.plot(x, np.minimum(server.flops_per_s, x * server.bytes_per_s) / 1e12, color="0.5")
    for (row, name), intensity in zip(passes, at, strict=True):
        reached = row[name]["flops"] / row[name]["seconds"] / 1e12
        axes.plot(intensity, reached, "o", color="C0" if name == "prefill" else "C1")
        place = (intensity, reached)
        axes.annotate(
            str(row["batch"]), place, xytext=(4, -9), textcoords="offset points", fontsize=7
        )
    for colour, label in (("C0", "prefill"), ("C1", "decode, last step")):
        axes.plot([], [], "o", color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="FLOPs per byte", ylabel="TFLOP/s (modelled)")
    axes.set_title(f"{told['model']['name']} on {told['device']['title']}", fontsize=10)
    axes.legend()
    axes.grid(alpha=0.25)
    save(figure, path)


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count:.0f} B"


def _usd(value: str | None) -> str:
    return "–" if value is None else f"{float(value):.4g}"
