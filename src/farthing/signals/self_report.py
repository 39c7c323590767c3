"""How sure a model says it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from farthing.models.recording import Floats
from farthing.signals.seen import Seen
from farthing.signals.signal import Free

_STATED = re.compile(
    r"\b(?:confidence|certainty)\b(?:\s*\([^)\n]*\))?[^\d\n]{0,20}?"
    r"(\d+(?:\.\d+)?)\s*(%|percent|/\s*100?\b)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class SelfReport(Free):
    """The confidence that the last model states in its output, such as "Confidence: 85 %".

    The model has to be asked to state it, by the client's prompt or by its own system prompt.
    Models tend to state much more than they should, and ranks count here, not values.

    Source: Teaching Models to Express Their Uncertainty in Words (Lin et al., 2022).
    """

    kind: ClassVar[str] = "self-report"

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Confidences from 0 to 1, shape (n,); -inf where none is stated."""
        stated = [stated_confidence(text) for text in stages[-1].chosen_texts]
        return np.array([-np.inf if value is None else value for value in stated])

    def get_params(self) -> dict[str, Any]:
        """Empty: it has none."""
        return {}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> SelfReport:
        """The signal."""
        return cls(**params)


def stated_confidence(text: str) -> float | None:
    """The last confidence in a text, 0 to 1: of "85 %", "0.85", "8.5/10" or "85/100"."""
    stated = _STATED.findall(text)
    if not stated:
        return None
    number, unit = stated[-1]
    value = float(number)
    if unit in ("%", "percent") or unit.endswith("100") or (not unit and value > 1):
        value /= 100
    elif unit:
        value /= 10
    return value if 0 <= value <= 1 else None
