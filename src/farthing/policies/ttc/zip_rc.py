"""Samples that are begun, continued and dropped for what they are expected to be worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from farthing.core.errors import MoneyError, RequestError
from farthing.core.money import Cost
from farthing.policies.ttc.introspective import Introspective, Line, Lines
from farthing.signals.introspection import Introspection


@dataclass(frozen=True, slots=True)
class Option:
    """A sample that could be written to its end.

    Attributes:
        line: the sample; None for a new one.
        likely: the probability that it comes to be right.
        cost: expected picodollars up to its end.
        lengths: the probabilities of 0, 1, ... tokens up to its end.
    """

    line: Line | None
    likely: float
    cost: float
    lengths: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ZipRC(Introspective):
    """Before each step takes the samples to go on with that are worth most if written to the end.

    What a set of samples is worth is what a right answer is worth, times the expected maximum of
    their rewards, less what they are expected to cost, less `delay_usd` for each token that the
    longest of them is expected to take. All come from what the model says after each token: the
    joint distribution of the reward (right or wrong) and of the remaining length. Any sample may
    be gone on with, also one that was left a while ago, and new ones begun, which are expected to
    be as the others were after their first step. The set is built by adding what helps most. It
    ends when nothing is worth its cost.

    The expected maximum takes samples to be right independently of each other, and the right one
    to be recognised at the end; a model that errs in the same way each time, or cannot tell, is
    promised too much. `discern` is how much of it is believed. With `greedy` the first sample is
    drawn at temperature 0, which the source does not do.

    Source: Zero-Overhead Introspection for Adaptive Test-Time Compute (Manvi et al., 2025), which
    writes the joint distribution into unused logits of the same pass.

    Attributes:
        value_usd: dollars that a right answer is worth, as a decimal string; None for what may be
            spent on the operation.
        delay_usd: dollars for each token of the longest sample, as a decimal string.
        discern: 1 for the expected maximum, 0 for the likeliest sample alone, or between.
        tokens: of a step.
        start: how many samples are begun before anything is known.
        greedy: whether the first is drawn at temperature 0.
    """

    kind: ClassVar[str] = "zip-rc"

    value_usd: str | None = None
    delay_usd: str = "0"
    discern: float = 1.0
    tokens: int = 1
    start: int = 2
    greedy: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.tokens, self.start) < 1:
            raise ValueError("tokens and start must be at least 1")
        if not 0 <= self.discern <= 1:
            raise ValueError(f"discern is from 0 to 1, not {self.discern}")
        for name, told in (("value_usd", self.value_usd), ("delay_usd", self.delay_usd)):
            if told is not None and _pico(told, name) < (1 if name == "value_usd" else 0):
                raise ValueError(f"{name} must not be {told}")

    def _score(self, says: Introspection) -> float:
        return says.likely

    async def _write(self, lines: Lines) -> None:
        worth = self._worth(lines)
        going = [Line(self.temperature) for _ in range(min(self.start, self.samples))]
        if self.greedy:
            going[0].heat = 0.0
        while going:
            await lines.go_on(going, self.tokens)
            if lines.walk.over:
                return
            lead = lines.lead()
            done = lines.score(lead) if lead is not None and lead.finished else None
            chosen = self.choose(self._options(lines), worth, done)
            going = [option.line or Line(self.temperature) for option in chosen]

    def _worth(self, lines: Lines) -> int:
        """Picodollars of a right answer; RequestError if nothing says."""
        if self.value_usd is not None:
            return _pico(self.value_usd, "value_usd")
        left = self.spending.left(lines.walk.operation, self.spending.begin(lines.walk.operation))
        if left.cost is None:
            raise RequestError("zip-rc: tell value_usd, or bound what may be spent in dollars")
        return left.cost.pico

    def _options(self, lines: Lines) -> list[Option]:
        price = lines.price + lines.reading
        options = [
            Option(line, line.says.likely, line.says.remaining * price, line.says.lengths)
            for line in lines.begun
            if not line.finished and line.says is not None
        ]
        alike = [line for line in lines.begun if line.heat == self.temperature] or lines.begun
        firsts = [line.first for line in alike if line.first is not None]
        likely = sum(says.likely for says in firsts) / len(firsts)
        columns = zip(*(says.lengths for says in firsts), strict=True)
        lengths = (*([0.0] * self.tokens), *(sum(column) / len(firsts) for column in columns))
        tokens = sum(place * share for place, share in enumerate(lengths))
        new = Option(None, likely, lines.opening + tokens * price, lengths)
        return options + [new] * (self.samples - len(lines.begun))

    def choose(self, options: Sequence[Option], worth: int, done: float | None) -> list[Option]:
        """The options to go on with.

        Args:
            options: what there is.
            worth: picodollars of a right answer.
            done: the probability that the best finished sample is right; None without one, and
                then at least one option is taken.
        """
        chosen: list[Option] = []
        left = list(options)
        reached = self.utility((), worth, done)
        while left:
            tried = {
                option: self.utility((*chosen, option), worth, done)
                for option in dict.fromkeys(left)
            }
            best = max(tried, key=lambda option: (tried[option], option.likely))
            forced = done is None and not chosen
            if not forced and tried[best] <= reached:
                break
            chosen.append(best)
            left.remove(best)
            reached = tried[best]
        return chosen

    def utility(self, chosen: Sequence[Option], worth: int, done: float | None) -> float:
        """Picodollars that going on with these to their ends is expected to be worth."""
        chances = [option.likely for option in chosen] + ([] if done is None else [done])
        missed = 1.0
        for chance in chances:
            missed *= 1 - chance
        reward = self.discern * (1 - missed) + (1 - self.discern) * max(chances, default=0.0)
        delay = _pico(self.delay_usd, "delay_usd")
        waiting = delay * longest([option.lengths for option in chosen]) if delay else 0.0
        return worth * reward - sum(option.cost for option in chosen) - waiting


def longest(lengths: Sequence[Sequence[float]]) -> float:
    """The expected greatest of independent lengths, each told by the chances of 0, 1, ..."""
    most = max(map(len, lengths), default=0)
    total = 0.0
    for place in range(most - 1):
        below = 1.0
        for chances in lengths:
            below *= min(1.0, sum(chances[: place + 1]))
        total += 1 - below
    return total


def _pico(usd: str, name: str) -> int:
    try:
        return Cost.from_usd(usd).pico
    except (MoneyError, TypeError) as error:
        raise ValueError(f"{name} {usd!r} is not an amount") from error
