"""A small classifier, and a model that is told what the classifier got wrong before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from farthing.core.request import Request
from farthing.policies.memory import Memory, with_notes
from farthing.policies.online import Streaming

NOTE = "Cases like the next one that are easily mistaken:"


@dataclass(eq=False)
class Casebook(Streaming):
    """As `online`, and the model is shown past items, like the one asked, that were mistaken.

    An item is kept when the last classifier would have answered it otherwise than the model did.
    The model's prompt gets a system message with the nearest of them: text, right answer and
    wrong one.

    Source: AdaptiveLog: An Adaptive Log Analysis Framework with the Collaboration of Large and
    Small Language Model (Ma et al., 2025). There the small model's doubt is the variance of
    answers with dropout, here it is learnt from when it was wrong.

    Attributes:
        shown: how many items are shown at most.
        kept: how many are kept at most, the latest.
    """

    kind: ClassVar[str] = "casebook"

    shown: int = 3
    kept: int = 2000
    _cases: Memory = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._cases = Memory(self.kept)
        super().__post_init__()

    def _asked(self, request: Request) -> Request:
        with self._lock:
            cases = self._cases.nearest(request.prompt, self.shown)
        if not cases:
            return request
        listed = (f"- {text}\n  {told}" for text, told in cases)
        return with_notes(request, "\n".join([NOTE, *listed]))

    def _learn(self, prompt: str, label: int) -> None:
        thought = self._mind.learn(prompt, label)
        if thought != label:
            right, wrong = self.answers[label], self.answers[thought]
            self._cases.add(prompt, f"Right: {right}. Wrong: {wrong}.")

    def _told(self) -> dict[str, Any]:
        return {**super()._told(), "cases": self._cases.told()}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self._cases.load(state["cases"])

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; `state` is a copy of what is learnt and kept by now."""
        return {**super().get_params(), "shown": self.shown, "kept": self.kept}
