"""One model answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response


@dataclass(frozen=True, slots=True)
class Single:
    """Passes every request to `model`."""

    kind: ClassVar[str] = "single"

    model: str

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The model's own answer."""
        return await operation.call(self.model, request, node="single", final=True)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Single:
        """The policy with these parameters."""
        return cls(**params)
