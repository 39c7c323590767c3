"""The tables of a study, for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from farthing.bench.economics.cost_of_pass import Figure, Without
from farthing.bench.economics.report import Economics

SHOWN = 10

_NAMES = ("model", "without", "from", "to", "lists less", "lists more")


def _models(found: Economics) -> Table:
    made = _table(
        "Cost-of-pass: USD for an attempt, and for one right answer; 95 % intervals",
        ("model", "right", "", "attempt", "right answer", "", "rank"),
    )
    if found.questions is not None:
        for name in ("never solved", "with a human"):
            _column(made, name)
    for one in sorted(found.standings, key=lambda one: one.rank or math.inf):
        cells = [
            one.entry.model,
            _percent(one.passed.value),
            _span(one.passed, 100, ".1f"),
            _usd(one.cost.value),
            _usd(one.cost_of_pass.value),
            _span(one.cost_of_pass, 1, ".3g"),
            "" if one.rank is None else str(one.rank),
        ]
        if found.questions is not None:
            cells += ["" if one.never is None else str(one.never), _usd(one.with_human.value)]
        made.add_row(*cells)
    return made


def _lengths(found: Economics) -> Table | None:
    """Tokens and prices, where any are known."""
    rows = [
        (one, price)
        for one, price in zip(found.lengths, found.prices, strict=True)
        if price is not None or one.tokens.value is not None or one.output is not None
    ]
    if not rows:
        return None
    made = _table(
        f"Tokens of an attempt and for one right answer; listed USD per million at {found.mix}",
        ("model", "tokens", "output", "reasoning", "right answer", "", "listed", "since"),
    )
    for one, price in rows:
        made.add_row(
            one.model,
            _number(one.tokens.value, ",.0f"),
            _number(one.output, ",.0f"),
            _number(one.reasoning, ",.0f"),
            _number(one.per_right.value, ",.0f"),
            _span(one.per_right, 1, ",.0f"),
            "" if price is None else _usd(price.mixed),
            "" if price is None else price.date or "",
        )
    return made


def _frontier(found: Economics) -> Text | None:
    best = found.frontier
    if best.value.value is None:
        return Text(
            "The frontier is unknown: it takes costs, and which answers are right.", style="yellow"
        )
    human = f"a human at {_usd(best.human)} USD a right answer"
    if found.questions is None:
        text = f"Frontier over models and {human}: {_figure(best.value)} USD, that of the cheapest."
    else:
        text = (
            f"Frontier over models and {human}, each question by its cheapest solver: "
            f"{_figure(best.value)} USD; the human has {_percent(best.by_human)} % of them. "
            f"The one model that is cheapest overall: {_figure(best.one_for_all)} USD a right "
            "answer."
        )
    if best.unsolved:
        text += f" No model solved {len(best.unsolved)} questions: for these it is infinite."
    if best.attempts is not None and best.attempts < 8:
        text += (
            f" With {best.attempts} attempt{'s' if best.attempts > 1 else ''} at a question, who "
            "is cheapest is partly luck: the frontier is a lower bound."
        )
    return Text(text)


def _without(found: Economics) -> Table | None:
    changed = [w for w in found.frontier.without if w.frontier.value is not None]
    if not changed:
        return None

    def worth(one: Without) -> float:
        return -(one.contribution.value or 0.0)

    if len(changed) > SHOWN:
        changed = [w for w in changed if w.contribution.value]
    made = _table(
        "Counterfactual frontiers: what it would be without them",
        ("without", "models", "USD", "", "contribution", ""),
    )
    for one in sorted(changed, key=worth)[:SHOWN]:
        made.add_row(
            one.name,
            str(len(one.models)),
            _usd(one.frontier.value),
            _span(one.frontier, 1, ".3g"),
            _usd(one.contribution.value),
            _span(one.contribution, 1, ".3g"),
        )
    return made


def _time(found: Economics) -> Table | None:
    best, last = [], math.inf
    for one in found.frontier.over_time:
        if one.frontier.value is not None and one.frontier.value < last:
            best.append(one)
            last = one.frontier.value
    if len(best) < 2:
        return None
    made = _table("The frontier on the dates on which it fell", ("date", "models", "USD", ""))
    for one in best:
        span = _span(one.frontier, 1, ".3g")
        made.add_row(one.date, str(len(one.models)), _usd(one.frontier.value), span)
    return made


def _votes(found: Economics) -> Table | None:
    if not found.votes:
        return None
    made = _table(
        "Votes: USD a right answer against one answer's; saved by a question, in USD, if a human "
        "does what is dearer",
        ("model", "votes", "one right", "vote right", "one USD", "vote USD", "verdict",
         "saved", "verdict"),
    )  # fmt: skip
    for one in found.votes:
        made.add_row(
            one.model,
            str(one.votes),
            _percent(one.single),
            _percent(one.voted),
            _usd(one.single_cost_of_pass.value),
            _usd(one.cost_of_pass.value),
            one.verdict or "",
            _usd(one.with_human.value),
            one.verdict_with_human or "",
        )
    return made


def _reversal(found: Economics) -> RenderableType | None:
    turned = found.reversal
    parts: list[RenderableType] = []
    if turned.rate.value is not None:
        text = (
            f"Price reversal: of {turned.pairs} pairs of {len(turned.models)} models with listed "
            f"prices, {_percent(turned.rate.value)} %{_after(turned.rate, 100, '.1f')} are "
            f"reversed in what they cost; Kendall's tau {_number(turned.tau.value, '.3f')}"
            f"{_after(turned.tau, 1, '.3f')}"
        )
        if turned.questions is not None:
            text += f"; on {turned.questions} questions that all of them have"
        parts.append(Text(text + "."))
        if turned.worst:
            made = _table("", ("lists less", "lists more", "listed", "spends", "beyond chance"))
            for pair in turned.worst[: SHOWN // 2]:
                sure = "" if pair.sure is None else "yes" if pair.sure else "no"
                made.add_row(
                    pair.cheap, pair.dear, f"1/{pair.listed:.3g}", f"{pair.spent:.3g} x", sure
                )
            parts.append(made)
    if (less := turned.without_reasoning) is not None:
        parts.append(
            Text(
                f"Without reasoning tokens ({_percent(less.share)} % of the spend of "
                f"{len(less.models)} models): {_percent(less.rate_without)} % reversed instead of "
                f"{_percent(less.rate)} %, tau {_number(less.tau_without, '.3f')} instead of "
                f"{_number(less.tau, '.3f')}."
            )
        )
    if (floor := turned.noise) is not None:
        parts.append(
            Text(
                f"Noise: the same model on the same question again costs up to {floor.worst:.3g} "
                f"times as much (median {floor.median:.3g}, {floor.cells} cells). No prediction "
                f"of an attempt's cost is nearer than {_percent(floor.relative_error)} % of the "
                "model's mean."
            )
        )
    return Group(*parts) if parts else None


def _ranking(found: Economics) -> Table | None:
    ranked = found.ranking
    if not ranked.models:
        return None
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in ranked.weights.items())
    gain = f"; gain is that of {ranked.gain_of}" if ranked.gain_of else ""
    made = _table(
        f"Ranking by {weights}{gain}; first: by which share of all weightings",
        ("model", "score", *ranked.weights, "first"),
    )
    for one in ranked.models[:SHOWN]:
        made.add_row(
            one.model,
            f"{one.score:.3f}",
            *(f"{one.criteria[name]:.2f}" for name in ranked.weights),
            f"{100 * one.first:.1f} %",
        )
    return made


def _steps(found: Economics) -> Table | None:
    if not found.steps:
        return None
    made = _table(
        "Effort: what one more right answer costs from variant to variant; verdict: is a right "
        "answer cheaper?",
        ("from", "to", "right", "", "USD", "tokens", "USD each", "", "tokens each", "verdict"),
    )
    for one in found.steps:
        helps = one.tokens_per_right.value is not None or one.usd_per_right.value is not None
        made.add_row(
            one.lower,
            one.higher,
            "" if one.passed.value is None else f"{100 * one.passed.value:+.1f}",
            _span(one.passed, 100, "+.1f"),
            _number(one.cost.value, "+.3g"),
            _number(one.tokens.value, "+,.0f"),
            _usd(one.usd_per_right.value) if helps else "no gain",
            _span(one.usd_per_right, 1, ".3g"),
            _number(one.tokens_per_right.value, ",.0f"),
            one.verdict or "",
        )
    return made


_PARTS = (
    _models, _frontier, _without, _time, _votes, _lengths, _reversal, _ranking, _steps,
)  # fmt: skip


def table(found: Economics) -> RenderableType:
    """All of it; long lists are cut, which `--json` does not do."""
    name = found.source if "://" in found.source else Path(found.source).name
    asked = "whole runs" if found.questions is None else f"{found.questions} questions"
    title = Text.assemble((name, "bold"), f": {len(found.standings)} models, {asked}")
    parts: list[RenderableType] = [title]
    for part in _PARTS:
        if (made := part(found)) is not None:
            parts.append(Text())
            if isinstance(made, Table) and made.title:  # a title would wrap where its table ends
                parts.append(Text(str(made.title), style="italic"))
                made.title = None
            parts.append(made)
    return Group(*parts)


def _table(title: str, columns: Sequence[str]) -> Table:
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        _column(made, name)
    return made


def _column(made: Table, name: str) -> None:
    """Names of models fold where it is narrow, numbers never do."""
    text = name in _NAMES
    justify: JustifyMethod = "left" if text or not name else "right"
    least = 8 if text else None
    made.add_column(
        name.replace(" ", "\n"), justify=justify, no_wrap=not text, overflow="fold", min_width=least
    )


def _number(value: float | None, form: str) -> str:
    if value is None:
        return ""
    return format(value, form) if math.isfinite(value) else "never"


def _usd(value: float | None) -> str:
    return _number(value, ".3g")


def _percent(value: float | None) -> str:
    return _number(None if value is None else 100 * value, ".1f")


def _span(figure: Figure, times: float, form: str) -> str:
    if figure.interval is None:
        return ""
    low, high = (_number(times * end, form) for end in figure.interval)
    return f"[{low}, {high}]"


def _after(figure: Figure, times: float, form: str) -> str:
    """The interval after a space, if there is one."""
    span = _span(figure, times, form)
    return f" {span}" if span else ""


def _figure(figure: Figure) -> str:
    return f"{_usd(figure.value)} {_span(figure, 1, '.3g')}".strip()
