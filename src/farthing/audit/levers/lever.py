"""What a lever could save: a number, an interval, and what they assume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from farthing.core.money import Cost

How = Literal["counted", "measured", "modelled", "estimated"]


@dataclass(frozen=True, slots=True)
class Lever:
    """A bound on what one measure could save, if it were taken alone.

    Attributes:
        low, saving, high: picodollars of what was spent; equal ends are no interval.
        how: how the number was got.
        assumption: under which it holds, and what the ends of the interval are.
        lines: that it would touch.
        ceiling: whether the number itself is no more than a bound, with nothing to say that it
            can be reached.
        note: what kept it from being told, or from being told better; empty if nothing did.
    """

    name: str
    title: str
    low: Cost
    saving: Cost
    high: Cost
    how: How
    assumption: str
    lines: int
    note: str = ""
    ceiling: bool = False

    def as_json(self, spent: Cost) -> dict[str, Any]:
        """Safe for JSON; amounts are decimal strings in USD, shares of what was spent."""
        return {
            "name": self.name,
            "title": self.title,
            "saving_usd": str(self.saving),
            "interval_usd": [str(self.low), str(self.high)],
            "share": share(self.saving, spent),
            "interval_share": [share(self.low, spent), share(self.high, spent)],
            "how": self.how,
            "assumption": self.assumption,
            "lines": self.lines,
            "ceiling": self.ceiling,
            "note": self.note,
        }


def share(part: Cost, whole: Cost) -> float | None:
    """`part` of `whole`; None of nothing."""
    return part.pico / whole.pico if whole.pico > 0 else None
