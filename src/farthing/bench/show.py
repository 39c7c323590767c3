"""Tables and plots of policies, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from farthing.bench.figures import Interval, Row
from farthing.bench.plotting import check_plot, save
from farthing.bench.policies import Bench, usd
from farthing.risk.curve import hull


def table(bench: Bench, found: Sequence[Row]) -> RenderableType:
    """Three tables of one recording's rows: at two operating points, and along the curve."""
    judged = [row for row in found if not row.skipped]
    truth = "" if bench.truth == "correct" else ", right means as the best model answers"
    title = Text.assemble(
        (Path(bench.recording).name, "bold"),
        f": {bench.draw.questions} questions, learnt from {bench.learnt_from} or more{truth}\n"
        f"models: {', '.join(bench.models)}",
    )
    parts: list[RenderableType] = [title, Text(), _points(judged), Text()]
    parts += [_equals(judged), Text(), _curves(judged)]
    skipped = [row for row in found if row.skipped]
    if skipped:
        parts.append(Text())
    parts += [Text(f"{row.name} left out: {row.skipped}", style="yellow") for row in skipped]
    return Group(*parts)


def _points(found: Sequence[Row]) -> Table:
    made = _table(
        "At half of the best model's mean cost; measured on recorded answers, 95 % intervals",
        ("quality", "", "USD", "over random mix", "regret", "over cost", "most"),
    )
    for row in found:
        made.add_row(
            row.name,
            _percent(row.quality),
            _span(row.quality_interval, "{:.1f}"),
            "" if row.cost_usd_mean is None else f"{row.cost_usd_mean:.3g}",
            _beyond_chance(row.gain, row.gain_interval, signed=True),
            _percent(row.regret),
            _percent(float(np.mean(row.violations)) if row.violations else None),
            _percent(max(row.violations, default=None)),
            style="dim" if row.baseline else "bold" if row.gains else "",
        )
    return made


def _equals(found: Sequence[Row]) -> Table:
    made = _table(
        "As good as the best model, to within a point, as far as the learning questions tell",
        ("saving", "quality above the best model's"),
    )
    for row in found:
        if row.saving is not None:
            made.add_row(
                row.name,
                _beyond_chance(row.saving, row.saving_interval, signed=False),
                _signed(row.lost, row.lost_interval),
                style="bold" if row.saves else "",
            )
    return made


def _curves(found: Sequence[Row]) -> Table:
    made = _table(
        "Along the whole curve, from always the cheapest to always the best",
        ("AIQ", "APGR", "CPT(50)", "CPT(80)", "to Pareto", "to oracle at half"),
    )
    for row in found:
        if row.aiq is None:
            continue
        made.add_row(
            row.name,
            f"{row.aiq:.4f}",
            "" if row.apgr is None else f"{row.apgr:.3f}",
            _percent(row.cpt_50),
            _percent(row.cpt_80),
            "" if row.pareto_distance is None else f"{100 * row.pareto_distance:.2f}",
            "" if row.oracle_gap is None else f"{100 * row.oracle_gap:.1f}",
            style="dim" if row.baseline else "",
        )
    return made


def _table(title: str, columns: Sequence[str]) -> Table:
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    made.add_column("policy", no_wrap=True)
    for name in columns:
        made.add_column(name, justify="right" if name else "left", no_wrap=True)
    return made


def plot(benches: Sequence[tuple[Bench, Sequence[Row]]], path: Path) -> None:
    """Quality over cost of every policy, a panel a recording and its rows, as PNG, PDF or SVG.

    Raises DataError if the file cannot be written, and what `check_plot` raises.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    across = min(2, len(benches))
    down = -(-len(benches) // across)
    figure = Figure(figsize=(8 * across, 5.5 * down), layout="constrained")
    for place, (bench, found) in enumerate(benches):
        _panel(figure.add_subplot(down, across, place + 1), bench, found)
    save(figure, path)


def _panel(axes: Any, bench: Bench, found: Sequence[Row]) -> None:
    alone = [(usd(one), float(one.right.mean())) for one in bench.singles]
    x, y = hull(*zip(*alone, strict=True))
    axes.plot(x, y, "--", color="0.6", label="random mix")
    axes.plot(*zip(*alone, strict=True), "o", color="0.4", markersize=5)
    for model, point in zip(bench.models, alone, strict=True):
        axes.annotate(model, point, xytext=(4, -9), textcoords="offset points", fontsize=7)
    judged = [row for row in found if row.curve and not row.baseline]
    styles = ["-", "-.", ":"]
    for place, row in enumerate(judged):
        xs, ys = hull(*zip(*row.curve, strict=True))
        axes.plot(
            xs, ys, styles[place // 10 % 3], color=f"C{place % 10}", label=row.name, linewidth=1.3
        )
    oracle = next(row for row in found if row.name == "oracle")
    axes.plot([oracle.cost_usd_mean], [oracle.quality], "*", color="black", label="oracle")
    axes.set_xscale("log")
    low = float(np.quantile([q for row in judged for _, q in row.curve] or y, 0.05))
    axes.set_ylim(bottom=low - 0.02)
    axes.set_xlabel("mean cost of a question, USD")
    axes.set_ylabel("quality")
    axes.set_title(Path(bench.recording).name, fontsize=10)
    axes.legend(fontsize=7, loc="lower right")
    axes.grid(alpha=0.25)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _span(interval: Interval | None, form: str) -> str:
    if interval is None:
        return ""
    low, high = (form.format(100 * bound) for bound in interval)
    return f"[{low}, {high}]"


def _beyond_chance(value: float | None, interval: Interval | None, *, signed: bool) -> str:
    """The value in percent, or that it cannot be told from none."""
    if value is None or interval is None:
        return ""
    if interval[0] <= 0 <= interval[1]:
        return "not significant"
    form = "{:+.1f}" if signed else "{:.1f}"
    return f"{form.format(100 * value)} {_span(interval, form)}"


def _signed(value: float | None, interval: Interval | None) -> str:
    return "" if value is None else f"{100 * value:+.1f} {_span(interval, '{:+.1f}')}"
