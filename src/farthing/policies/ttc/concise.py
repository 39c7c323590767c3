"""A model is asked to be brief."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from farthing.core.protocols import Operation
from farthing.core.request import Message, Request
from farthing.core.response import Response

STYLES = {
    "concise": "Be concise.",
    "draft": (
        "Think step by step, but only keep a minimum draft for each thinking step, with 5 words "
        "at most."
    ),
    "answer": "Give the final answer only, without any explanation.",
}
"""What is asked, by its name."""


@dataclass(frozen=True, slots=True)
class Concise:
    """Adds an instruction to be brief to what the model is asked; one call.

    It goes behind the system message where there is one, else it is one: so the cached part of a
    long prompt stays as it is from then on.

    Source: The Benefits of a Concise Chain of Thought (Renze & Guven, 2024) for "concise"; Chain of
    Draft (Xu et al., 2025) for "draft".

    Attributes:
        model: who is asked.
        style: "concise", "draft" or "answer"; else the instruction itself.
    """

    kind: ClassVar[str] = "concise"

    model: str
    style: str = "concise"

    def __post_init__(self) -> None:
        if not self.style.strip():
            raise ValueError("style must say something")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return (self.model,)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The model's answer."""
        return await operation.call(self.model, self.asked(request), node=self.kind, final=True)

    def asked(self, request: Request) -> Request:
        """The request with the instruction."""
        told = Message("system", STYLES.get(self.style, self.style))
        place = int(bool(request.messages) and request.messages[0].role in ("system", "developer"))
        messages = (*request.messages[:place], told, *request.messages[place:])
        return replace(request, messages=messages, question=request.question_id(), raw=None)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Concise:
        """The policy with these parameters."""
        return cls(**params)
