"""Levers on answers: shorter ones, and less reasoning before them."""

from __future__ import annotations

import math
from collections import defaultdict

from farthing.audit.levers.lever import Lever
from farthing.audit.line import Line
from farthing.core.money import Cost, Rates

_WIDTH = math.log(1.05)
LONG, MEDIAN = 0.9, 0.5


class Answers:
    """Adds up generated tokens, by model and length, in classes 5 % wide."""

    def __init__(self) -> None:
        self._lengths: dict[str, dict[int, list[int]]] = defaultdict(dict)
        self._reasoning = self._reasoners = 0

    def add(self, line: Line, rates: Rates) -> None:
        """Take in a line of known usage."""
        usage = line.usage
        if usage is None or line.status == "cached":
            return
        if usage.reasoning:
            self._reasoning += usage.reasoning * rates.of("reasoning")[0]
            self._reasoners += 1
        if usage.output and line.requests == 1:
            which = int(math.log(usage.output) / _WIDTH)
            lengths = self._lengths[line.model]
            known = lengths.get(which)
            pico = usage.output * rates.output
            if known is None:
                lengths[which] = [1, usage.output, pico]
            else:
                known[0] += 1
                known[1] += usage.output
                known[2] += pico

    def levers(self) -> list[Lever]:
        """Those on which the log has anything to say."""
        made = []
        mid, lines = self._beyond(LONG)
        high, _ = self._beyond(MEDIAN)
        if high:
            made.append(
                Lever(
                    "shorter_answers",
                    "shorter answers",
                    Cost(0),
                    Cost(mid),
                    Cost(high),
                    "estimated",
                    "answers beyond the length that 9 of 10 of the model's keep end there. Low: "
                    "all of it is needed; high: beyond the median. What such answers lose is not "
                    "known",
                    lines,
                    "lengths in classes 5 % wide; reasoning not counted",
                )
            )
        if self._reasoning:
            made.append(
                Lever(
                    "less_reasoning",
                    "less reasoning effort",
                    Cost(0),
                    Cost(self._reasoning // 2),
                    Cost(self._reasoning),
                    "estimated",
                    "half of the reasoning tokens can be spared. Low: none; high: all, as without "
                    "reasoning. What it costs in quality is not known: try it on a recording",
                    self._reasoners,
                )
            )
        return made

    def _beyond(self, quantile: float) -> tuple[int, int]:
        """What the tokens beyond a quantile of each model's lengths cost, and in how many lines."""
        pico = lines = 0
        for lengths in self._lengths.values():
            total, below, limit = sum(n for n, _, _ in lengths.values()), 0, 0.0
            for which in sorted(lengths):
                count, tokens, spent = lengths[which]
                if limit:
                    pico += int(spent * (1 - limit * count / tokens)) if tokens else 0
                    lines += count
                below += count
                if not limit and below >= quantile * total:
                    limit = tokens / count
        return pico, lines
