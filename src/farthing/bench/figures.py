"""The columns of the table of policies, with intervals over questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from farthing.bench.policies import HALF, Asked, Bench, Judged, usd
from farthing.core.money import PICO_PER_USD
from farthing.models.recording import Floats
from farthing.risk.bootstrap import mean_interval, resampled_means
from farthing.risk.curve import Ends, aiq, apgr, cpt, distance
from farthing.risk.frontier import random_mix

RESAMPLES = 1000

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One policy, or one baseline, on one recording. Unknown is None.

    Attributes:
        name: of the policy.
        quality, quality_interval: at half the best model's cost (baselines: as they are).
        cost_usd_mean, cost_usd_interval: there.
        gain, gain_interval: quality above a random mix of single models at equal cost.
        regret: share of answers unlike the strongest model's, there.
        violations: for each calibration (outer fold) the share of questions that cost more than
            the best model's mean cost, there.
        saving, saving_interval: share of the best model's cost that is saved where the policy is
            as good as that model, as far as it could know.
        lost, lost_interval: quality above the best model's there; negative is worse.
        aiq, apgr, cpt_50, cpt_80: of the whole curve, see `risk.curve`.
        pareto_distance: mean quality that the curve lacks to that of all policies together.
        oracle_gap: quality below the oracle's, at half the cost.
        skipped: why there are no figures; empty if there are.
    """

    name: str
    quality: float | None = None
    quality_interval: Interval | None = None
    cost_usd_mean: float | None = None
    cost_usd_interval: Interval | None = None
    gain: float | None = None
    gain_interval: Interval | None = None
    regret: float | None = None
    violations: tuple[float, ...] = ()
    saving: float | None = None
    saving_interval: Interval | None = None
    lost: float | None = None
    lost_interval: Interval | None = None
    aiq: float | None = None
    apgr: float | None = None
    cpt_50: float | None = None
    cpt_80: float | None = None
    pareto_distance: float | None = None
    oracle_gap: float | None = None
    curve: tuple[tuple[float, float], ...] = ()
    baseline: bool = False
    skipped: str = ""

    @property
    def gains(self) -> bool:
        """Whether it is better than the random mix beyond chance."""
        return self.gain_interval is not None and self.gain_interval[0] > 0

    @property
    def saves(self) -> bool:
        """Whether it saves beyond chance, and is not worse than the best model beyond chance."""
        return (
            self.saving_interval is not None
            and self.saving_interval[0] > 0
            and self.lost_interval is not None
            and self.lost_interval[1] >= 0
        )


def rows(bench: Bench) -> list[Row]:
    """Baselines first, then the policies in the order in which they were judged."""
    ends = _ends(bench.singles)
    alone = [(usd(one), float(one.right.mean())) for one in bench.singles]
    curves = {
        judged.name: [*alone[:1], *((usd(a), float(a.right.mean())) for a in judged.at)]
        for judged in bench.judged
        if not judged.skipped
    }
    every = [point for curve in curves.values() for point in curve] + alone
    best = _oracle(bench)
    found = _baselines(bench, best, alone, ends)
    for judged in bench.judged:
        if judged.skipped:
            found.append(Row(judged.name, skipped=judged.skipped))
            continue
        found.append(_policy(bench, judged, curves[judged.name], every, ends, best))
    return found


def _policy(
    bench: Bench,
    judged: Judged,
    curve: Sequence[tuple[float, float]],
    every: Sequence[tuple[float, float]],
    ends: Ends,
    best: Asked,
) -> Row:
    half = judged.at[HALF]
    assert judged.equal is not None
    last = bench.singles[-1]
    means = _resampled(judged.equal.cost, last.cost, judged.equal.right - last.right)
    saving = 1 - means[:, 0] / means[:, 1]
    x, y = zip(*curve, strict=True)
    all_x, all_y = zip(*every, strict=True)
    gains = _gain(bench, half)
    return Row(
        judged.name,
        **_point(bench, half),
        gain=gains[0],
        gain_interval=gains[1],
        saving=1 - float(judged.equal.cost.sum()) / float(last.cost.sum()),
        saving_interval=_interval(saving),
        lost=float((judged.equal.right - last.right).mean()),
        lost_interval=_interval(means[:, 2]),
        aiq=aiq(x, y, ends),
        apgr=apgr(x, y, ends),
        cpt_50=cpt(x, y, ends, 0.5),
        cpt_80=cpt(x, y, ends, 0.8),
        pareto_distance=float(np.mean([distance(c, q, all_x, all_y) for c, q in curve])),
        oracle_gap=float(best.right.mean() - half.right.mean()),
        curve=tuple(curve),
    )


def _point(bench: Bench, asked: Asked) -> dict[str, Any]:
    limit = float(bench.singles[-1].cost.mean())
    over = asked.cost > limit
    return {
        "quality": float(asked.right.mean()),
        "quality_interval": mean_interval(asked.right),
        "cost_usd_mean": usd(asked),
        "cost_usd_interval": mean_interval(asked.cost / PICO_PER_USD),
        "regret": float(asked.regret.mean()),
        "violations": tuple(
            float(over[bench.fold == fold].mean()) for fold in range(int(bench.fold.max()) + 1)
        ),
    }


def _baselines(
    bench: Bench, best: Asked, alone: Sequence[tuple[float, float]], ends: Ends
) -> list[Row]:
    middle = (len(bench.singles) - 1) // 2
    named = {"always-cheap": 0, "always-mid": middle, "always-best": len(bench.singles) - 1}
    found = []
    for name, model in named.items():
        one = bench.singles[model]
        gap = float(best.right.mean() - one.right.mean())
        found.append(Row(name, **_point(bench, one), oracle_gap=gap, baseline=True))
    cost = alone[-1][0] / 2
    x, y = zip(*alone, strict=True)
    found.append(
        Row(
            "random at equal cost",
            quality=random_mix(x, y, cost),
            cost_usd_mean=cost,
            aiq=aiq(x, y, ends),
            apgr=apgr(x, y, ends),
            cpt_50=cpt(x, y, ends, 0.5),
            cpt_80=cpt(x, y, ends, 0.8),
            curve=tuple(alone),
            baseline=True,
        )
    )
    found.append(Row("oracle", **_point(bench, best), oracle_gap=0.0, baseline=True))
    return found


def _oracle(bench: Bench) -> Asked:
    """The cheapest of the best answers to each question."""
    right = np.array([one.right for one in bench.singles])
    cost = np.array([one.cost for one in bench.singles])
    regret = np.array([one.regret for one in bench.singles])
    chosen = np.lexsort((cost, -right), axis=0)[0]
    every = np.arange(right.shape[1])
    return Asked(cost[chosen, every], right[chosen, every], regret[chosen, every])


def _ends(singles: Sequence[Asked]) -> Ends:
    low, high = singles[0], singles[-1]
    return Ends(usd(low), float(low.right.mean()), usd(high), float(high.right.mean()))


def _gain(bench: Bench, asked: Asked) -> tuple[float | None, Interval | None]:
    """Quality above the best random mix of single models at the same mean cost."""
    count = len(bench.singles)
    columns = [asked.cost, asked.right, *(one.cost for one in bench.singles)]
    columns += [one.right for one in bench.singles]
    means = _resampled(*columns)
    whole = np.array([float(np.mean(column)) for column in columns])
    found = []
    for row in (whole, *means):
        mixed = random_mix(row[2 : 2 + count], row[2 + count :], float(row[0]))
        if mixed is None:  # cheaper than the cheapest model in this resample
            mixed = float(row[2 + count])
        found.append(float(row[1]) - mixed)
    return found[0], _interval(np.array(found[1:]))


def _resampled(*columns: Any) -> Floats:
    return resampled_means(np.stack([np.asarray(c, float) for c in columns], axis=1), RESAMPLES, 0)


def _interval(values: Floats) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def as_json(bench: Bench, found: Sequence[Row]) -> dict[str, Any]:
    """What `farthing bench policies --json` prints of one recording's rows; unknown is None."""
    return {
        "recording": bench.recording,
        "questions": bench.draw.questions,
        "left_out": bench.draw.left_out,
        "models": list(bench.models),
        "samples": list(bench.draw.samples),
        "truth": bench.truth,
        "learnt_from": bench.learnt_from,
        "rows": [{**asdict(row), "gains": row.gains, "saves": row.saves} for row in found],
    }
