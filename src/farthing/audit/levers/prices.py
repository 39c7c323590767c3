"""Levers on prices: batches, another provider of the same model, another model."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from farthing.audit.levers.lever import Lever
from farthing.audit.line import Line
from farthing.audit.pricing import Pricing, cost_of
from farthing.core.money import Cost
from farthing.core.usage import Usage
from farthing.cost import Price

SHORT_INPUT, SHORT_OUTPUT = 1000, 200
_CLASSES = 4096


class Prices:
    """Adds up what lines cost, and would cost by other prices."""

    def __init__(self, pricing: Pricing) -> None:
        self._pricing = pricing
        self._batch_all = self._batch_calm = 0
        self._batch_lines = self._batch_unpriced = 0
        self._spent: dict[tuple[str, bool], int] = defaultdict(int)
        self._usage: dict[tuple[str, bool], Usage] = {}
        self._count: dict[tuple[str, bool], int] = defaultdict(int)
        self._lines: dict[tuple[str, bool], Line] = {}

    def add(self, line: Line, price: Price, cost: Cost) -> None:
        """Take in a line of known usage and cost."""
        usage = line.usage
        if usage is None or line.status == "cached":
            return
        if line.service_tier is None and line.requests:
            self._batch(line, cost)
        short = (
            line.requests == 1
            and usage.input_tokens <= SHORT_INPUT
            and usage.output_tokens <= SHORT_OUTPUT
        )
        key = line.model, short
        known = self._usage.get(key)
        if known is None:
            if len(self._usage) >= _CLASSES:
                return
            self._usage[key] = usage
        else:
            self._usage[key] = known + usage
        self._lines[key] = line
        self._spent[key] += cost.pico
        self._count[key] += line.requests

    def _batch(self, line: Line, cost: Cost) -> None:
        price = self._pricing.batch(line)
        other = None if price is None else cost_of(line, price)
        if other is None:
            self._batch_unpriced += 1
            return
        gain = max(0, cost.pico - other.pico)
        self._batch_all += gain
        self._batch_lines += 1
        if line.stream is False:
            self._batch_calm += gain

    def levers(self) -> list[Lever]:
        """Those on which the log and the price book have anything to say."""
        return [lever for lever in (self._batches(), self._providers(), self._ceiling()) if lever]

    def _batches(self) -> Lever | None:
        if not self._batch_lines:
            return None
        unpriced = self._batch_unpriced
        return Lever(
            "batch",
            "batches instead of answers at once",
            Cost(0),
            Cost(self._batch_calm),
            Cost(self._batch_all),
            "modelled",
            "requests that were not streamed can wait for a batch, at the vendor's price for one, "
            "today's where none is known of then. Low: none can; high: all can",
            self._batch_lines,
            f"{unpriced:,} lines of models without a price for batches" if unpriced else "",
        )

    def _providers(self) -> Lever | None:
        best = second = lines = 0
        names = []
        for key, usage in self._usage.items():
            line = replace(self._lines[key], service_tier=None)
            gains = []
            for name in self._pricing.book.elsewhere(self._pricing.card(line)):
                price = self._pricing.named(name, line)
                if price is not None and price.rates.input + price.rates.output > 0:
                    cost = price.rates.cost(usage).pico + price.rates.request * self._count[key]
                    gains.append((self._spent[key] - cost, name))
            gains = sorted((gain for gain in gains if gain[0] > 0), reverse=True)
            if gains:
                best += gains[0][0]
                second += gains[len(gains) // 2][0]
                lines += self._count[key]
                names.append(f"{key[0]} at {gains[0][1].partition('/')[0]}")
        if not best:
            return None
        return Lever(
            "providers",
            "the same model from another provider",
            Cost(0),
            Cost(second),
            Cost(best),
            "modelled",
            "a model of the same name is the same model, and caches as much. The number is by the "
            "median of the cheaper providers' prices. Low: none will do; high: the cheapest. Their "
            "prices for long prompts are not applied",
            lines,
            ", ".join(sorted(set(names))[:5]),
        )

    def _ceiling(self) -> Lever | None:
        """What routing could save at most, with nothing known of how good the answers are."""
        models = {model for model, _ in self._usage}
        short_gain = gain = lines = 0
        cheapest = ""
        for (model, short), usage in self._usage.items():
            best, line = 0, self._lines[model, short]
            for other in models - {model}:
                price = self._pricing.named(other, replace(line, service_tier=None))
                if price is None or price.per_second:
                    continue
                cost = (
                    price.rates.cost(usage).pico + price.rates.request * self._count[model, short]
                )
                if self._spent[model, short] - cost > best:
                    best, cheapest = self._spent[model, short] - cost, other
            gain += best
            if short:
                short_gain += best
            lines += self._count[model, short] if best else 0
        if not gain:
            return None
        return Lever(
            "routing",
            "routing to cheaper models of the same log",
            Cost(0),
            Cost(short_gain),
            Cost(gain),
            "estimated",
            f"a ceiling, since nothing says how good the answers would be: requests of up to "
            f"{SHORT_INPUT:,} tokens with answers of up to {SHORT_OUTPUT} go to the cheapest model "
            "of the log, which needs as many tokens. Low: none; high: all requests. Give a "
            "recording with --recording to have it measured",
            lines,
            f"cheapest: {cheapest}",
            ceiling=True,
        )
