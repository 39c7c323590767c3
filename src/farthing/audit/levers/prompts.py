"""Levers on prompts: not to ask again, to send fewer words, to send them from a cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farthing.audit.levers.duplicates import Requests
from farthing.audit.levers.lever import Lever
from farthing.audit.levers.prefixes import LONG_TTL_S, OFTEN, TTL_S, Beginnings, Repeated
from farthing.audit.line import Line
from farthing.core.money import Cost, Rates
from farthing.core.usage import Usage

MINIMUM = 1024
"""Tokens below which vendors do not cache a beginning."""

_ENDING = 4096


@dataclass(slots=True)
class Span:
    """Picodollars: at least, likely, at most."""

    low: int = 0
    mid: int = 0
    high: int = 0

    def add(self, other: Span) -> None:
        """Add `other` to it."""
        self.low += other.low
        self.mid += other.mid
        self.high += other.high


class Prompts:
    """Sees the prompt of each line, in the order of time."""

    def __init__(self) -> None:
        self._requests: Requests | None = None
        self._begin: Beginnings | None = None
        self._end: Beginnings | None = None
        self._again, self._words, self._cached = Span(), Span(), Span()
        self._lines = self._prompts = self._untimed = self._rateless = 0
        self._touched = [0, 0, 0]

    def add(self, line: Line, rates: Rates, cost: Cost) -> Span:
        """Take in a line of known usage; what the three levers together would save of it.

        In turn: what was asked before is not asked; of the rest boilerplate is cut; and what is
        left of repeated beginnings comes from the vendor's cache.
        """
        usage, identity = line.usage, line.question or line.prompt
        if not identity or usage is None or line.requests != 1 or line.status != "ok":
            return Span()
        if self._requests is None:
            self._requests = Requests()
        self._lines += 1
        model = line.model.encode("utf-8", "replace")
        again = self._requests.see(line, model, identity.encode("utf-8", "replace"))
        whole = cost.pico if again else 0
        asked = Span(whole * (again == "surely"), whole * (again != "differs"), whole)
        self._touched[0] += asked.high > 0
        self._again.add(asked)
        if not line.prompt:
            return asked
        text = line.prompt.encode("utf-8", "replace")
        words, cached, kept = self._sent(line, usage, rates, model, text)
        return Span(
            asked.low or cached.low,
            asked.mid or words.mid + int(cached.mid * (1 + kept) / 2),
            asked.high or words.high + int(cached.high * kept),
        )

    def _sent(
        self, line: Line, usage: Usage, rates: Rates, model: bytes, text: bytes
    ) -> tuple[Span, Span, float]:
        """What fewer words save, what a cache saves, and its share without the boilerplate."""
        if self._begin is None or self._end is None:
            self._begin, self._end = Beginnings(), Beginnings()
        self._prompts += 1
        at = None if line.at is None else line.at.timestamp()
        self._untimed += at is None
        begin = self._begin.see(model, text, at)
        end = self._end.see(model, text[-_ENDING:][::-1], None)
        per_byte = usage.input_tokens / len(text)
        words = _words(usage, rates, begin, end, len(text), per_byte)
        cached = self._from_cache(usage, rates, begin, per_byte)
        self._touched[1] += words.high > 0
        self._touched[2] += cached.high > 0
        self._words.add(words)
        self._cached.add(cached)
        held = begin.held[1]
        return words, cached, 1 - min(begin.common, held) / held if held else 1.0

    def _from_cache(self, usage: Usage, rates: Rates, seen: Repeated, per_byte: float) -> Span:
        gain = rates.input - rates.of("cache_read")[0]
        if gain <= 0:
            self._rateless += 1
            return Span()
        saved = []
        for which, leaf in enumerate(("cache_write", "cache_write_1h")):
            held = int(seen.held[which] * per_byte)
            if held < MINIMUM:
                saved.append(0)
                continue
            more = min(usage.input, max(0, held - usage.cache_read))
            extra = max(0, rates.of(leaf)[0] - rates.input)
            written = min(more, int(seen.written[which] * per_byte))
            saved.append(more * gain - written * extra)
        short, long = saved
        return Span(min(short, long), short, max(short, long))

    def levers(self) -> list[Lever]:
        """Each as if it were taken alone; none on what the log does not tell."""
        made = []
        if self._requests is not None:
            seen = f"{self._lines:,} lines tell what was asked"
            made.append(self._duplicates(seen + _forgotten(self._requests.forgotten)))
        if self._begin is not None:
            seen = f"{self._prompts:,} lines tell their prompts"
            made += self._both(seen + _forgotten(self._begin.forgotten))
        return made

    def _duplicates(self, note: str) -> Lever:
        return Lever(
            "duplicates",
            "not to ask again what was asked word for word",
            *_costs(self._again),
            "counted",
            "the first answer serves every later request of the same text and model. Low: only "
            "where it was asked at temperature 0 or answered in the same words; high: also where "
            "the answers are known to differ",
            self._touched[0],
            note,
        )

    def _both(self, note: str) -> Iterator[Lever]:
        yield Lever(
            "shorter_prompts",
            "shorter prompts",
            *_costs(self._words),
            "estimated",
            f"what begins or ends prompts of a model and was seen {OFTEN} times before is "
            "boilerplate, and can be cut by half. Low: not at all; high: wholly, as by training. "
            "Tokens in proportion to bytes",
            self._touched[1],
            note,
        )
        if self._untimed:
            note += f"; {self._untimed:,} lines without a time"
        if self._rateless:
            note += f"; {self._rateless:,} lines of models without a price for cached tokens"
        yield Lever(
            "prefix_cache",
            "prefix caching at the vendor",
            *_costs(self._cached),
            "modelled",
            f"a beginning of {MINIMUM:,} tokens or more that the same model was sent within "
            f"{TTL_S / 60:.0f} minutes is read from the cache at the vendor's price, written at "
            "its price by whoever came first, and all requests reach the same cache; what was "
            "cached already is not counted. The other end of the interval: kept for "
            f"{LONG_TTL_S / 60:.0f} minutes, at the price of that. Tokens in proportion to bytes",
            self._touched[2],
            note,
        )


def _forgotten(count: int) -> str:
    return f"; {count:,} forgotten for want of memory: repetitions are missed" if count else ""


def _words(
    usage: Usage, rates: Rates, begin: Repeated, end: Repeated, length: int, per_byte: float
) -> Span:
    """What boilerplate costs, at the mean price of the tokens it is among."""
    tokens = usage.input + usage.cache_read
    common = min(length, begin.common + end.common)
    if not common or not tokens:
        return Span()
    billed = usage.input * rates.input + usage.cache_read * rates.of("cache_read")[0]
    worth = billed * min(tokens, int(common * per_byte)) // tokens
    return Span(0, worth // 2, worth)


def _costs(span: Span) -> tuple[Cost, Cost, Cost]:
    low, mid, high = sorted((span.low, span.mid, span.high))
    return Cost(low), Cost(mid), Cost(high)
