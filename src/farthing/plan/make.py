"""From a recording and a promise to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farthing.core.errors import DataError
from farthing.models.draw import cost_column, draw
from farthing.models.recording import Recording
from farthing.plan._traffic import traffic
from farthing.plan.calibrate import Promise, calibrate
from farthing.plan.evaluate import Baseline
from farthing.plan.file import Certificate, Plan
from farthing.plan.outcomes import Sampling
from farthing.policies.cascade import VOTING, Cascade, Stage


def make_plan(
    recording: Recording,
    models: Sequence[str],
    promise: Promise,
    *,
    samples: int | Sequence[int] = 5,
    signal: str = "agreement",
    sampling: Sampling | None = None,
    temperature: float | None = None,
    answer: str | None = None,
    seed: int = 0,
    name: str = "plan",
) -> Plan:
    """The certified cascade over `models`, the strongest last, with its evidence.

    `sampling`, `temperature` and `answer` default to what the recording's metadata says
    (a ledger's export says it), else to "calls", None and "text".

    Raises: what `calibrate` and `draw` raise.
    """
    said = recording.metadata
    if sampling is None:
        sampling = "n" if said.get("farthing.sampling") == "n" else "calls"
    if temperature is None and "farthing.temperature" in said:
        temperature = float(said["farthing.temperature"])
    drawn = draw(recording, models, samples, seed)
    found = calibrate(drawn, promise, signal=signal, sampling=sampling, seed=seed)
    chosen = dict(zip(found.chosen.models, [*found.chosen.thresholds, "always"], strict=True))
    strongest = len(models) - 1
    stages = tuple(
        Stage(model, count, chosen.get(i, "always" if i == strongest else "skip"))  # type: ignore[arg-type]
        for i, (model, count) in enumerate(zip(drawn.models, drawn.samples, strict=True))
    )
    cascade = Cascade(
        stages,
        signal,
        sampling,
        temperature,
        signal_attempt=signal not in VOTING and cost_column(drawn.recording, signal) is not None,
    )
    result = found.result
    return Plan(
        name,
        cascade,
        tuple(models),
        answer or said.get("farthing.answer", "text"),
        Certificate(
            promise.mode,
            promise.alpha,
            promise.delta,
            promise.budget,
            found.pilot,
            found.certify,
            found.violations,
        ),
        {
            "recording": Path(recording.path).name,
            "digest": recording.digest,
            "questions": drawn.questions,
            "left_out": drawn.left_out,
            "seed": seed,
        },
        {
            "quality": result.quality,
            "cost_usd_mean": result.cost_usd_mean,
            "regret": float(result.regret.mean()),
            "violation_rate": found.violations / found.certify,
        },
        tuple(baseline_row(baseline) for baseline in found.baselines),
        traffic=traffic(result.cost, seed),
    )


def baseline_row(baseline: Baseline) -> dict[str, Any]:
    """A baseline as a plan file keeps it."""
    return {
        "name": baseline.name,
        "quality": baseline.quality,
        "cost_usd_mean": baseline.cost_usd_mean,
    }


def check_fits(plan: Plan, recording: Recording) -> None:
    """DataError that lists what is missing when the plan's models are not in the recording."""
    missing = [model for model in plan.models if model not in recording.models]
    if missing:
        raise DataError(
            f"{recording.path}: no rows of {', '.join(missing)}, which plan {plan.name!r} calls; "
            f"it has {', '.join(recording.models)}"
        )
