"""The columns of the table, with intervals over questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    flops: float | None
    device_s: float | None
    cancelled: float | None
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
    asked, count = judged.asked, len(bench.singles)
    right, usd = asked.mean("right"), asked.mean("usd")
    singles = [one.asked for one in bench.singles]
    columns = [right, usd, *(one.mean("usd") for one in singles)]
    columns += [one.mean("right") for one in singles]
    columns.append((vote or asked).mean("right"))
    table = np.stack(columns, axis=1)
    means = np.vstack([table.mean(axis=0), resampled_means(table, RESAMPLES, 0)])
    told = judged.budget is not None
    gains = np.array([_above_mix(mean, count) for mean in means]) if told else None
    ahead = means[:, 0] - means[:, -1] if told and vote is not None and vote is not asked else None
    with np.errstate(divide="ignore", invalid="ignore"):
        per_right = means[:, 1] / means[:, 0]
    known = bool(np.isfinite(per_right[0]))
    output = _known(asked.columns["output"])
    excess = np.divide(
        asked.columns["over"], asked.columns["largest"],
        out=np.zeros_like(usd, shape=asked.columns["over"].shape),
        where=asked.columns["largest"] > 0,
    )  # fmt: skip
    return Row(
        judged.name,
        judged.budget,
        float(means[0, 0]),
        _interval(means[1:, 0]),
        float(means[0, 1]),
        _interval(means[1:, 1]),
        float(per_right[0]) if known else None,
        _interval(per_right[1:]) if known else None,
        output,
        _known(asked.columns["flops"]),
        _known(asked.columns["seconds"]),
        None if not output else float(asked.columns["cancelled"].mean()) / output,
        float(asked.columns["calls"].mean()),
        None if gains is None else float(gains[0]),
        None if gains is None else _interval(gains[1:]),
        None if ahead is None else float(ahead[0]),
        None if ahead is None else _interval(ahead[1:]),
        float((asked.columns["over"] > 0).mean()) if told else None,
        float(excess.max()) if told else None,
        asked.unanswered,
    )


def _above_mix(mean: Floats, count: int) -> float:
    costs, qualities = mean[2 : 2 + count], mean[2 + count : 2 + 2 * count]
    mixed = random_mix(costs, qualities, float(mean[1]))
    if mixed is None:  # cheaper than the cheapest model
        mixed = float(qualities[np.argmin(costs)])
    return float(mean[0]) - mixed


def _known(values: Floats) -> float | None:
    mean = float(values.mean())
    return None if math.isnan(mean) else mean


def _interval(values: Floats) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def cheapest(found: Sequence[Row]) -> Row:
    """The one whose right answer costs least."""
    return min(found, key=lambda row: math.inf if row.usd_per_right is None else row.usd_per_right)


def as_json(bench: Bench) -> dict[str, Any]:
    """What `farthing bench ttc --json` prints; unknown is None."""
    found = rows(bench)
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
