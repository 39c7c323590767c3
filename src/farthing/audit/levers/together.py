"""All levers of a log, and what they come to together."""

from __future__ import annotations

from collections.abc import Sequence

from farthing.audit.levers.answers import Answers
from farthing.audit.levers.lever import Lever
from farthing.audit.levers.prices import Prices
from farthing.audit.levers.prompts import Prompts, Span
from farthing.audit.line import Line
from farthing.audit.pricing import Pricing, rates_of
from farthing.core.money import Cost
from farthing.cost import Price

_ON_PROMPTS = ("duplicates", "shorter_prompts", "prefix_cache")
_ENDS = ("low", "saving", "high")
_ON_ANSWERS = ("shorter_answers", "less_reasoning")


class Levers:
    """Takes in lines, in the order of time, and bounds what could be saved."""

    def __init__(self, pricing: Pricing) -> None:
        self._prompts, self._answers, self._prices = Prompts(), Answers(), Prices(pricing)
        self._in_turn = Span()
        self._spent = 0

    def add(self, line: Line, price: Price, cost: Cost) -> None:
        """Take in a line of known cost."""
        if line.usage is None:
            return
        rates = rates_of(line, price)
        self._spent += cost.pico
        self._in_turn.add(self._prompts.add(line, rates, cost))
        self._answers.add(line, rates)
        self._prices.add(line, price, cost)

    def alone(self) -> list[Lever]:
        """Each as if it were taken alone."""
        return [*self._prompts.levers(), *self._answers.levers(), *self._prices.levers()]

    def together(self, levers: Sequence[Lever]) -> Lever | None:
        """What `levers` come to if they are applied in turn; None without any."""
        if not levers or not self._spent:
            return None
        low, mid, high = (self._left(levers, end) for end in _ENDS)
        return Lever(
            "together",
            "all of these, in turn",
            Cost(self._spent - low),
            Cost(self._spent - mid),
            Cost(self._spent - high),
            "estimated",
            "levers overlap: this is not their sum. Those on prompts are applied line by line, one "
            "after the other; of what they leave, every other takes its share, as if savings "
            "were spread evenly over the lines. A mere ceiling counts in the high end alone",
            max(lever.lines for lever in levers),
        )

    def _left(self, levers: Sequence[Lever], end: str) -> int:
        """Picodollars that are still spent, each lever being at this `end` of its interval."""
        which, span = _ENDS.index(end), self._in_turn
        saved = {lever.name: max(0, _ends(lever)[which].pico) for lever in levers}
        spent, turn = self._spent, (span.low, span.mid, span.high)[which]
        left = spent - min(spent, max(0, turn))
        asked = spent - min(spent, saved.get("duplicates", 0))
        answers = sum(saved.get(name, 0) for name in _ON_ANSWERS)
        left -= min(left, answers * asked // spent)
        for name, pico in saved.items():
            if name not in (*_ON_PROMPTS, *_ON_ANSWERS):
                left -= left * min(pico, spent) // spent
        return left


def _ends(lever: Lever) -> tuple[Cost, Cost, Cost]:
    return lever.low, lever.low if lever.ceiling else lever.saving, lever.high
