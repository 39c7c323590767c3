"""The contract of a signal: how sure we are of the last answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Sample
from farthing.models.recording import Floats
from farthing.signals.seen import Seen


class Signal(Protocol):
    """A number for each question, higher where the last model's answer is surer.

    Signals are frozen dataclasses without equality (`eq=False`): the same object is the same
    signal, so that its values can be kept.

    Attributes:
        kind: its name in a plan file.
        logprobs: whether it needs the tokens' log-probabilities.
        bought: the column that a call of its own brings (its cost is the planner's business);
            None if the answers themselves are enough.
    """

    kind: ClassVar[str]

    @property
    def logprobs(self) -> bool: ...

    @property
    def bought(self) -> str | None: ...

    def values(self, stages: Sequence[Seen]) -> Floats:
        """For each question, shape (n,); -inf where it is unknown.

        `stages` are the models asked so far, in turn; the last gave the answers to judge.
        Raises DataError where a recording lacks what it looks at.
        """
        ...

    async def buy(
        self,
        seen: Seen,
        samples: Sequence[Sample],
        request: Request,
        operation: Operation,
        node: str,
    ) -> Seen:
        """`seen` with the column `bought`, by calls through `operation` with kind "judge"."""
        ...

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters, safe for JSON."""
        ...


class Free:
    """What signals have in common that look at the answers alone."""

    logprobs: ClassVar[bool] = False

    @property
    def bought(self) -> str | None:
        """None: it needs no call of its own."""
        return None

    async def buy(
        self,
        seen: Seen,
        samples: Sequence[Sample],
        request: Request,
        operation: Operation,
        node: str,
    ) -> Seen:
        """`seen` as it is."""
        return seen


class Derived:
    """What signals have in common that are worked out from another one, their `signal`."""

    signal: Signal

    @property
    def logprobs(self) -> bool:
        """Whether the other signal needs the tokens' log-probabilities."""
        return self.signal.logprobs

    @property
    def bought(self) -> str | None:
        """What the other signal buys."""
        return self.signal.bought

    async def buy(
        self,
        seen: Seen,
        samples: Sequence[Sample],
        request: Request,
        operation: Operation,
        node: str,
    ) -> Seen:
        """As the other signal buys."""
        return await self.signal.buy(seen, samples, request, operation, node)
