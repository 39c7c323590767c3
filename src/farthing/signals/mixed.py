"""The answer that several models, or several kinds of prompts, give together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from farthing.models.recording import Floats, Ints
from farthing.signals.seen import Seen
from farthing.signals.signal import Free

FORMS = ("vote", "verify")


@dataclass(frozen=True, eq=False)
class Mixed(Free):
    """How far all models asked so far agree, as kinds of prompts do in a mixture of thoughts.

    Source: Mixture of Thoughts (Yue et al., 2024).

    Attributes:
        form: "vote", the share of all samples that give the answer which leads their vote;
            "verify", the least share of any one model's samples that give its commonest answer
            where all models have the same one, else 0.
    """

    kind: ClassVar[str] = "mixed"

    form: str = "vote"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form is {' or '.join(map(repr, FORMS))}, not {self.form!r}")

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Shares from 0 to 1, shape (n,); 0 where there is no answer."""
        if self.form == "vote":
            shares: Floats = elect(stages)[2] / sum(s.answers.shape[1] for s in stages)
            return shares
        rows = np.arange(len(stages[0].answers))
        answers = np.stack([stage.answers[rows, stage.chosen] for stage in stages])
        own = [s.votes[rows, s.chosen] / s.answers.shape[1] for s in stages]
        least: Floats = np.min(own, axis=0)
        return np.where((answers == answers[0]).all(axis=0), least, 0.0)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Mixed:
        """The signal with these parameters."""
        return cls(**params)


def elect(
    stages: Sequence[Seen], weights: Sequence[Floats] | None = None
) -> tuple[Ints, Ints, Floats]:
    """Which stage's sample first gives the answer that leads the vote: step, place, its votes.

    A sample of a stage has the weight `weights[stage]`, shape (n,); 1 unless they are given. All
    are of shape (n,); without any answer it is the first sample, with 0 votes.
    """
    widths = [stage.answers.shape[1] for stage in stages]
    answers = np.concatenate([stage.answers for stage in stages], axis=1)
    weight = np.ones(answers.shape)
    if weights is not None:
        each = zip(weights, widths, strict=True)
        weight = np.concatenate([np.repeat(w[:, None], width, 1) for w, width in each], axis=1)
    votes = np.zeros(answers.shape)
    for place in range(answers.shape[1]):
        same = answers == answers[:, place : place + 1]
        votes[:, place] = np.where(same, weight, 0.0).sum(axis=1)
    votes[answers < 0] = 0.0
    best = votes.argmax(axis=1)
    step = np.searchsorted(np.cumsum(widths), best, side="right")
    begin = np.cumsum([0, *widths[:-1]])
    return step, best - begin[step], votes[np.arange(len(best)), best]
