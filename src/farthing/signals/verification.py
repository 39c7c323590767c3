"""A model is asked whether its own answer is right."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Sample
from farthing.core.together import together
from farthing.models.recording import Floats
from farthing.signals.asking import about, buy_recorded
from farthing.signals.seen import Seen

INSTRUCTION = """\
Question:
{question}

Proposed answer:
{answer}

Is the proposed answer right? Answer with Yes or No."""

_HINT = ": self-verification on a recording needs a column that was bought by asking again"
_VERDICT = re.compile(r"\b(yes|no|true|false|correct|incorrect|right|wrong)\b", re.IGNORECASE)
_YES = ("yes", "true", "correct", "right")


@dataclass(frozen=True, eq=False)
class Verification:
    """The share of several askings in which the last model calls its own answer right.

    Live it asks the same model again; each asking is booked as a judgement. On a recording it is
    the column that was bought in the same way, at its recorded cost.

    Source: AutoMix (Aggarwal et al., 2023).

    Attributes:
        times: how often the model is asked.
        column: what holds the recorded verification.
        logarithm: whether the column holds logarithms of probabilities.
        instruction: what it is asked, with places {question} and {answer}.
    """

    kind: ClassVar[str] = "verification"
    logprobs: ClassVar[bool] = False

    times: int = 4
    column: str = "conf_raw"
    logarithm: bool = True
    instruction: str = INSTRUCTION

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError(f"times must be at least 1, not {self.times}")

    @property
    def bought(self) -> str | None:
        """The column."""
        return self.column

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Shares, shape (n,), -inf where unknown; DataError where a recording has none at all."""
        last = stages[-1]
        values = last.required(self.column, last.at_chosen(self.column), _HINT)
        told = np.exp(np.minimum(values, 700.0)) if self.logarithm else values
        return np.where(np.isnan(values), -np.inf, told)

    async def buy(
        self,
        seen: Seen,
        samples: Sequence[Sample],
        request: Request,
        operation: Operation,
        node: str,
    ) -> Seen:
        """Ask; unknown where no asking got a verdict."""
        recorded = await buy_recorded(self.column, seen, samples, request, operation, node)
        if recorded is not None:
            return recorded
        asked = about(request, samples[int(seen.chosen[0])].text, self.instruction)
        if self.times > 1:
            asked = replace(asked, temperature=1.0)

        async def ask(number: int) -> bool | None:
            one = asked if asked.seed is None else replace(asked, seed=asked.seed + number)
            said = await operation.call(seen.model, one, node=f"{node}/verify", kind="judge")
            return verdict(said.text)

        said = await together(map(ask, range(self.times)))
        told = [yes for yes in said if yes is not None]
        share = sum(map(bool, told)) / len(told) if told else math.nan
        if self.logarithm and told:
            share = math.log(share) if share else -math.inf
        return seen.with_column(self.column, share)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Verification:
        """The signal with these parameters."""
        return cls(**params)


def verdict(text: str) -> bool | None:
    """Whether a text says yes: its first word of the kind counts, "not" before it turns it."""
    found = _VERDICT.search(text)
    if found is None:
        return None
    yes = found.group(1).lower() in _YES
    negated = re.search(r"\bnot\s+$", text[: found.start()], re.IGNORECASE)
    return yes != bool(negated)
