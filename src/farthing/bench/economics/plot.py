"""Plots of a study: accuracy over cost, and listed price beside spend."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from farthing.bench.economics.report import Economics
from farthing.bench.plotting import check_plot, save
from farthing.core.errors import DataError


def plot(found: Economics, path: Path) -> None:
    """Write the plot as PNG, PDF or SVG.

    Raises DataError if the file cannot be written, or if there are no costs, and what
    `check_plot` raises.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    priced = found.reversal.rate.value is not None
    paid = [one for one in found.standings if one.cost.value and one.passed.value is not None]
    if not paid and not priced:
        raise DataError(f"{path}: {found.source} has no costs that could be plotted")
    figure = Figure(figsize=(8 * (bool(paid) + priced), 5.5), layout="constrained")
    panels = [_accuracy] * bool(paid) + [_prices] * priced
    for place, panel in enumerate(panels, 1):
        panel(figure.add_subplot(1, len(panels), place), found)
    save(figure, path)


def _accuracy(axes: Any, found: Economics) -> None:
    """Lines of equal cost-of-pass are drawn through the models' cheapest and dearest."""
    shown = [one for one in found.standings if one.cost.value and one.passed.value is not None]
    costs = [one.cost.value or 0.0 for one in shown]
    for one in shown:
        x, y = one.cost.value, one.passed.value
        axes.plot([x], [y], "o", markersize=5)
        if one.passed.interval is not None:
            axes.plot([x, x], one.passed.interval, color="0.7", linewidth=1, zorder=0)
        axes.annotate(
            one.entry.model, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7
        )
    prices = [one.cost_of_pass.value for one in shown]
    finite = [price for price in prices if price is not None and math.isfinite(price)]
    for price in (min(finite, default=None), max(finite, default=None)):
        if price:
            grid = [min(costs) * (max(costs) / min(costs)) ** (n / 100) for n in range(101)]
            inside = [(x, x / price) for x in grid if x <= price]
            if inside:
                label = f"{price:.3g} USD a right answer"
                axes.plot(*zip(*inside, strict=True), "--", linewidth=1, label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("USD an attempt")
    axes.set_ylabel("share right")
    axes.set_title(Path(found.source).name, fontsize=10)
    if finite:
        axes.legend(fontsize=7, loc="upper left")
    axes.grid(alpha=0.25)


def _prices(axes: Any, found: Economics) -> None:
    turned = found.reversal
    by_name = dict(zip((s.entry.model for s in found.standings), found.prices, strict=True))
    for model, spend in zip(turned.models, turned.spend, strict=True):
        price = by_name[model]
        if price is None or not price.mixed or not spend:
            continue
        axes.plot([price.mixed], [spend], "o", markersize=5)
        axes.annotate(
            model, (price.mixed, spend), xytext=(4, 4), textcoords="offset points", fontsize=7
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"listed, USD per million tokens, input and output {found.mix}")
    axes.set_ylabel("spent, USD an attempt")
    rate = 100 * (turned.rate.value or 0.0)
    axes.set_title(f"{rate:.1f} % of {turned.pairs} pairs reversed", fontsize=10)
    axes.grid(alpha=0.25)
