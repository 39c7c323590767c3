"""Samples for as long as the model thinks that another could be better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from farthing.policies.ttc.introspective import Introspective, Line, Lines
from farthing.signals.introspection import Introspection


@dataclass(frozen=True, kw_only=True)
class SelfEvaluated(Introspective):
    """Prunes, stops and picks by the probability that another sample would not be better.

    Samples are drawn one after another, or `width` side by side. After `look` tokens those that
    are likely to be bettered are dropped, but for the best of the first; once the best finished
    one is likely enough not to be, no further ones are drawn. It judges the sample and the model
    at once: where all samples would be wrong, another is not better, and none is drawn.

    With `anneal`, sample k has the temperature (1 - 2 ** (1 - k)) of `temperature`: the first is
    greedy, later ones look further around.

    Source: Adaptive Inference-Time Compute: LLMs Can Predict if They Can Do Better, Even
    Mid-Generation (Manvi et al., 2024). There a model is taught to say it in a token of its own;
    here it is one column beside the model's output.

    Attributes:
        accept: the probability for a finished sample that ends it.
        prune: unfinished samples with less are dropped; 0 drops none.
        look: after how many tokens that is decided.
        width: how many samples are drawn side by side.
        anneal: whether the temperature grows from 0 as samples accumulate.
    """

    kind: ClassVar[str] = "self-evaluation"

    accept: float = 0.8
    prune: float = 0.0
    look: int = 2
    width: int = 1
    anneal: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.prune <= 1:
            raise ValueError(f"prune is from 0 to 1, not {self.prune}")
        if min(self.look, self.width) < 1:
            raise ValueError("look and width must be at least 1")

    def heat(self, before: int) -> float:
        """The temperature after so many samples."""
        return self.temperature * (1 - 0.5**before if self.anneal else 1.0)

    def _score(self, says: Introspection) -> float:
        return says.enough

    async def _write(self, lines: Lines) -> None:
        while (before := len(lines.begun)) < self.samples:
            heat = self.heat(before)
            count = min(self.width if heat else 1, self.samples - before)
            drawn = [Line(heat) for _ in range(count)]
            await lines.go_on(drawn, self.look if self.prune else None)
            if lines.walk.over:
                return
            least = self.prune if before else min(self.prune, max(map(lines.score, drawn)))
            kept = [line for line in drawn if not line.finished and lines.score(line) >= least]
            await lines.go_on(kept, None)
            lead = lines.lead()
            done = lead is not None and lead.finished and lines.score(lead) >= self.accept
            if done or lines.walk.over:
                return
