"""How far samples agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from farthing.models.recording import Floats
from farthing.signals.seen import Seen
from farthing.signals.signal import Free


@dataclass(frozen=True, eq=False)
class Agreement(Free):
    """The share of samples that give the last model's commonest answer.

    Source: self-consistency (Wang et al., 2022); over several models or kinds of prompts Mixture
    of Thoughts (Yue et al., 2024).

    Attributes:
        pooled: whether the samples of the models before count too.
    """

    kind: ClassVar[str] = "agreement"

    pooled: bool = False

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Shares from 0 to 1, shape (n,); 0 where the last model gave no answer."""
        last = stages[-1]
        answer = np.take_along_axis(last.answers, last.chosen[:, None], 1)
        counted = stages if self.pooled else stages[-1:]
        same = sum(((s.answers == answer) & (answer >= 0)).sum(axis=1) for s in counted)
        shares: Floats = same / sum(s.answers.shape[1] for s in counted)
        return shares

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Agreement:
        """The signal with these parameters."""
        return cls(**params)
