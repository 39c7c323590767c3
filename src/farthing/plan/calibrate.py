"""From a recording to a certified plan.

The questions are split once, at random: on the pilot half the search fixes a sequence of
cascades from cautious to bold, the other half certifies how far along it one may go. Thresholds
are thus never certified on the questions that chose them. In PAC mode, cascades that no question
chose are certified on all of them besides (`plan._pac`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from farthing.core.errors import CalibrationError, DataError, InfeasibleError
from farthing.core.money import Cost
from farthing.models.draw import Draw
from farthing.models.recording import Ints
from farthing.plan._pac import Beforehand, certified
from farthing.plan._path import path, totals
from farthing.plan.evaluate import Baseline, Result, apply, apply_candidate, baselines
from farthing.plan.outcomes import Outcomes, Sampling
from farthing.plan.search import Candidate, frontier
from farthing.risk.binomial import least_trials, most_violations
from farthing.risk.sequence import (
    allowed_marginal,
    certified_marginal,
    least_marginal,
)

Mode = Literal["marginal", "pac"]


@dataclass(frozen=True, slots=True)
class Promise:
    """What is asked of a plan: P(cost > budget) <= alpha, in one of two senses.

    Attributes:
        budget: of one request.
        alpha: the share of requests that may cost more.
        mode: "marginal", over calibration and request together; "pac", for all but a share
            `delta` of calibrations.
        delta: None in marginal mode.
    """

    budget: Cost
    alpha: float
    mode: Mode = "marginal"
    delta: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise DataError(f"alpha must lie between 0 and 1, not {self.alpha}")
        if self.mode == "pac" and not (self.delta is not None and 0 < self.delta < 1):
            raise DataError(f"delta must lie between 0 and 1 in pac mode, not {self.delta}")
        if self.budget.pico <= 0:
            raise DataError(f"the budget must be more than nothing, not {self.budget} USD")

    @property
    def least_questions(self) -> int:
        """The fewest certification questions with which the promise can be given at all."""
        if self.mode == "marginal":
            return least_marginal(self.alpha)
        assert self.delta is not None
        return least_trials(self.alpha, self.delta)

    def allowed(self, questions: int) -> int:
        """The most violations among so many certification questions; negative if none."""
        if self.mode == "marginal":
            return allowed_marginal(questions, self.alpha)
        assert self.delta is not None
        return most_violations(questions, self.alpha, self.delta)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A certified cascade and what is known of it.

    Attributes:
        chosen: the cascade; its figures are those on all calibration questions.
        result: on the certification questions.
        violations: among them.
        pilot, certify: how many questions chose and how many certified; where no question had
            to choose the thresholds, all certified.
        baselines: on the certification questions.
    """

    chosen: Candidate
    result: Result
    violations: int
    pilot: int
    certify: int
    baselines: list[Baseline]


def calibrate(
    draw: Draw,
    promise: Promise,
    *,
    signal: str = "agreement",
    sampling: Sampling = "calls",
    seed: int = 0,
    pilot_share: float = 0.5,
) -> Calibration:
    """The cascade of least regret that keeps `promise`.

    Source: C3PO (Valkanas et al., 2025) for the objective; see `risk.sequence` for the proof.

    Raises:
        CalibrationError: too few questions for alpha (and delta); says how many are needed.
        InfeasibleError: no cascade keeps the budget; says at which budget one would.
        DataError: the recording lacks what is asked for.
    """
    if len(draw.models) < 2:
        raise DataError("a plan chooses between models: name at least two")
    pilot, certify = split(draw.questions, promise, pilot_share, seed)
    parts = _Parts(
        Outcomes(draw.select(pilot), signal, sampling),
        Outcomes(draw.select(certify), signal, sampling),
        Outcomes(draw, signal, sampling) if promise.mode == "pac" else None,
    )
    found = _choose(parts, promise)
    if found is None:
        raise _infeasible(parts, promise)
    chosen, on = found
    result = apply_candidate(on, chosen)
    return Calibration(
        chosen,
        result,
        int(result.violated(promise.budget.pico).sum()),
        draw.questions - on.questions,
        on.questions,
        baselines(on, result.cost_usd_mean),
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """The outcomes of the questions that choose, that certify, and in PAC mode of all."""

    pilot: Outcomes
    certify: Outcomes
    every: Outcomes | None


def split(questions: int, promise: Promise, share: float, seed: int) -> tuple[Ints, Ints]:
    """The questions that choose, a `share` of all, and those that certify; by index, ascending.

    Raises CalibrationError where too few are left to certify.
    """
    least = promise.least_questions
    count = round(questions * share)
    if questions - count < least or count < 1:
        needed = next(n for n in range(2, 10**9) if n - max(1, round(n * share)) >= least)
        asked = f"alpha {promise.alpha}" + (
            f" and delta {promise.delta}" if promise.mode == "pac" else ""
        )
        raise CalibrationError(
            f"{questions} calibration questions are too few for {asked} in {promise.mode} mode: "
            f"at least {needed} are needed ({least} to certify, the rest to choose). Record more, "
            "or ask for a larger alpha" + (" or delta" if promise.mode == "pac" else ""),
            needed=needed,
            given=questions,
        )
    order = np.random.default_rng(seed).permutation(questions)
    return np.sort(order[:count]), np.sort(order[count:])


def _choose(parts: _Parts, promise: Promise) -> tuple[Candidate, Outcomes] | None:
    """The certified cascade of least regret, then cost, and the outcomes that certified it."""
    pilot, certify = parts.pilot, parts.certify
    budget = promise.budget.pico
    level = pilot.questions * promise.allowed(certify.questions) // certify.questions
    steps = frontier(pilot, budget, [level // 2, level])
    sequence = path(pilot, steps, budget, level) if steps else []
    results = [apply_candidate(certify, candidate) for candidate in sequence]
    violated = np.array([result.violated(budget) for result in results], np.bool_)
    violated = violated.reshape(len(sequence), certify.questions)
    usable: list[tuple[Candidate, Outcomes]] = []
    if parts.every is None:
        passed = np.arange(len(sequence)) < certified_marginal(violated, promise.alpha)
    else:
        assert promise.delta is not None
        fixed = Beforehand.of(parts.every)
        beforehand, passed = certified(
            parts.every, fixed, violated, budget, promise.alpha, promise.delta
        )
        for (models, thresholds), certain in zip(fixed.cascades, beforehand, strict=True):
            if certain:
                figures = totals(apply(parts.every, models, thresholds), budget)
                usable.append((Candidate(models, thresholds, *figures), parts.every))
    for candidate, result, certain in zip(sequence, results, passed, strict=True):
        if certain:
            violations, regret, cost = totals(result, budget)
            both = replace(
                candidate,
                violations=candidate.violations + violations,
                regret=candidate.regret + regret,
                cost=candidate.cost + cost,
            )
            usable.append((both, certify))
    usable.reverse()  # of equals, the last of the path
    return min(usable, key=lambda pair: (pair[0].regret, pair[0].cost), default=None)


def _infeasible(parts: _Parts, promise: Promise) -> InfeasibleError:
    """The error, with a budget at which there is a plan, found by bisection."""
    costs = [outcomes.end(0).cost for outcomes in (parts.pilot, parts.certify)]
    usd = feasible_budget(
        promise.budget.pico,
        int(max(cost.max() for cost in costs)),
        lambda budget: _choose(parts, replace(promise, budget=Cost(budget))) is not None,
    )
    hint = f"a budget of {usd} USD would do" if usd else "no budget would do"
    return InfeasibleError(
        f"no cascade of these models keeps to {promise.budget} USD a request with alpha "
        f"{promise.alpha}: {hint}",
        feasible_budget_usd=usd,
    )


def feasible_budget(low: int, high: int, feasible: Callable[[int], bool]) -> str | None:
    """The least budget between two found to be feasible by bisection, in USD; None if none is.

    `low` and `high` are in picodollars; the budget is rounded up to three digits.
    """
    found: int | None = None
    while high > low and (found is None or high - low > max(1, low // 200)):
        middle = high if found is None else (low + high) // 2
        trial = _rounded_up(middle)
        if feasible(trial):
            found, high = trial, middle
        elif found is None:
            break
        else:
            low = middle
    return None if found is None else str(Cost(found))


def _rounded_up(pico: int) -> int:
    """To three significant digits, upwards."""
    unit = int(10 ** max(0, len(str(pico)) - 3))
    return -(-pico // unit) * unit
