"""The table and the plot, for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from farthing.bench.compute.figures import Row, cheapest
from farthing.bench.compute.results import Bench
from farthing.bench.figures import Interval
from farthing.bench.plotting import check_plot, save
from farthing.risk.curve import hull

WIDTH = 164
"""Columns of the wider table."""

_STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def table(bench: Bench, found: Sequence[Row]) -> RenderableType:
    """All rows, and what a right answer costs at least."""
    recorded = bench.source.recording
    title = Text.assemble(
        (Path(recorded).name if recorded else bench.model, "bold"),
        f": {bench.questions} questions, {bench.seeds} seeds; a greedy answer of {bench.model} "
        f"costs {bench.unit:.3g} USD, and budgets are so many of it\n"
        f"tokens, FLOPs and dollars are counted, times modelled "
        f"({'unknown of a recording' if recorded else bench.source.device}); 95 % intervals",
    )
    bought = _table(
        "What it buys",
        ("right", "", "USD", "USD a right", "", "over single models", "over plain vote"),
    )
    work = _table(
        "What it takes",
        (
            "tokens",
            "",
            "MFLOPs",
            "",
            "µs",
            "",
            "calls",
            "cancelled %",
            "",
            "over budget",
            "by calls",
        ),
    )
    last: int | None = None
    for row in found:
        if row.budget != last:
            bought.add_section()
            work.add_section()
        last = row.budget
        style = "dim" if row.budget is None else "bold" if row.gains else ""
        begin = (row.name, "" if row.budget is None else str(row.budget))
        bought.add_row(*begin, *_bought(row), style=style)
        work.add_row(*begin, *_work(row), style=style)
    best = cheapest(found)
    at = "asked once" if best.budget is None else f"at a budget of {best.budget}"
    parts: list[RenderableType] = [title, Text(), bought, Text(), work, Text()]
    parts.append(Text(f"A right answer costs least from {best.name} {at}."))
    for row in found:
        if row.unanswered:
            share = f"{row.unanswered:.1%} of its operations end without an answer"
            parts.append(Text(f"{row.name}, budget {row.budget}: {share}", style="yellow"))
    for name, reason in bench.left_out.items():
        parts.append(Text(f"{name} left out: {reason}", style="yellow"))
    return Group(*parts)


def _table(title: str, columns: Sequence[str]) -> Table:
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    made.add_column("policy", no_wrap=True)
    made.add_column("budget", justify="right")
    for name in columns:
        made.add_column(name, justify="right" if name else "left", no_wrap=True)
    return made


def _bought(row: Row) -> list[str]:
    return [
        f"{100 * row.quality:.1f}",
        _span(row.quality_interval, 100, ".1f"),
        f"{row.usd:.3g}",
        "" if row.usd_per_right is None else f"{row.usd_per_right:.3g}",
        _span(row.usd_per_right_interval, 1, ".3g"),
        _beyond_chance(row.gain, row.gain_interval),
        _beyond_chance(row.over_vote, row.over_vote_interval),
    ]


def _work(row: Row) -> list[str]:
    return [
        *_spanned(row.output_tokens, row.output_tokens_interval, 1, ".1f"),
        *_spanned(row.flops, row.flops_interval, 1e-6, ".3g"),
        *_spanned(row.device_s, row.device_s_interval, 1e6, ".3g"),
        f"{row.calls:.1f}",
        *_spanned(row.cancelled, row.cancelled_interval, 100, ".1f"),
        "" if row.exceeded is None else f"{row.exceeded:.0%}",
        "" if row.excess is None else f"{row.excess:.2f}",
    ]


def _spanned(
    value: float | None, interval: Interval | None, scale: float, form: str
) -> tuple[str, str]:
    shown = "" if value is None else f"{scale * value:{form}}"
    return shown, _span(interval, scale, form)


def _span(interval: Interval | None, scale: float, form: str) -> str:
    if interval is None:
        return ""
    return f"[{scale * interval[0]:{form}}, {scale * interval[1]:{form}}]"


def _beyond_chance(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return ""
    if interval[0] <= 0 <= interval[1]:
        return "not significant"
    return f"{100 * value:+.1f} {_span(interval, 100, '+.1f')}"


def plot(bench: Bench, found: Sequence[Row], path: Path) -> None:
    """Right answers over dollars, a line a policy, as PNG, PDF or SVG.

    Colours are kinds, line styles their variants; policies that are nowhere better than single
    models at equal cost, beyond chance, are faint.

    Raises DataError if the file cannot be written, ExtraError without matplotlib.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    _draw(figure.add_subplot(), bench, found)
    save(figure, path)


def _draw(axes: Any, bench: Bench, found: Sequence[Row]) -> None:
    from matplotlib import colormaps

    singles = [(row.usd, row.quality) for row in found if row.budget is None]
    axes.plot(*hull(*zip(*singles, strict=True)), "--", color="0.6", label="mix of single models")
    axes.plot(*zip(*singles, strict=True), "o", color="0.4", markersize=5)
    for model, point in zip(bench.models, singles, strict=True):
        axes.annotate(model, point, xytext=(5, -10), textcoords="offset points", fontsize=8)
    kinds: dict[str, list[str]] = {}
    for name in dict.fromkeys(row.name for row in found if row.budget is not None):
        kinds.setdefault(name.split(",")[0], []).append(name)
    for place, names in enumerate(kinds.values()):
        color = colormaps["tab20"](2 * place % 20 + place // 10 % 2)
        for name, style in zip(names, cycle(_STYLES)):
            own = [row for row in found if row.name == name]
            gains = any(row.gains for row in own)
            axes.plot(
                [row.usd for row in own], [row.quality for row in own], color=color, label=name,
                linestyle=style, linewidth=1.8 if gains else 1.0, marker=".",
                alpha=1.0 if gains else 0.4,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("mean cost of an operation, USD")
    axes.set_ylabel("share of right answers")
    what = Path(bench.source.recording).name if bench.source.recording else "chains of arithmetic"
    axes.set_title(f"{bench.model} on {what}, {bench.questions} questions", fontsize=10)
    figure = axes.get_figure()
    figure.legend(fontsize=8, loc="outside right center", handlelength=3)
    axes.grid(alpha=0.25)
