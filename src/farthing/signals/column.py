"""A number that comes with an answer, or that a call of its own brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from farthing.core.protocols import Operation
from farthing.core.request import Message, Request
from farthing.core.response import Sample
from farthing.models.recording import Floats
from farthing.signals.seen import Seen


@dataclass(frozen=True, eq=False)
class Column:
    """The value of a column at the chosen sample, such as `mean_logprob` or `conf_raw`.

    Attributes:
        name: of the column.
        paid: whether each value is bought, from the model called MODEL#NAME.
    """

    kind: ClassVar[str] = "column"
    logprobs: ClassVar[bool] = True

    name: str
    paid: bool = False

    @property
    def bought(self) -> str | None:
        """The column's name if its values are bought."""
        return self.name if self.paid else None

    def values(self, stages: Sequence[Seen]) -> Floats:
        """The values, shape (n,); DataError where no question has one."""
        last = stages[-1]
        values = last.required(self.name, last.at_chosen(self.name))
        return np.where(np.isnan(values), -np.inf, values)

    async def buy(
        self,
        seen: Seen,
        samples: Sequence[Sample],
        request: Request,
        operation: Operation,
        node: str,
    ) -> Seen:
        """Ask MODEL#NAME about the chosen answer; unknown where what it says is no number."""
        chosen = samples[int(seen.chosen[0])]
        asked = (*request.messages, Message("assistant", chosen.answer or chosen.text))
        check = replace(request, messages=asked, question=request.question_id(), raw=None)
        said = await operation.call(
            f"{seen.model}#{self.name}", check, node=f"{node}/signal", kind="judge"
        )
        try:
            value = float(said.text)
        except ValueError:
            value = float("nan")
        return seen.with_column(self.name, value)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Column:
        """The signal with these parameters."""
        return cls(**params)
