"""Whether models that list lower prices cost less: reversals, their cause, and what is noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.bench.economics.cost_of_pass import Figure
from farthing.bench.economics.pricing import Listed
from farthing.bench.economics.recorded import Recorded, cell_means
from farthing.bench.economics.study import Cells, Study, bootstrap
from farthing.models.recording import Floats
from farthing.risk.ranks import agreement

Bools = NDArray[np.bool_]

_MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Reversed:
    """A pair of models whose spend stands against their prices.

    Attributes:
        cheap, dear: by listed price.
        listed: how many times as much the dear one lists.
        spent: how many times as much the cheap one costs.
        sure: whether it does in 97.5 of 100 resamples; None from a table, whose costs are not
            resampled.
    """

    cheap: str
    dear: str
    listed: float
    spent: float
    sure: bool | None


@dataclass(frozen=True, slots=True)
class Thoughtless:
    """The same, with what was spent on reasoning tokens taken off.

    Attributes:
        models: those whose reasoning tokens are recorded.
        rate, tau: of these models, with all that they spent.
        rate_without, tau_without: without reasoning.
        share: of all spend, what reasoning took.
    """

    models: tuple[str, ...]
    rate: float | None
    tau: float | None
    rate_without: float | None
    tau_without: float | None
    share: float


@dataclass(frozen=True, slots=True)
class Noise:
    """How much the same model spends on the same question, asked again.

    Attributes:
        cells: questions of a model with several attempts of known cost.
        worst, median: ratio of the dearest attempt to the cheapest.
        relative_error: of the best prediction there can be, its root mean square in units of the
            model's mean cost: no predictor of an attempt's cost gets below it.
        explainable: the largest share of the variance of a model's costs that a predictor can
            explain that knows the question; None if there is no variance.
    """

    cells: int
    worst: float
    median: float
    relative_error: float
    explainable: float | None


@dataclass(frozen=True, slots=True)
class Reversal:
    """The ranking by listed price beside that by spend.

    Attributes:
        models: those whose price and spend are both known.
        left_out: those that lack one.
        questions: that all of these were asked at known cost; None from a table.
        pairs: with different listed prices.
        rate: share of them that are reversed; from a table without an interval.
        tau: Kendall's tau-b.
        worst: reversed pairs, those first in which the cheap one costs the most more.
        spend: USD of an attempt of each model, on these questions.
        without_reasoning: None where no reasoning tokens are recorded.
        noise: None without repeated attempts.
    """

    models: tuple[str, ...]
    left_out: tuple[str, ...]
    questions: int | None
    pairs: int
    rate: Figure
    tau: Figure
    worst: tuple[Reversed, ...]
    spend: tuple[float, ...]
    without_reasoning: Thoughtless | None
    noise: Noise | None


def reversal(study: Study, prices: Sequence[Listed | None]) -> Reversal:
    """Compare what models list with what they cost, on the questions that all of them have."""
    cost = study.cells.cost
    paid: Bools = np.isnan(cost).sum(axis=1, dtype=np.int64) < cost.shape[1]
    chosen = [m for m, price in enumerate(prices) if price is not None and paid[m]]
    names = [entry.model for entry in study.entries]
    lists = np.array(
        [price.mixed for m, price in enumerate(prices) if price is not None and paid[m]]
    )
    again = bootstrap(study, lambda cells: _statistics(cells, chosen, lists))
    rate, tau = Figure.of(again, 0), Figure.of(again, 1)
    if not study.by_question:  # whose costs are not resampled
        rate, tau = Figure(rate.value), Figure(tau.value)
    common = _common(cost[chosen])
    spend = cost[chosen][:, common].mean(axis=1) if common.any() else np.full(len(chosen), np.nan)
    pairs = agreement(lists, lists).pairs
    return Reversal(
        tuple(names[m] for m in chosen),
        tuple(name for m, name in enumerate(names) if m not in chosen),
        int(common.sum()) if study.by_question else None,
        pairs,
        rate,
        tau,
        _pairs(study, chosen, lists, spend),
        tuple(map(float, spend)),
        _thoughtless(study, prices),
        noise(study) if isinstance(study, Recorded) else None,
    )


def _common(cost: Floats) -> Bools:
    known: Bools = np.isnan(cost).sum(axis=0, dtype=np.int64) == 0
    return known & (len(cost) > 0)


def _statistics(cells: Cells, chosen: Sequence[int], lists: Floats) -> Floats:
    cost = cells.cost[list(chosen)]
    common = _common(cost)
    if not common.any():
        return np.full(2, np.nan)
    found = agreement(lists, cost[:, common].mean(axis=1))
    return np.array([found.rate, found.tau])


def _pairs(
    study: Study, chosen: Sequence[int], lists: Floats, spend: Floats
) -> tuple[Reversed, ...]:
    again = None
    if study.by_question and len(chosen) > 1 and not np.isnan(spend).any():
        again = np.array(
            [
                cost[:, _common(cost)].mean(axis=1)
                for cost in (cells.cost[list(chosen)] for cells in study.resampled(200, 0))
            ]
        )
    found = []
    for a in range(len(chosen)):
        for b in range(len(chosen)):
            if lists[a] < lists[b] and spend[a] > spend[b]:
                sure = None
                if again is not None:
                    sure = bool((again[:, a] > again[:, b]).mean() >= 0.975)
                found.append(
                    Reversed(
                        study.entries[chosen[a]].model,
                        study.entries[chosen[b]].model,
                        float(lists[b] / lists[a]) if lists[a] else float("inf"),
                        float(spend[a] / spend[b]) if spend[b] else float("inf"),
                        sure,
                    )
                )
    return tuple(sorted(found, key=lambda pair: -pair.spent))


def _thoughtless(study: Study, prices: Sequence[Listed | None]) -> Thoughtless | None:
    """Of the models whose reasoning tokens are all known, and of which at least one has some."""
    reasoning = _reasoning(study)
    chosen = [
        m
        for m, price in enumerate(prices)
        if price is not None and not np.isnan(reasoning[m] + study.cells.cost[m]).all()
    ]
    if len(chosen) < 2 or not np.nansum(reasoning[chosen]):
        return None
    told = [price for m, price in enumerate(prices) if m in chosen and price is not None]
    lists = np.array([price.mixed for price in told])
    rates = np.array([price.reasoning for price in told]) / _MILLION
    cost, thought = study.cells.cost[chosen], reasoning[chosen] * rates[:, None]
    common = _common(cost + thought)
    if not common.any():
        return None
    spend, off = cost[:, common].mean(axis=1), thought[:, common].mean(axis=1)
    whole, rest = agreement(lists, spend), agreement(lists, np.maximum(spend - off, 0.0))
    return Thoughtless(
        tuple(study.entries[m].model for m in chosen),
        _known(whole.rate),
        _known(whole.tau),
        _known(rest.rate),
        _known(rest.tau),
        float(off.sum() / spend.sum()) if spend.sum() else 0.0,
    )


def _reasoning(study: Study) -> Floats:
    """Reasoning tokens of an attempt, shape (models, questions)."""
    if isinstance(study, Recorded):
        names = study.recording.table.column_names
        table = study.recording.table
        if "reasoning_tokens" not in names or table["reasoning_tokens"].null_count == len(table):
            return np.full(study.cells.cost.shape, np.nan)
        values = study.recording.floats("reasoning_tokens")
        return cell_means(np.where(np.isnan(study.cost), np.nan, values), study.counts)
    told = [
        float("nan") if entry.reasoning_tokens is None else entry.reasoning_tokens / entry.attempts
        for entry in study.entries
    ]
    return np.array(told)[:, None]


def noise(study: Recorded) -> Noise | None:
    """What repeated attempts of the same model at the same question say of each other's cost."""
    counts = study.counts
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    paid = study.cost > 0
    number = np.bincount(cell[paid], minlength=counts.size)
    several = np.flatnonzero(number > 1)
    rows = paid & (number[cell] > 1)
    if not rows.any():
        return None
    cost, place = study.cost[rows], np.searchsorted(several, cell[rows])
    size = np.bincount(place)
    low, high = np.full(len(several), np.inf), np.zeros(len(several))
    np.minimum.at(low, place, cost)
    np.maximum.at(high, place, cost)
    model = cell[rows] // counts.shape[1]
    average = np.bincount(model, weights=cost) / np.maximum(np.bincount(model), 1)
    scaled = cost / average[model]  # so that dear models do not drown the cheap
    centre = np.bincount(place, weights=scaled) / size
    within = float(((scaled - centre[place]) ** 2).sum() / (size - 1).sum())
    total = float(((scaled - 1) ** 2).mean())
    return Noise(
        len(several),
        float((high / low).max()),
        float(np.median(high / low)),
        within**0.5,
        max(0.0, 1 - within / total) if total else None,
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
