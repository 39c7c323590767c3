"""The plain cascade: a signal as it is, with thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from farthing.models.draw import LOGPROBS, Draw, cost_column
from farthing.models.recording import Floats
from farthing.policies.scored import ScoredCascade, seen_of
from farthing.signals.agreement import Agreement
from farthing.signals.column import Column
from farthing.signals.signal import Signal


@dataclass(frozen=True)
class Threshold(ScoredCascade):
    """Accepts an answer whose signal is high enough, with one threshold a model.

    The signal is the models' agreement with themselves where the recording holds several samples,
    else what it tells of an answer: `conf_raw` or `mean_logprob`.
    """

    kind: ClassVar[str] = "threshold"

    @classmethod
    def fit(cls, draw: Draw, right: Sequence[Floats], *, seed: int = 0) -> list[Self]:
        """The ladder (see `policies.decisions.Learnt`); DataError where there is no signal."""
        signal, samples = plain_signal(draw)
        memo: dict[object, object] = {}

        def score(models: tuple[int, ...]) -> Floats:
            return signal.values([seen_of(draw, m, samples[m], memo) for m in models])

        return cls.ladder(draw, right, score, lambda models: signal, samples=samples)


def plain_signal(draw: Draw) -> tuple[Signal, tuple[int, ...]]:
    """The best signal that a recording has as it is, and how many samples it takes of each model.

    A single answer without any number beside it always agrees with itself.
    """
    if max(draw.samples[:-1], default=1) > 1:
        return Agreement(), cheap_samples(draw)
    names = draw.recording.table.column_names
    for name in ("conf_raw", *LOGPROBS):
        if name in names and draw.recording.table[name].null_count == 0:
            paid = cost_column(draw.recording, name) is not None
            return Column(name, paid), (1,) * len(draw.models)
    return Agreement(), (1,) * len(draw.models)


def cheap_samples(draw: Draw) -> tuple[int, ...]:
    """All samples that were drawn of each model, but one of the strongest."""
    return (*draw.samples[:-1], 1)
