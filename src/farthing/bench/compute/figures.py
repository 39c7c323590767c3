"""The columns of the table, with intervals over questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from farthing.bench.compute.arms import VOTE
from farthing.bench.compute.results import Asked, Bench, Judged
from farthing.bench.figures import RESAMPLES, Interval
from farthing.models.recording import Floats
from farthing.risk.bootstrap import resampled_means
from farthing.risk.frontier import random_mix


@dataclass(frozen=True, slots=True)
class Row:
    """One policy at one budget, or a model that answers once. Unknown is None.

    Intervals are of 95 %, over questions, each of which counts by its mean over the seeds.

    Attributes:
        name: of the policy or the model.
        budget: dollars that an operation may cost, in greedy answers of the model; None for none.
        quality: share of right answers.
        usd, usd_per_right: dollars of an operation, and of a right answer.
        output_tokens, flops, device_s: of an operation, by count and by formula; the time is
            that of its passes one after the other on the device, and no less could do.
        cancelled: share of the generated tokens that calls had which were broken off.
        calls: of an operation.
        gain: quality above the best random mix of single models at the same mean cost.
        over_vote: quality above that of the plain vote at the same budget.
        exceeded: share of the operations that cost more than the budget.
        excess: the most that one cost above it, as a share of its dearest call.
        unanswered: share of the operations without an answer; they count as wrong.
    """

    name: str
    budget: int | None
    quality: float
    quality_interval: Interval
    usd: float
    usd_interval: Interval
    usd_per_right: float | None
    usd_per_right_interval: Interval | None
    output_tokens: float | None
    output_tokens_interval: Interval | None
    flops: float | None
    flops_interval: Interval | None
    device_s: float | None
    device_s_interval: Interval | None
    cancelled: float | None
    cancelled_interval: Interval | None
    calls: float
    gain: float | None
    gain_interval: Interval | None
    over_vote: float | None
    over_vote_interval: Interval | None
    exceeded: float | None
    excess: float | None
    unanswered: float

    @property
    def gains(self) -> bool:
        """Whether it is better than single models at equal cost, beyond chance."""
        return self.gain_interval is not None and self.gain_interval[0] > 0


def rows(bench: Bench) -> list[Row]:
    """The single models, then the policies by budget, in their order."""
    votes = {one.budget: one.asked for one in bench.judged if one.name == VOTE}
    ordered = sorted(bench.judged, key=lambda one: one.budget or 0)
    return [_row(bench, one, votes.get(one.budget)) for one in (*bench.singles, *ordered)]


def _row(bench: Bench, judged: Judged, vote: Asked | None) -> Row:
    asked = judged.asked
    told = judged.budget is not None
    means = _Means(
        {name: asked.mean(name) for name in asked.columns}
        | {f"right {place}": one.asked.mean("right") for place, one in enumerate(bench.singles)}
        | {f"usd {place}": one.asked.mean("usd") for place, one in enumerate(bench.singles)}
        | {"right by vote": (vote or asked).mean("right")}
    )
    quality, quality_interval = _exact(means["right"])
    usd, usd_interval = _exact(means["usd"])
    with np.errstate(divide="ignore", invalid="ignore"):
        per_right, per_right_interval = _known(means["usd"] / means["right"])
        cancelled, cancelled_interval = _known(means["cancelled"] / means["output"])
    output, output_interval = _known(means["output"])
    flops, flops_interval = _known(means["flops"])
    device_s, device_s_interval = _known(means["seconds"])
    gain, gain_interval = _known(_above_mix(means, len(bench.singles))) if told else (None, None)
    over_vote, over_vote_interval = (
        _known(means["right"] - means["right by vote"])
        if told and vote is not None and vote is not asked
        else (None, None)
    )
    return Row(
        name=judged.name,
        budget=judged.budget,
        quality=quality,
        quality_interval=quality_interval,
        usd=usd,
        usd_interval=usd_interval,
        usd_per_right=per_right,
        usd_per_right_interval=per_right_interval,
        output_tokens=output,
        output_tokens_interval=output_interval,
        flops=flops,
        flops_interval=flops_interval,
        device_s=device_s,
        device_s_interval=device_s_interval,
        cancelled=cancelled,
        cancelled_interval=cancelled_interval,
        calls=float(asked.columns["calls"].mean()),
        gain=gain,
        gain_interval=gain_interval,
        over_vote=over_vote,
        over_vote_interval=over_vote_interval,
        exceeded=float((asked.columns["over"] > 0).mean()) if told else None,
        excess=_excess(asked) if told else None,
        unanswered=asked.unanswered,
    )


class _Means:
    """The mean of each column over the questions, and of its resamples, all of the same questions.

    Each is of shape (1 + RESAMPLES,), the mean of all questions first.
    """

    def __init__(self, columns: Mapping[str, Floats]) -> None:
        table = np.stack(list(columns.values()), axis=1)
        means = np.vstack([table.mean(axis=0), resampled_means(table, RESAMPLES, 0)])
        self._means = dict(zip(columns, means.T, strict=True))

    def __getitem__(self, name: str) -> Floats:
        mean: Floats = self._means[name]
        return mean


def _above_mix(means: _Means, count: int) -> Floats:
    """Quality above the best random mix of single models at the same cost."""
    costs = np.stack([means[f"usd {place}"] for place in range(count)], axis=1)
    qualities = np.stack([means[f"right {place}"] for place in range(count)], axis=1)
    mixed = np.empty(len(costs))
    for place, usd in enumerate(means["usd"]):
        best = random_mix(costs[place], qualities[place], float(usd))
        if best is None:  # cheaper than the cheapest model
            best = float(qualities[place][np.argmin(costs[place])])
        mixed[place] = best
    above: Floats = means["right"] - mixed
    return above


def _excess(asked: Asked) -> float:
    over, largest = asked.columns["over"], asked.columns["largest"]
    return float(np.divide(over, largest, out=np.zeros_like(over), where=largest > 0).max())


def _exact(values: Floats) -> tuple[float, Interval]:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(values[0]), (float(low), float(high))


def _known(values: Floats) -> tuple[float, Interval] | tuple[None, None]:
    """The value and its interval; None where it is unknown or infinite."""
    return _exact(values) if math.isfinite(values[0]) else (None, None)


def cheapest(found: Sequence[Row]) -> Row:
    """The one whose right answer costs least."""
    return min(found, key=lambda row: math.inf if row.usd_per_right is None else row.usd_per_right)


def as_json(bench: Bench, found: Sequence[Row]) -> dict[str, Any]:
    """What `farthing bench ttc --json` prints; unknown is None."""
    return {
        "model": bench.model,
        "models": list(bench.models),
        "recording": bench.source.recording,
        "questions": bench.questions,
        "seeds": bench.seeds,
        "device": None if bench.source.recording else bench.source.device,
        "greedy_usd": bench.unit,
        "rows": [{**asdict(row), "gains": row.gains} for row in found],
        "cheapest_right_answer": {"name": cheapest(found).name, "budget": cheapest(found).budget},
        "left_out": bench.left_out,
    }
