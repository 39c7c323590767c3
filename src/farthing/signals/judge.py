"""Another model grades the answer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Sample
from farthing.models.recording import Floats
from farthing.signals.asking import about, buy_recorded
from farthing.signals.seen import Seen

INSTRUCTION = """\
Question:
{question}

Answer:
{answer}

Grade how right the answer is, from 0 (wrong) to 10 (right). Answer with the number alone."""

_NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?")


@dataclass(frozen=True, eq=False)
class Judge:
    """The grade that a model gives the last model's commonest answer.

    Live its call is booked as a judgement. On a recording it is the column of such grades, at
    its recorded cost.

    Source: Judging LLM-as-a-Judge (Zheng et al., 2023).

    Attributes:
        model: who grades.
        scale: the best grade.
        column: what holds the recorded grades.
        instruction: what the model is asked, with places {question} and {answer}.
    """

    kind: ClassVar[str] = "judge"
    logprobs: ClassVar[bool] = False

    model: str
    scale: float = 10.0
    column: str = "judge_score"
    instruction: str = INSTRUCTION

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0, not {self.scale}")

    @property
    def bought(self) -> str | None:
        """The column."""
        return self.column

    def values(self, stages: Sequence[Seen]) -> Floats:
        """Grades from 0 to 1, shape (n,), -inf where unknown.

        DataError where a recording has none at all.
        """
        last = stages[-1]
        grades = last.required(self.column, last.at_chosen(self.column))
        return np.where(np.isnan(grades), -np.inf, grades / self.scale)

    async def buy(
        self,
        seen: Seen,
        samples: Sequence[Sample],
        request: Request,
        operation: Operation,
        node: str,
    ) -> Seen:
        """Ask for the grade; unknown where there is none in the judge's text."""
        recorded = await buy_recorded(self.column, seen, samples, request, operation, node)
        if recorded is not None:
            return recorded
        asked = about(request, samples[int(seen.chosen[0])].text, self.instruction)
        said = await operation.call(self.model, asked, node=f"{node}/judge", kind="judge")
        grade = read_grade(said.text, self.scale)
        return seen.with_column(self.column, math.nan if grade is None else grade)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Judge:
        """The signal with these parameters."""
        return cls(**params)


def read_grade(text: str, scale: float) -> float | None:
    """The first number of a text that can be a grade, 0 to `scale`."""
    grades = (float(number) for number in _NUMBER.findall(text))
    return next((grade for grade in grades if grade <= scale), None)
