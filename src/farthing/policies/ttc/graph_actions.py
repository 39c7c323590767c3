"""Which operation on a graph of thoughts comes next: learnt from what each led to."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, Self

import numpy as np

Action = Literal["solve", "refine", "split", "merge", "stop"]


def state_of(
    task: str, level: int, rounds: int, sure: float, parts: Sequence[str] | None, merged: bool
) -> str:
    """What is seen of a thought when its next operation is chosen: few values, so that they recur.

    The length of its task (to a power of two), its level, how often it was solved, whether its
    answers agree by a half, and whether it was taken apart, and merged.
    """
    apart = "whole" if parts is None else "merged" if merged else "apart" if parts else "simple"
    told = "unsolved" if not rounds else "unsure" if sure < 0.5 else "likely"
    return f"{2 ** round(math.log2(max(len(task), 1)))}/{level}/{min(rounds, 2)}/{told}/{apart}"


@dataclass(slots=True)
class Actions:
    """The mean return of each operation in each state, and of how many trials it is.

    Attributes:
        returns: by state, then by operation.
    """

    returns: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)

    def best(self, state: str, able: Sequence[Action]) -> Action:
        """The operation of the greatest return among those tried; the first if none was."""
        known = self.returns.get(state, {})
        tried = [action for action in able if action in known]
        return max(tried, key=lambda action: known[action][0], default=able[0])

    def learn(self, state: str, action: Action, value: float, *, least: float = 0.003) -> None:
        """Take a trial's return; later ones count at least `least`, as what follows improves."""
        known = self.returns.setdefault(state, {})
        mean, count = known.get(action, (0.0, 0))
        known[action] = mean + (value - mean) * max(least, 1 / (count + 1)), count + 1

    def drawn(
        self, state: str, able: Sequence[Action], rng: np.random.Generator, explore: float
    ) -> Action:
        """The best operation, or with probability `explore` any of them."""
        if rng.random() < explore:
            return able[int(rng.integers(len(able)))]
        return self.best(state, able)

    def save(self, path: str | Path) -> None:
        """Write them as JSON."""
        told = {
            state: {
                action: [round(mean, 6), count] for action, (mean, count) in sorted(known.items())
            }
            for state, known in sorted(self.returns.items())
        }
        Path(path).write_text(json.dumps({"returns": told}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Those of a file that `save` wrote; ValueError if it cannot be read as one."""
        try:
            told = json.loads(Path(path).read_text(encoding="utf-8"))["returns"]
            return cls(
                {
                    state: {
                        action: (float(mean), int(count)) for action, (mean, count) in known.items()
                    }
                    for state, known in told.items()
                }
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"actions {str(path)!r} cannot be read: {error}") from error


@cache
def loaded(path: str) -> Actions:
    """Those of a file, read once."""
    return Actions.load(path)
