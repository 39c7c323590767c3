"""Which model, effort, samples and stop rule for each class of questions, under one budget.

Half of the recorded questions choose, the other half certify. The choice is a knapsack: a class
takes one option, the classes' mean cost together stays within the budget, and quality is as high
as it can be. What is certified, class by class, is how often a request costs more than an amount.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farthing.core.errors import CalibrationError, DataError, InfeasibleError
from farthing.core.money import PICO_PER_USD, Cost
from farthing.models.arrow import pa, pc
from farthing.models.draw import Draw, draw
from farthing.models.recording import Ints, Recording
from farthing.plan._traffic import traffic
from farthing.plan.compute_options import Option, Played, options, play
from farthing.plan.file import Certificate, Plan
from farthing.policies.decisions import rightness
from farthing.policies.ttc.drawing import Sampling
from farthing.policies.ttc.effort import Effort
from farthing.risk.binomial import least_trials, tail_p_value
from farthing.risk.bootstrap import mean_interval

_BINS = 4096

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Class:
    """What was chosen for one class, as it did on the questions that certify.

    Attributes:
        name: what its questions share in the column; empty where that is the same for all.
        questions: of it that certify.
        option: what was chosen.
        quality, usd: with 95 % intervals.
        samples: taken on average.
        plan: what serves it, with its certificate.
    """

    name: str
    questions: int
    option: Option
    quality: float
    quality_interval: Interval
    usd: float
    usd_interval: Interval
    samples: float
    plan: Plan


@dataclass(frozen=True, slots=True)
class Choice:
    """All classes together.

    Attributes:
        budget: dollars that a request may cost on average.
        quality, usd: on the questions that certify, with 95 % intervals.
        singles: name, quality and dollars there of each model asked once.
    """

    budget: Cost
    classes: tuple[Class, ...]
    quality: float
    quality_interval: Interval
    usd: float
    usd_interval: Interval
    singles: tuple[tuple[str, float, float], ...]

    @property
    def enough(self) -> str | None:
        """The cheapest model that, asked once, is as good for less; None if none is."""
        names = [
            (usd, name)
            for name, quality, usd in self.singles
            if usd <= self.usd and quality >= self.quality
        ]
        return min(names)[1] if names else None

    @property
    def within(self) -> bool:
        """Whether the mean cost is within the budget, as far as these questions can tell."""
        return self.usd_interval[0] <= self.budget.pico / PICO_PER_USD


def choose(
    recording: Recording,
    budget: Cost,
    *,
    models: Sequence[str] | None = None,
    samples: int = 16,
    by: str | None = None,
    efforts: Mapping[str, Effort] | None = None,
    sampling: Sampling | None = None,
    temperature: float | None = None,
    alpha: float = 0.1,
    delta: float = 0.1,
    name: str = "compute",
    seed: int = 0,
) -> Choice:
    """The best options within a mean cost of `budget`, and their certified plans.

    Args:
        recording: what was answered.
        budget: mean dollars of a request.
        models: those to choose among; None for all.
        samples: of each, at most.
        by: the column whose values are the classes; None for `task`, where there is one.
        efforts: models that are another one at some effort, see `compute_options.efforts`.
        sampling: whether votes have several samples of one call, which bills the prompt once, as
            served; None for what the recording says, else "calls".
        temperature: sent when served; None for what the recording says, else the client's.
        alpha, delta: of the certificates.
        name: of the plans, before that of the class.
        seed: of the draw and the halves.

    Raises DataError where correctness or costs are not known, or questions have no class;
    InfeasibleError where the budget is less than the cheapest options cost, CalibrationError
    where a class has too few questions to certify with.
    """
    if budget <= Cost(0):
        raise DataError(f"the budget must be above 0 USD, not {budget}")
    for said, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:
            raise DataError(f"{said} must be between 0 and 1, not {value}")
    drawn = draw(recording, list(models) if models else list(recording.models), samples, seed)
    right = rightness(drawn)
    if any(np.isnan(one).any() for one in right):
        raise DataError(f"{recording.path}: correctness is not known of all answers")
    order = np.random.default_rng(seed).permutation(drawn.questions)
    pilot, certify = (np.sort(half) for half in np.array_split(order, 2))
    task = _classes(drawn, by)
    names = sorted(set(task.tolist()))
    known = recording.metadata
    if sampling is None:
        sampling = "n" if known.get("farthing.sampling") == "n" else "calls"
    if temperature is None and "farthing.temperature" in known:
        temperature = float(known["farthing.temperature"])
    every = options(drawn, efforts, sampling)
    played = [play(drawn, right[drawn.index(option.model)], option) for option in every]
    chosen = _knapsack(
        [(task[pilot] == one).mean() for one in names],
        [
            [(float(p.cost[rows].mean()), float(p.right[rows].mean())) for p in played]
            for rows in (pilot[task[pilot] == one] for one in names)
        ],
        budget.pico,
    )
    if chosen is None:
        least = sum(
            min(float(did.cost[pilot[task[pilot] == one]].sum()) for did in played) for one in names
        )
        feasible = Cost(round(least / len(pilot)))
        raise InfeasibleError(
            f"no choice costs at most {budget} USD a request on average; the cheapest options "
            f"cost {feasible}",
            feasible_budget_usd=str(feasible),
        )
    classes, cost, good = [], np.zeros(drawn.questions), np.zeros(drawn.questions)
    for one, place in zip(names, chosen, strict=True):
        did = played[place]
        here = certify[task[certify] == one]
        cost[here], good[here] = did.cost[here], did.right[here]
        learnt = pilot[task[pilot] == one]
        plan = _plan(
            recording, f"{name}-{one}" if one else name, every[place], temperature, did, learnt,
            here, alpha, delta / len(names), seed,
        )  # fmt: skip
        usd = did.cost[here] / PICO_PER_USD
        classes.append(
            Class(
                one,
                len(here),
                every[place],
                float(did.right[here].mean()),
                mean_interval(did.right[here]),
                float(usd.mean()),
                mean_interval(usd),
                float(did.taken[here].mean()),
                plan,
            )
        )
    spent = cost[certify] / PICO_PER_USD
    singles = tuple(
        (
            model,
            float(right[index][certify, 0].mean()),
            float(drawn.cost[index][certify, 0].mean()) / PICO_PER_USD,
        )
        for index, model in enumerate(drawn.models)
    )
    return Choice(
        budget, tuple(classes), float(good[certify].mean()), mean_interval(good[certify]),
        float(spent.mean()), mean_interval(spent), singles,
    )  # fmt: skip


def _classes(drawn: Draw, by: str | None) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    """The class of each question; empty where all are of one."""
    table, path = drawn.recording.table, drawn.recording.path
    if by is None and "task" not in table.column_names:
        return np.full(drawn.questions, "")
    told = drawn.recording.column(by or "task").cast(pa.string())
    rows = np.concatenate(drawn.rows, axis=1)
    codes = pc.fill_null(told.combine_chunks().dictionary_encode().indices, -1).to_numpy()[rows]
    names = np.array([one or "" for one in told.take(pa.array(rows[:, 0])).to_pylist()])
    if by is not None and ((codes < 0) | (codes != codes[:, :1])).any():
        place = int(np.flatnonzero(((codes < 0) | (codes != codes[:, :1])).any(axis=1))[0])
        raise DataError(
            f"{path}: column {by!r} is null or not the same in all rows of question "
            f"{drawn.recording.questions[place]!r}; a class has to be known before a model is asked"
        )
    return names if len(set(names.tolist())) > 1 else np.full(drawn.questions, "")


def _knapsack(
    shares: Sequence[float], options: Sequence[Sequence[tuple[float, float]]], budget: float
) -> list[int] | None:
    """For each class the place of its option (cost, quality): the best sum within the budget.

    Exact but for costs closer than a 4,096th of the budget; None if nothing is cheap enough.
    """
    front: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
    for share, own in zip(shares, options, strict=True):
        merged = [
            (cost + share * c, quality + share * q, (*places, place))
            for cost, quality, places in front
            for place, (c, q) in enumerate(own)
            if cost + share * c <= budget * (1 + 1e-12)
        ]
        merged.sort(key=lambda one: (one[0], -one[1]))
        front, best, last = [], -1.0, -1
        for one in merged:
            here = int(_BINS * one[0] / budget)
            if one[1] > best + 1e-12:
                if here == last:  # a better one that costs hardly more stands in
                    front[-1] = one
                else:
                    front.append(one)
                best, last = one[1], here
    return list(front[-1][2]) if front else None


def _plan(
    recording: Recording,
    name: str,
    option: Option,
    temperature: float | None,
    did: Played,
    pilot: Ints,
    certify: Ints,
    alpha: float,
    delta: float,
    seed: int,
) -> Plan:
    """The plan of a class, certified for the least amount that the tests let through.

    Amounts are the pilot's dearest question, then its quantiles at 1 - alpha / 4 and
    1 - alpha / 2. They are tested in this order until one fails, so that all that passed hold
    together with probability 1 - delta.
    """
    costs = np.sort(did.cost[pilot])
    passed: tuple[int, int] | None = None
    violations = 0
    for level in (1.0, 1 - alpha / 4, 1 - alpha / 2):
        if not len(costs):
            break
        most = int(np.quantile(costs, level, method="higher"))
        violations = int((did.cost[certify] > most).sum())
        if tail_p_value(violations, len(certify), alpha) > delta:
            break
        passed = most, violations
    if passed is None:
        needed = max(least_trials(alpha, delta), len(certify))
        while tail_p_value(violations, needed, alpha) > delta:
            needed += 1
        raise CalibrationError(
            f"{recording.path}: {len(certify)} questions are too few to certify {name!r} at "
            f"alpha {alpha} and delta {delta:.4g}, {violations} of them above all that chose it: "
            f"{needed} or more are needed",
            needed=needed,
            given=len(certify),
        )
    usd = did.cost[certify] / PICO_PER_USD
    return Plan(
        name,
        option.policy(temperature),
        (option.served,),
        recording.metadata.get("farthing.answer", "text"),
        Certificate("pac", alpha, delta, Cost(passed[0]), len(pilot), len(certify), passed[1]),
        {
            "recording": Path(recording.path).name,
            "digest": recording.digest,
            "questions": len(pilot) + len(certify),
            "seed": seed,
            **({} if option.effort is None else {"model": option.model}),
        },
        {
            "quality": float(did.right[certify].mean()),
            "cost_usd_mean": float(usd.mean()),
            "violation_rate": passed[1] / len(certify),
        },
        traffic=traffic(did.cost[certify], seed),
    )
