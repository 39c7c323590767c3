"""The ways to answer that are chosen among: a model, its effort, how many samples, a stop rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from farthing.core.errors import DataError
from farthing.core.protocols import Policy
from farthing.core.request import Request
from farthing.models.draw import Draw
from farthing.models.recording import Floats, Ints, Recording
from farthing.models.variants import FAMILY, variants
from farthing.policies.single import Single
from farthing.policies.ttc.drawing import Sampling
from farthing.policies.ttc.effort import Effort
from farthing.policies.ttc.stops import StopKind
from farthing.policies.ttc.vote import SelfConsistency

STOPS: tuple[StopKind, ...] = ("none", "exact", "window", "beta", "doubling", "error")

Told = Literal["effort", "thinking", "template"]


@dataclass(frozen=True, slots=True)
class Option:
    """A way to answer: votes of up to so many samples of a model under a stop rule.

    Attributes:
        model: its name in the recording.
        samples: how many vote at most; 1 for no vote.
        stop: the rule.
        effort: of which model, and how much, that is; None where the name is the model's own.
        sampling: whether samples that are asked for at once are one call, which bills the prompt
            once.
    """

    model: str
    samples: int
    stop: StopKind = "exact"
    effort: Effort | None = None
    sampling: Sampling = "calls"

    def policy(self, temperature: float | None = None) -> Policy:
        """What serves it."""
        if self.samples == 1:
            return self.effort or Single(self.model)
        return SelfConsistency(
            self.served, samples=self.samples, stop=self.stop, temperature=temperature,
            effort=self.effort, sampling="n" if self.sampling == "n" else None,
        )  # fmt: skip

    @property
    def served(self) -> str:
        """The model that is called."""
        return self.model if self.effort is None else self.effort.model

    def __str__(self) -> str:
        return self.model if self.samples == 1 else f"{self.model} x{self.samples}, {self.stop}"


@dataclass(frozen=True, slots=True)
class Played:
    """What an option did on n questions.

    Attributes:
        cost: picodollars, shape (n,).
        right: 0 to 1, shape (n,).
        taken: samples, shape (n,).
    """

    cost: Ints
    right: Floats
    taken: Ints


def options(
    drawn: Draw, efforts: Mapping[str, Effort] | None = None, sampling: Sampling = "calls"
) -> list[Option]:
    """All there are: for each model one sample, and votes of 2, 4, 8, ... with each stop rule.

    `efforts` tells of models that are another at some effort.
    """
    found = []
    for model, most in zip(drawn.models, drawn.samples, strict=True):
        effort = (efforts or {}).get(model)
        found.append(Option(model, 1, effort=effort))
        sizes = [2**power for power in range(1, most.bit_length()) if 2**power < most]
        found += [
            Option(model, size, stop, effort, sampling)
            for size in sorted({*sizes, most} - {1})
            for stop in STOPS
        ]
    return found


def play(drawn: Draw, right: Floats, option: Option) -> Played:
    """The option on every question, with its model's samples in the draw's order."""
    policy = SelfConsistency(option.model, samples=option.samples, stop=option.stop)
    did = policy.decide(drawn)
    cost, good = did.cost, right[np.arange(drawn.questions), did.place]
    if option.sampling == "n" and option.samples > 1:
        cost = replace(policy, sampling="n").decide(drawn).cost
    return Played(cost, good, did.calls)


def efforts(
    recording: Recording,
    models: Sequence[str],
    column: str,
    family: str = FAMILY,
    by: Told = "effort",
) -> dict[str, Effort]:
    """The effort that each of these models of a recording stands for, as a model is told of it.

    The column holds numbers from 0 to 1, or low, medium and high; or tokens of thought, which
    "thinking" and "template" tell a model. Limits of tokens are made so wide that no answer of
    the recording would have been cut.

    Raises DataError for columns that are missing or tell something else.
    """
    if family == FAMILY and FAMILY not in recording.table.column_names:
        raise DataError(
            f"{recording.path}: no column {FAMILY!r} that names the model which is asked with "
            "more or less effort; --family names another one"
        )
    found = variants(recording, models, column, family)
    most = max(one.effort for one in found.values())
    least = min(one.effort for one in found.values())
    tokens = most > 1
    if least < 0 or (tokens and by == "effort"):
        raise DataError(
            f"{recording.path}: column {column!r} goes from {least:g} to {most:g}; an effort is 0 "
            "to 1, or tokens of thought with --effort-by thinking or template"
        )
    thinking = round(most) if tokens else 1 if by == "effort" else Effort("").thinking
    made = {
        model: Effort(
            one.family,
            one.effort / most if tokens else one.effort,
            by,
            thinking=thinking,
            answer_tokens=_longest(recording, model),
        )
        for model, one in found.items()
    }
    same: dict[tuple[str, str], str] = {}
    for model, told in made.items():
        extra = told.asked(Request.ask(""), told.dial(Request.ask(""))).extra
        other = same.setdefault((told.model, repr(extra)), model)
        if other != model:
            raise DataError(
                f"{recording.path}: {other!r} and {model!r} would both be {told.model!r} asked "
                f"with {extra}; leave one out with --models, or tell efforts another way"
            )
    return made


def _longest(recording: Recording, model: str) -> int:
    """Tokens that an answer of the model may have: twice its longest, or what is usual."""
    usual = Effort("").answer_tokens
    if "output_tokens" not in recording.table.column_names:
        return usual
    index = recording.model_index(model)
    begin, end = int(recording.start[index, 0]), int(recording.start[index, -1])
    told = recording.floats("output_tokens")[begin:end]
    return max(usual, 2 * int(np.nanmax(told, initial=0)))
