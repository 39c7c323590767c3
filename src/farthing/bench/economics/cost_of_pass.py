"""Cost-of-pass: the expected money for one right answer (Erol et al., 2025).

A model that costs c an attempt and is right with probability r needs 1/r attempts on average: its
cost-of-pass is c / r, and infinite where it is never right. It presumes that a right answer is
known when it is seen. The frontier is the least over models and a human who is paid for an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np

from farthing.bench.economics.study import (
    Cells,
    Entry,
    Estimates,
    Interval,
    Study,
    bootstrap,
    mean,
    ratio,
)
from farthing.core.errors import DataError
from farthing.models.recording import Floats
from farthing.risk import binomial

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Human:
    """Who is hired where models fail.

    Attributes:
        usd: of one attempt.
        success: how often it is right, above 0.
    """

    usd: float = 20.0
    success: float = 1.0

    def __post_init__(self) -> None:
        if not self.usd >= 0 or self.usd == NEVER:
            raise DataError(f"a human costs {self.usd!r} USD: want a number that is not negative")
        if not 0 < self.success <= 1:
            raise DataError(f"a human succeeds with {self.success!r}: want above 0, at most 1")

    @property
    def cost_of_pass(self) -> float:
        """USD for one right answer."""
        return self.usd / self.success


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its interval. None is unknown, infinity is never."""

    value: float | None
    interval: Interval | None = None

    @classmethod
    def of(cls, estimates: Estimates, place: int) -> Figure:
        """One of several estimates."""
        value = float(estimates.value[place])
        return cls(None if np.isnan(value) else value, estimates.interval(place))


Verdict = Literal["repays", "does not repay", "not significant"]


def verdict(saving: Interval | None) -> Verdict | None:
    """Whether something saves money, from the interval of the saving; None if it is unknown."""
    if saving is None or np.isnan(saving).any():
        return None
    if saving[0] > 0:
        return "repays"
    return "does not repay" if saving[1] < 0 else "not significant"


@dataclass(frozen=True, slots=True)
class Standing:
    """One model.

    Attributes:
        entry: what is known of it as a whole.
        passed: share of right answers, questions counting alike.
        cost: USD of an attempt.
        cost_of_pass: the ratio of these two means; infinite if nothing was ever right.
        with_human: mean over questions of the lesser of its cost-of-pass and the human's.
        never: questions that it was asked and never solved, whose cost-of-pass is infinite; None if
            that is not told.
        rank: by cost_of_pass, from 1; None if it is unknown.
    """

    entry: Entry
    passed: Figure
    cost: Figure
    cost_of_pass: Figure
    with_human: Figure
    never: int | None
    rank: int | None


def standings(study: Study, human: Human) -> list[Standing]:
    """Every model, in the order of the study."""
    count = len(study.entries)

    def statistics(cells: Cells) -> Floats:
        cost, passed = mean(cells.cost), mean(cells.passed)
        capped = mean(np.minimum(by_question(cells), human.cost_of_pass))
        return np.concatenate([passed, cost, ratio(cost, passed), capped])

    found = bootstrap(study, statistics)
    passes = study.cells.passed
    overall = found.value[2 * count : 3 * count]
    order = [int(m) for m in np.argsort(overall, kind="stable") if not np.isnan(overall[m])]
    made = []
    for place, entry in enumerate(study.entries):
        passed, cost, of_pass, capped = (
            Figure.of(found, part * count + place) for part in range(4)
        )
        if of_pass.value == NEVER and cost.value is not None:
            # No resample of nothing succeeds; the exact bound says what might have been.
            highest = binomial.interval(0, entry.questions)[1]
            of_pass = Figure(NEVER, (cost.value / highest, NEVER))
        made.append(
            Standing(
                entry,
                _exact(passed, entry, study),
                cost,
                of_pass,
                capped,
                int((passes[place] == 0).sum()) if _told(study, place) else None,
                order.index(place) + 1 if place in order else None,
            )
        )
    return made


def _told(study: Study, model: int) -> bool:
    """Whether it is known which questions the model solved."""
    return study.by_question and not bool(np.isnan(study.cells.passed[model]).all())


def _exact(passed: Figure, entry: Entry, study: Study) -> Figure:
    """A table's rate with its exact interval."""
    if study.by_question or passed.value is None:
        return passed
    passes = round(passed.value * entry.questions)
    return Figure(passed.value, binomial.interval(passes, entry.questions))


def by_question(cells: Cells) -> Floats:
    """Cost-of-pass of each model at each question; infinite where it never succeeded."""
    return ratio(cells.cost, cells.passed)


@dataclass(frozen=True, slots=True)
class Without:
    """A frontier that some models are kept from.

    Attributes:
        name: of those who are kept out.
        models: them.
        frontier: what is left, USD.
        contribution: by how much it is dearer, USD: what they are worth.
    """

    name: str
    models: tuple[str, ...]
    frontier: Figure
    contribution: Figure


@dataclass(frozen=True, slots=True)
class Dated:
    """The frontier of the models that there were on a date."""

    date: str
    models: tuple[str, ...]
    frontier: Figure


@dataclass(frozen=True, slots=True)
class Frontier:
    """The least cost-of-pass, over models and a human.

    Attributes:
        human: USD of a human's right answer.
        value: expected USD for a right answer, where each question has its cheapest solver. From a
            table: of the cheapest model.
        one_for_all: USD for a right answer of the one model that is cheapest overall.
        by_human: share of questions for which the human is the cheapest; None if the frontier is
            unknown.
        shares: for each model the share of questions for which it is.
        unsolved: questions that no model ever solved; None if that is not told.
        without: counterfactual frontiers.
        undated: models without a date, which no dated frontier has.
        over_time: from the first date to the last, where dates are known.
        attempts: the least number of attempts of a model at a question that it was asked.
    """

    human: float
    value: Figure
    one_for_all: Figure
    by_human: float | None
    shares: dict[str, float]
    unsolved: tuple[str, ...] | None
    without: tuple[Without, ...]
    undated: tuple[str, ...]
    over_time: tuple[Dated, ...]
    attempts: int | None


def frontier(
    study: Study,
    human: Human,
    *,
    without: Sequence[str] = (),
    before: Sequence[str] = (),
) -> Frontier:
    """The frontier, and those without classes of models (see `members`) or before dates (ISO).

    Where no class is named, every class, and every model by itself, is left out in turn.
    """
    entries = study.entries
    every = tuple(range(len(entries)))
    groups = {name: members(entries, name) for name in without}
    for day in before:
        groups[f"not before {day}"] = [
            m
            for m in every
            if entries[m].date is None or entries[m].date >= day  # type: ignore[operator]
        ]
    if not without and not before:
        kinds = sorted({entry.kind for entry in entries if entry.kind})
        groups |= {kind: members(entries, kind) for kind in kinds}
        groups |= {entry.model: [m] for m, entry in enumerate(entries)}
    dates = sorted({entry.date for entry in entries if entry.date})
    kept = [[m for m in every if m not in out] for out in groups.values()]
    there = [[m for m in every if (entries[m].date or "~") <= day] for day in dates]

    def statistics(cells: Cells) -> Floats:
        rates = by_question(cells)
        whole = _least(rates, every, human)
        values = [_least(rates, some, human) for some in kept]
        overall = ratio(mean(cells.cost), mean(cells.passed))
        known = overall[~np.isnan(overall)]
        alone = min(human.cost_of_pass, known.min()) if len(known) else np.nan
        parts = [whole, alone, *values, *(v - whole for v in values)]
        return np.array(parts + [_least(rates, some, human) for some in there])

    found = bootstrap(study, statistics)
    figures = [Figure.of(found, place) for place in range(len(found.value))]
    count = len(groups)
    changed = tuple(
        Without(name, tuple(entries[m].model for m in out), figures[2 + n], figures[2 + count + n])
        for n, (name, out) in enumerate(groups.items())
    )
    if not without and not before:
        changed = tuple(w for w in changed if w.models)
    timed = tuple(
        Dated(day, tuple(entries[m].model for m in some), figures[2 + 2 * count + n])
        for n, (day, some) in enumerate(zip(dates, there, strict=True))
    )
    rates = np.where(np.isnan(by_question(study.cells)), NEVER, by_question(study.cells))
    best = rates.min(axis=0)
    winners = np.where(best < human.cost_of_pass, rates.argmin(axis=0), -1)
    return Frontier(
        human.cost_of_pass,
        figures[0],
        figures[1],
        None if figures[0].value is None else float((winners < 0).mean()),
        {entry.model: float((winners == m).mean()) for m, entry in enumerate(entries)},
        _unsolved(study),
        changed,
        tuple(entry.model for entry in entries if entry.date is None) if dates or before else (),
        timed,
        study.least_attempts,
    )


def _unsolved(study: Study) -> tuple[str, ...] | None:
    passed = study.cells.passed
    if not study.by_question or np.isnan(passed).all():
        return None
    never = ~(passed > 0).any(axis=0) & (passed == 0).any(axis=0)
    return tuple(study.questions[int(q)] for q in np.flatnonzero(never))


def members(entries: Sequence[Entry], name: str) -> list[int]:
    """The models of a class; else those whose names match a pattern such as `gpt-*`.

    Raises DataError, with the classes there are, if that is none.
    """
    found = [m for m, entry in enumerate(entries) if entry.kind == name]
    found = found or [m for m, entry in enumerate(entries) if fnmatchcase(entry.model, name)]
    if not found:
        kinds = sorted({entry.kind for entry in entries if entry.kind})
        raise DataError(
            f"no class and no model is {name!r}; classes: {', '.join(kinds) or 'none stated'}"
        )
    return found


def _least(rates: Floats, some: Sequence[int], human: Human) -> float:
    """Mean over questions of the least cost-of-pass of some models and the human.

    NaN where nothing is known of any model.
    """
    if np.isnan(rates).all():
        return float("nan")
    best = np.fmin.reduce(rates[list(some)], axis=0, initial=human.cost_of_pass)
    return float(best.mean())
