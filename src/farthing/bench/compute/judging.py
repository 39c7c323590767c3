"""Every policy at every budget, on the same questions with the same seeds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from farthing import __version__
from farthing.bench.compute.arms import VOTE, Arm, arms
from farthing.bench.compute.kept import Kept, open_folder
from farthing.bench.compute.results import COLUMNS, Asked, Bench, Judged
from farthing.bench.compute.worlds import Begun, Source, World, check_model, world
from farthing.core.errors import CapError, RequestError, UpstreamError
from farthing.core.money import PICO_PER_USD, Cost
from farthing.core.protocols import Policy
from farthing.core.response import Response, Sample
from farthing.plan.parallel import Progress, for_each
from farthing.policies.registry import models_of
from farthing.policies.single import Single

BUDGETS = (2, 4, 8, 16)
"""What an operation may cost, in greedy answers of the model."""

NOTHING = Response("", (Sample("", read=True),))


def bench(
    source: Source,
    *,
    model: str,
    kinds: Sequence[str],
    budgets: Sequence[int] = BUDGETS,
    seeds: int = 5,
    jobs: int = 1,
    keep: Path | None = None,
    progress: Progress = lambda name, done, total: None,
) -> Bench:
    """Run every policy; budgets are dollars per operation, told in the model's greedy answers.

    In the folder `keep` each policy's results are kept, and taken from there the next time.

    Raises ConfigError if there is no such model, DataError for a recording that does not do, or
    for kept results that cannot be read or written.
    """
    if keep is not None:
        open_folder(keep)
    found = world(source)
    check_model(found, model)
    singles = [Judged(name, None, _single(found, name)) for name in found.models]
    unit = float(singles[found.models.index(model)].asked.columns["usd"].mean())
    chosen, unfit = arms(kinds, model, steps=found.steps, stronger=_stronger(singles, model))
    left_out = {**found.left_out, **unfit}
    if not any(arm.name == VOTE for arm in chosen):
        chosen = [
            *(arm for arm in arms(["vote"], model, steps=False)[0] if arm.name == VOTE),
            *chosen,
        ]
    work = partial(
        _judge, source=source, arms={arm.name: arm for arm in chosen}, budgets=tuple(budgets),
        unit=unit, seeds=seeds, keep=keep,
    )  # fmt: skip
    done = for_each([arm.name for arm in chosen], work, jobs=jobs, progress=progress)
    judged: list[Judged] = []
    for arm, told in zip(chosen, done, strict=True):
        if isinstance(told, str):
            left_out[arm.name] = told
        else:
            judged += told
    return Bench(
        source, model, found.models, unit, seeds, found.questions, tuple(singles), tuple(judged),
        left_out,
    )  # fmt: skip


def _stronger(singles: Sequence[Judged], model: str) -> str | None:
    """The model that gains most right answers for each further dollar; None if none gains any."""
    points = {
        one.name: (one.asked.mean("usd").mean(), one.asked.mean("right").mean()) for one in singles
    }
    own_usd, own_right = points[model]
    gains = {
        name: (right - own_right) / (usd - own_usd)
        for name, (usd, right) in points.items()
        if usd > own_usd and right > own_right
    }
    return max(gains, key=gains.__getitem__, default=None)


def _single(found: World, model: str) -> Asked:
    return _ask(found, {None: Single(model)}, (0,), 0.0)[0]


def _judge(
    name: str,
    source: Source,
    arms: dict[str, Arm],
    budgets: tuple[int, ...],
    unit: float,
    seeds: int,
    keep: Path | None,
) -> list[Judged] | str:
    """The arm at each budget, or why its model cannot answer what it asks."""
    arm = arms[name]
    policies: dict[int | None, Policy] = {budget: arm.policy(budget) for budget in budgets}
    kept = None if keep is None else Kept(keep, name, _setting(source, policies, unit, seeds))
    if kept is not None and (found := kept.find()) is not None:
        return found
    try:
        asked = _ask(world(source), policies, range(seeds), unit)
    except RequestError as error:
        return str(error)
    judged = [Judged(name, budget, one) for budget, one in zip(budgets, asked, strict=True)]
    if kept is not None:
        kept.put(judged)
    return judged


def _setting(
    source: Source, policies: Mapping[int | None, Policy], unit: float, seeds: int
) -> dict[str, Any]:
    told = None if source.recording is None else Path(source.recording).stat()
    return {
        "version": __version__,
        "source": asdict(source),
        "recording": None if told is None else [told.st_size, told.st_mtime_ns],
        "unit": unit,
        "seeds": seeds,
        "policies": {budget: policy.get_params() for budget, policy in policies.items()},
    }


def _ask(
    found: World,
    policies: Mapping[int | None, Policy],
    seeds: Sequence[int],
    unit: float,
) -> list[Asked]:
    """What the policy of each budget, in `unit` dollars, comes to.

    A question is asked at all seeds and budgets before the next: these need the same tokens.
    """
    caps = [
        None if budget is None else Cost(round(budget * unit * PICO_PER_USD)) for budget in policies
    ]
    shape = (len(policies), len(seeds), found.questions)
    columns = {name: np.zeros(shape) for name in COLUMNS}
    unanswered = np.zeros(len(policies))
    models = dict.fromkeys(model for policy in policies.values() for model in models_of(policy))

    async def run() -> None:
        for question in range(found.questions):
            for model in models:
                found.prepare(model, question)
            for (row, seed), (place, policy) in product(
                enumerate(seeds), enumerate(policies.values())
            ):
                begun = found.begin(question, seed, caps[place])
                response = await _answer(policy, begun)
                unanswered[place] += response is None
                for name, value in asdict(begun.spent(response or NOTHING)).items():
                    columns[name][place, row, question] = value

    asyncio.run(run())
    unanswered /= shape[1] * shape[2]
    return [
        Asked({name: column[place] for name, column in columns.items()}, float(unanswered[place]))
        for place in range(len(policies))
    ]


async def _answer(policy: Policy, begun: Begun) -> Response | None:
    """The policy's answer, once all of its calls have ended; None without one."""
    try:
        return await policy.answer(begun.request, begun.operation)
    except (CapError, UpstreamError):
        return None
    finally:
        await begun.operation.idle()
