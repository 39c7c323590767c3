"""The best of all policies on a recording, with the same certificate as a cascade's.

The questions are split once. On the pilot half each policy is learnt and judged by
cross-validation, and one is chosen; the other half certifies how far along its ladder, from the
fewest violations to the most, one may go. So neither the choice nor what was learnt has seen a
question that certifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from farthing.core.errors import DataError, ExtraError, InfeasibleError
from farthing.core.money import PICO_PER_USD
from farthing.core.protocols import Policy
from farthing.models.draw import Draw, draw
from farthing.models.recording import Floats, Ints, Recording
from farthing.plan._traffic import traffic
from farthing.plan.c3po import C3po
from farthing.plan.calibrate import Promise, feasible_budget, split
from farthing.plan.evaluate import Result, baselines
from farthing.plan.file import Certificate, Plan
from farthing.plan.make import baseline_row
from farthing.plan.outcomes import Outcomes
from farthing.plan.parallel import Progress, for_each
from farthing.plan.selection import (
    METHODS,
    Tried,
    candidates,
    out_of_fold,
    try_all,
)
from farthing.policies.decisions import Learnt, Truth, rightness
from farthing.risk.bootstrap import resampled_means
from farthing.risk.sequence import certified_marginal, certified_pac

RESAMPLES = 500
MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Entry:
    """One method, judged on the pilot half.

    Attributes:
        name: of the method.
        tried: all places of its ladder, on questions it was not learnt from.
    """

    name: str
    tried: Tried

    def order(self, budget: int) -> Ints:
        """The places from the fewest violations to the most, cheaper before dearer."""
        over = (self.tried.cost > budget).sum(axis=1)
        order: Ints = np.lexsort((self.tried.costs, over))
        return order

    def feasible(self, budget: int, level: float) -> list[int]:
        """The places whose share of violations is at most `level`."""
        rates = (self.tried.cost > budget).mean(axis=1)
        return [int(place) for place in np.flatnonzero(rates <= level)]


def search_plan(
    recording: Recording,
    promise: Promise,
    *,
    models: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    samples: int | Sequence[int] = 5,
    truth: Truth | None = None,
    temperature: float | None = None,
    answer: str | None = None,
    seed: int = 0,
    name: str = "plan",
    jobs: int = 1,
    progress: Progress = lambda name, done, total: None,
) -> Plan:
    """The plan of the best policy that keeps the promise, with the others as evidence.

    Best is the cheapest setting of all policies that lacks at most a point to the one of most
    quality, and cannot be told apart from it (95 %).
    `truth` says what quality is: the recording's marks if it has them all, else agreement with
    the strongest model.

    Raises:
        CalibrationError: too few questions for alpha (and delta); says how many are needed.
        InfeasibleError: no policy keeps the budget; says at which budget one would.
        DataError: the recording lacks what is asked for, or no method can learn from it.
    """
    drawn = draw(recording, list(models) if models else candidates(recording), samples, seed)
    if len(drawn.models) < 2:
        raise DataError("a plan chooses between models: name at least two")
    truth, right = _truth(drawn, truth)
    pilot, certify = split(drawn.questions, promise, 0.5, seed)
    known = drawn.select(pilot), [r[pilot] for r in right]
    new = drawn.select(certify), [r[certify] for r in right]
    judged = _judge(list(methods or METHODS), known, seed, jobs, progress)
    ladders = _Ladders(known, new, seed)
    allowed = promise.allowed(len(certify)) / len(certify)
    winner = _winner(judged, promise.budget.pico, allowed)
    place = ladders.certified(winner, promise.budget.pico, promise)
    if place is None:
        raise _infeasible(drawn, judged, ladders, promise, allowed)
    ladder, tried = ladders.of(winner)
    over = int((tried.cost[place] > promise.budget.pico).sum())
    result = Result(
        tried.cost[place], tried.regret[place], tried.right[place], tried.answered[place]
    )
    return Plan(
        name,
        _served(ladder[place], temperature),
        drawn.models,
        answer or recording.metadata.get("farthing.answer", "text"),
        Certificate(
            promise.mode,
            promise.alpha,
            promise.delta,
            promise.budget,
            len(pilot),
            len(certify),
            over,
        ),
        {
            "recording": Path(recording.path).name,
            "digest": recording.digest,
            "questions": drawn.questions,
            "left_out": drawn.left_out,
            "seed": seed,
            "searched": len(judged),
            "truth": truth,
        },
        {
            "quality": float(result.correct.mean()),
            "cost_usd_mean": result.cost_usd_mean,
            "regret": float(result.regret.mean()),
            "violation_rate": over / len(certify),
        },
        tuple(baseline_row(row) for row in baselines(Outcomes(new[0]), result.cost_usd_mean)),
        tuple(_evidence(judged, winner, promise.budget.pico, allowed)),
        traffic=traffic(result.cost, seed),
    )


def _truth(drawn: Draw, asked: Truth | None) -> tuple[Truth, list[Floats]]:
    right = rightness(drawn, asked or "correct")
    if not any(np.isnan(r).any() for r in right):
        return asked or "correct", right
    if asked is not None:
        raise DataError(f"{drawn.recording.path}: correctness is not known of all answers")
    return "agreement", rightness(drawn, "agreement")


def _judge(
    names: Sequence[str], known: tuple[Draw, list[Floats]], seed: int, jobs: int, progress: Progress
) -> list[Entry]:
    """The methods that can learn from the pilot half; DataError with the reasons if none can."""
    found = for_each(names, partial(_try, known=known, seed=seed), jobs=jobs, progress=progress)
    judged = [entry for entry in found if isinstance(entry, Entry)]
    if not judged:
        raise DataError("; ".join(str(entry) for entry in found))
    return judged


def _try(name: str, known: tuple[Draw, list[Floats]], seed: int) -> Entry | str:
    """One method on the pilot half, or why it cannot learn from it."""
    try:
        return Entry(name, out_of_fold(METHODS[name], *known, seed=seed + 1))
    except (DataError, ExtraError) as error:
        return f"{name}: {error}"


def _winner(judged: Sequence[Entry], budget: int, level: float) -> Entry:
    """The cheapest of the entries that are about as good as the best of them.

    Only one is chosen, and then certified or not: a second try would need a stricter test.
    """
    pairs = [(entry, place) for entry in judged for place in entry.feasible(budget, level)]
    if not pairs:  # the pilot half says no; the other may still say yes to the safest
        return min(judged, key=lambda entry: (entry.tried.cost > budget).sum(axis=1).min())
    return _thrifty(pairs)[0]


def _thrifty(pairs: Sequence[tuple[Entry, int]]) -> tuple[Entry, int]:
    """The cheapest of the places that are about as good as the best of them."""
    first, at = max(pairs, key=lambda pair: float(pair[0].tried.qualities[pair[1]]))
    best = first.tried.right[at]
    for entry, place in sorted(pairs, key=lambda pair: float(pair[0].tried.costs[pair[1]])):
        behind = (best - entry.tried.right[place])[:, None]
        if behind.mean() > MARGIN:
            continue
        if np.quantile(resampled_means(behind, RESAMPLES, 0), 0.025) <= 0:
            return entry, place
    return first, at


def _infeasible(
    drawn: Draw, judged: Sequence[Entry], ladders: _Ladders, promise: Promise, level: float
) -> InfeasibleError:
    def feasible(budget: int) -> bool:
        return ladders.certified(_winner(judged, budget, level), budget, promise) is not None

    dearest = int(max(cost.max() for cost in drawn.cost))
    usd = feasible_budget(promise.budget.pico, dearest, feasible)
    hint = f"a budget of {usd} USD would do" if usd else "no budget would do"
    return InfeasibleError(
        f"no policy over these models keeps to {promise.budget} USD a request with alpha "
        f"{promise.alpha}: {hint}",
        feasible_budget_usd=usd,
    )


class _Ladders:
    """The ladders learnt from the whole pilot half, and what they do on the other."""

    def __init__(
        self, known: tuple[Draw, list[Floats]], new: tuple[Draw, list[Floats]], seed: int
    ) -> None:
        self._known, self._new, self._seed = known, new, seed
        self._made: dict[str, tuple[list[Learnt], Tried]] = {}

    def of(self, entry: Entry) -> tuple[list[Learnt], Tried]:
        """The ladder of a method, and its places on the certification questions."""
        if entry.name not in self._made:
            ladder = METHODS[entry.name].fit(*self._known, seed=self._seed)
            self._made[entry.name] = ladder, try_all(ladder, *self._new)
        return self._made[entry.name]

    def certified(self, entry: Entry, budget: int, promise: Promise) -> int | None:
        """The thriftiest of the certified places, by the pilot half; None if none is certified."""
        order = entry.order(budget)
        violated = self.of(entry)[1].cost[order] > budget
        if promise.mode == "marginal":
            usable = certified_marginal(violated, promise.alpha)
        else:
            assert promise.delta is not None
            usable = certified_pac(violated, promise.alpha, promise.delta)
        if not usable:
            return None
        return _thrifty([(entry, int(place)) for place in order[:usable]])[1]


def _served(policy: Learnt, temperature: float | None) -> Policy:
    """The policy as a plan file can name it."""
    served: Any = policy.cascade if isinstance(policy, C3po) else policy
    if temperature is not None and hasattr(served, "temperature"):
        served = replace(served, temperature=temperature)
    kept: Policy = served
    return kept


def _evidence(
    judged: Sequence[Entry], winner: Entry, budget: int, level: float
) -> list[dict[str, Any]]:
    """Each method at its thriftiest place within the promise, as the pilot half saw it."""
    told: list[dict[str, Any]] = []
    for entry in judged:
        places = entry.feasible(budget, level)
        if places:
            place = _thrifty([(entry, place) for place in places])[1]
            told.append(
                {
                    "name": entry.name,
                    "quality": float(entry.tried.qualities[place]),
                    "cost_usd_mean": float(entry.tried.costs[place]) / PICO_PER_USD,
                    "violation_rate": float((entry.tried.cost[place] > budget).mean()),
                }
            )
    return sorted(told, key=lambda row: (row["name"] != winner.name, -row["quality"]))
