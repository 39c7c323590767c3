"""What units of spending bring on a recording: samples, or rounds one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from farthing.core.errors import DataError
from farthing.models.draw import Draw, draw
from farthing.models.recording import Recording
from farthing.plan.compute_saturation import LAWS, Saturation, pass_at, saturation
from farthing.policies.decisions import rightness

FEWEST = 4
"""Units that a model must have: three to fit a law to, and one to hold it against."""


@dataclass(frozen=True, slots=True)
class Units:
    """A model's success by units of spending.

    Attributes:
        model: its name.
        questions: how many.
        usd: mean dollars of the first 1, 2, ... units together.
        fits: each law, fitted.
    """

    model: str
    questions: int
    usd: tuple[float, ...]
    fits: tuple[Saturation, ...]

    def usd_of(self, units: int | None) -> float | None:
        """Mean dollars of so many units; those beyond what is recorded cost as the last did."""
        if units is None:
            return None
        if units == 0:
            return 0.0
        told = self.usd[min(units, len(self.usd)) - 1]
        last = self.usd[-1] - (self.usd[-2] if len(self.usd) > 1 else 0.0)
        return told + max(0, units - len(self.usd)) * last


def units(
    recording: Recording,
    models: Sequence[str],
    *,
    rounds: bool = False,
    most: int = 64,
    fit_to: int | None = None,
    least_gain: float = 0.01,
    seed: int = 0,
) -> tuple[list[Units], dict[str, str]]:
    """Of each model, and why others are left out.

    Success is the chance that one of N samples is right; or with `rounds`, where sample k of a
    question is its answer after k rounds of rethinking, the share that is right after N rounds.
    Laws are fitted to the first `fit_to` units, by default half of them and three at least.

    Raises DataError for unknown models, costs or rightness that are not known.
    """
    found, left_out = [], {}
    for model in models:
        drawn = draw(recording, [model], most, seed)
        if rounds:
            drawn = _first_ones(drawn)
        (right,), usd = rightness(drawn), drawn.column("cost_usd", 0)
        for told, column in ((right, "correct"), (usd, "cost_usd")):
            if np.isnan(told).any():
                raise DataError(f"{recording.path}: {column} of answers of {model!r} is not known")
        if right.shape[1] < FEWEST:
            left_out[model] = f"{right.shape[1]} samples of each question, {FEWEST} are needed"
            continue
        fitted = tuple(
            saturation(
                right if rounds else pass_at(right),
                law=law,
                fit_to=fit_to or max(3, right.shape[1] // 2),
                least_gain=least_gain,
                seed=seed,
            )
            for law in LAWS
        )
        costs = tuple(np.cumsum(usd.mean(axis=0)).tolist())
        found.append(Units(model, drawn.questions, costs, fitted))
    return found, left_out


def _first_ones(drawn: Draw) -> Draw:
    """The draw of one model with the first samples of each question, in their order."""
    recording = drawn.recording
    if "sample" not in recording.table.column_names:
        raise DataError(f"{recording.path}: rounds want a column 'sample' that numbers them")
    first = recording.start[recording.model_index(drawn.models[0]), :-1]
    return replace(drawn, rows=(first[:, None] + np.arange(drawn.samples[0]),))
