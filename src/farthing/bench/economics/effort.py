"""Effort and length: tokens for a right answer, and what more accuracy costs at the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from farthing.bench.economics.cost_of_pass import Figure, Verdict, verdict
from farthing.bench.economics.study import Cells, Study, bootstrap, mean, ratio
from farthing.models.recording import Floats


@dataclass(frozen=True, slots=True)
class Length:
    """Of one model. None is unknown, infinity is never.

    Attributes:
        tokens: of an attempt, input and output.
        per_right: tokens for one right answer.
        output, reasoning: of an attempt.
    """

    model: str
    tokens: Figure
    per_right: Figure
    output: float | None
    reasoning: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """From one variant of a model to the next that makes more effort.

    Attributes:
        family: of the variants.
        lower, higher: the two.
        questions: that both were asked; None from a table.
        passed: what the step adds to the share of right answers.
        cost, tokens: what it adds to an attempt, in USD and tokens.
        usd_per_right, tokens_per_right: for one more right answer; None unless the interval of
            `passed` is above zero: what does not help has no price.
        verdict: whether the higher one gives a right answer for less, in USD, or in tokens where
            the cost is unknown.
    """

    family: str
    lower: str
    higher: str
    questions: int | None
    passed: Figure
    cost: Figure
    tokens: Figure
    usd_per_right: Figure
    tokens_per_right: Figure
    verdict: Verdict | None


def lengths(study: Study) -> list[Length]:
    """Tokens of every model."""
    count = len(study.entries)

    def statistics(cells: Cells) -> Floats:
        tokens = mean(cells.tokens)
        return np.concatenate([tokens, ratio(tokens, mean(cells.passed))])

    found = bootstrap(study, statistics)
    return [
        Length(
            entry.model,
            Figure.of(found, place),
            Figure.of(found, count + place),
            _each(entry.output_tokens, entry.attempts),
            _each(entry.reasoning_tokens, entry.attempts),
        )
        for place, entry in enumerate(study.entries)
    ]


def _each(total: int | None, attempts: int) -> float | None:
    return None if total is None else total / attempts


def steps(study: Study) -> list[Step]:
    """From variant to variant of every family, by stated effort, else by cost, else by tokens."""
    pairs = [
        (family, low, high)
        for family, variants in _families(study).items()
        for low, high in pairwise(variants)
    ]
    if not pairs:
        return []

    def statistics(cells: Cells) -> Floats:
        return np.concatenate([_step(cells, low, high) for _, low, high in pairs])

    found = bootstrap(study, statistics)
    made = []
    for place, (family, low, high) in enumerate(pairs):
        each = [Figure.of(found, 7 * place + n) for n in range(7)]
        passed, cost, tokens, usd, more, saved, spared = each
        helps = passed.interval is not None and passed.interval[0] > 0
        both = ~np.isnan(study.cells.passed[[low, high]]).any(axis=0)
        made.append(
            Step(
                family,
                study.entries[low].model,
                study.entries[high].model,
                int(both.sum()) if study.by_question else None,
                passed,
                cost,
                tokens,
                usd if helps else Figure(None),
                more if helps else Figure(None),
                verdict(spared.interval if saved.value is None else saved.interval),
            )
        )
    return made


def _step(cells: Cells, low: int, high: int) -> Floats:
    gained, paid, spent = (
        float(mean((values[high] - values[low])[None])[0])
        for values in (cells.passed, cells.cost, cells.tokens)
    )
    per = np.nan if not gained else 1 / gained
    saved, spared = (
        _saved(values, cells.passed, low, high) for values in (cells.cost, cells.tokens)
    )
    return np.array([gained, paid, spent, paid * per, spent * per, saved, spared])


def _saved(values: Floats, passed: Floats, low: int, high: int) -> float:
    """How much less the higher variant takes for a right answer, on questions that both have."""
    pair = [low, high]
    both = np.isnan(values[pair] + passed[pair]).sum(axis=0, dtype=np.int64) == 0
    before, after = ratio(mean(values[pair][:, both]), mean(passed[pair][:, both]))
    return float("nan") if np.isinf(before) and np.isinf(after) else float(before - after)


def _families(study: Study) -> dict[str, list[int]]:
    """The variants of each family that has several, least effort first."""
    by_name: dict[str, list[int]] = {}
    for place, entry in enumerate(study.entries):
        if entry.family is not None:
            by_name.setdefault(entry.family, []).append(place)
    several = {name: found for name, found in by_name.items() if len(found) > 1}
    effort = [float("nan") if e.effort is None else e.effort for e in study.entries]
    cost, tokens = mean(study.cells.cost), mean(study.cells.tokens)
    return {name: _ordered(found, (effort, cost, tokens)) for name, found in several.items()}


def _ordered(found: list[int], scales: Sequence[Sequence[float] | Floats]) -> list[int]:
    for scale in scales:
        values = [float(scale[place]) for place in found]
        if not np.isnan(values).any():
            return [found[n] for n in np.argsort(values, kind="stable")]
    return found
