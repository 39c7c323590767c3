"""Saturation points, for people and machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from farthing.bench.plotting import check_plot, save
from farthing.plan.compute_saturation import Saturation
from farthing.plan.compute_units import Units

WIDTH = 132
"""Columns of the table."""


def table(found: Sequence[Units], *, rounds: bool) -> RenderableType:
    """Each model's laws: how many units pay, what they cost, and what they come to."""
    made = Table(box=None, pad_edge=False)
    unit = "rounds" if rounds else "samples"
    right = "right in the end" if rounds else "a right one among them"
    made.add_column("model")
    made.add_column("law")
    for name in (f"{unit} that pay", "USD of these", right, "after any number", "further on, off"):
        made.add_column(name, justify="right")
    for one in found:
        for fit in one.fits:
            usd = one.usd_of(fit.stop)
            low, high = fit.ceiling_interval
            made.add_row(
                one.model,
                fit.law,
                "all" if fit.stop is None else str(fit.stop),
                "" if usd is None else f"{usd:.3g}",
                "" if fit.stop is None else f"{fit.at(fit.stop):.1%}",
                f"{fit.ceiling:.1%} [{low:.1%}, {high:.1%}]",
                _off(fit),
            )
    return Group(
        made,
        Text(
            "Costs are measured as far as the recording goes; success is what the law says, "
            "with intervals of 95 %."
        ),
    )


def _off(fit: Saturation) -> str:
    if fit.misfit is None:
        return ""
    return f"{100 * fit.misfit:+.1f} points" + ("" if fit.fits else ", beyond chance")


def as_json(one: Units) -> dict[str, Any]:
    """A model's laws as JSON."""
    return {
        "model": one.model,
        "questions": one.questions,
        "usd": one.usd,
        "laws": [
            {
                **told(fit),
                "stop_usd": one.usd_of(fit.stop),
                "success_at_stop": None if fit.stop is None else fit.at(fit.stop),
            }
            for fit in one.fits
        ],
    }


def told(fit: Saturation) -> dict[str, Any]:
    """A fitted law as JSON; what is unknown or infinite is null."""
    return {
        **asdict(fit),
        "spread": None if fit.law == "one chance" else fit.spread,
        "stop_interval": [None if end == float("inf") else end for end in fit.stop_interval],
        "fits": fit.fits,
    }


def plot(found: Sequence[Units], path: Path, *, rounds: bool) -> None:
    """Success over dollars, measured and by law, as PNG, PDF or SVG.

    Raises DataError if the file cannot be written, ExtraError without matplotlib.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for place, one in enumerate(found):
        color = f"C{place % 10}"
        points = one.fits[0].measured
        axes.plot(
            one.usd, [success for _, success, _ in points], "o", color=color, markersize=4,
            label=one.model,
        )  # fmt: skip
        for fit, style in zip(one.fits, ("--", "-"), strict=True):
            axes.plot(one.usd, [law for _, _, law in fit.measured], style, color=color, linewidth=1)
            if fit.stop and fit.stop <= len(one.usd):
                axes.axvline(one.usd[fit.stop - 1], color=color, linestyle=style, linewidth=0.6)
    axes.set_xscale("log")
    axes.set_xlabel("mean cost of a question, USD")
    axes.set_ylabel("right after so many rounds" if rounds else "a right one among so many samples")
    axes.set_title("points: measured; lines: one chance (dashed) and mixed", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    save(figure, path)
