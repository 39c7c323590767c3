"""How likely the tokens of an answer were to the model that gave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from farthing.models.recording import Floats
from farthing.signals.seen import QUANTILES, Seen, quantile_column
from farthing.signals.signal import Free

STATISTICS = {
    "mean": "mean_logprob",
    "min": "min_logprob",
    **{f"q{round(q * 100):02d}": quantile_column(q) for q in QUANTILES},
}


@dataclass(frozen=True, eq=False)
class LogProb(Free):
    """A statistic of the log-probabilities of an answer's tokens.

    It is the mean over the samples that give the last model's commonest answer. The sum of the
    log-probabilities is left out: it prefers short answers.

    Source: Language Model Cascades: Token-level uncertainty and beyond (Gupta et al., 2024).

    Attributes:
        statistic: "mean", "min", or a quantile: "q10", "q25", "q50", "q75", "q90".
    """

    kind: ClassVar[str] = "logprob"
    logprobs: ClassVar[bool] = True

    statistic: str = "mean"

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(f"statistic is one of {', '.join(STATISTICS)}, not {self.statistic!r}")

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Natural logarithms, shape (n,); DataError where a recording has none at all."""
        last, name = stages[-1], STATISTICS[self.statistic]
        if name not in last.columns:
            told = np.full(last.answers.shape, np.nan)
        else:
            told = last.columns[name]
        last.required(name, told)
        answer = np.take_along_axis(last.answers, last.chosen[:, None], 1)
        counted = (last.answers == answer) & ~np.isnan(told)
        count = counted.sum(axis=1)
        total = np.where(counted, told, 0.0).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), -np.inf)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> LogProb:
        """The signal with these parameters."""
        return cls(**params)
