"""How likely the commonest answer is to be the one that a model gives most often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import betaincc

from farthing.models.recording import Floats
from farthing.signals.seen import Seen
from farthing.signals.signal import Free


@dataclass(frozen=True, eq=False)
class BetaMajority(Free):
    """The posterior probability that the last model's commonest answer is its true mode.

    Its votes are weighed against those of the runner-up alone: with a Beta prior on the share of
    the first among the two, it is the posterior probability that this share exceeds one half. A
    share of 3 of 3 is then less than one of 9 of 9, and 6 of 9 more if the rest is split.

    Source: Let's Sample Step by Step: Adaptive-Consistency (Aggarwal et al., 2023).

    Attributes:
        prior: votes that each of the two is taken to have before any is counted.
        pooled: whether the samples of the models before count too.
    """

    kind: ClassVar[str] = "beta"

    prior: float = 1.0
    pooled: bool = False

    def __post_init__(self) -> None:
        if not self.prior > 0:
            raise ValueError(f"prior must be above 0, not {self.prior}")

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Probabilities from 0 to 1, shape (n,); 0 where the last model gave no answer."""
        last = stages[-1]
        answer = np.take_along_axis(last.answers, last.chosen[:, None], 1)
        counted = np.concatenate([s.answers for s in (stages if self.pooled else stages[-1:])], 1)
        first = (counted == answer).sum(axis=1)
        others = np.where((counted >= 0) & (counted != answer), counted, -1)
        same = (others[:, :, None] == others[:, None, :]).sum(axis=2)
        second = np.where(others >= 0, same, 0).max(axis=1)
        posterior: Floats = betaincc(first + self.prior, second + self.prior, 0.5)
        return np.where(answer[:, 0] >= 0, posterior, 0.0)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> BetaMajority:
        """The signal with these parameters."""
        return cls(**params)
