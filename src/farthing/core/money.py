"""Exact money: integer picodollars inside, decimal strings at the edges."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from typing import Self

from farthing.core.errors import MoneyError
from farthing.core.usage import Usage

PICO_PER_USD = 10**12


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """An amount of money in picodollars (1e-12 USD). Exact under addition and scaling."""

    pico: int = 0

    @classmethod
    def from_usd(cls, usd: str | int | Decimal) -> Self:
        """The exact amount; MoneyError if it is not a number or finer than a picodollar."""
        try:
            value = Decimal(usd)
            with localcontext(prec=60):
                pico = value * PICO_PER_USD
                if not value.is_finite() or pico != pico.to_integral_value():
                    raise MoneyError(f"{usd!r} USD is not a whole number of picodollars")
        except InvalidOperation as error:
            raise MoneyError(f"{usd!r} is not an amount in USD") from error
        return cls(int(pico))

    @classmethod
    def from_float(cls, usd: float) -> Self:
        """The nearest picodollar to a recorded float; MoneyError on NaN and infinities."""
        if not math.isfinite(usd):
            raise MoneyError(f"{usd!r} is not an amount in USD")
        return cls(round(Decimal(repr(float(usd))) * PICO_PER_USD))

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Self:
        """The sum of `costs`."""
        return cls(sum(cost.pico for cost in costs))

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.pico + other.pico)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.pico - other.pico)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.pico * times)

    def __bool__(self) -> bool:
        return self.pico != 0

    @property
    def usd(self) -> Decimal:
        """The amount in USD, exact."""
        return Decimal(self.pico).scaleb(-12)

    def __float__(self) -> float:
        return self.pico / PICO_PER_USD

    def __str__(self) -> str:
        """The amount in USD as a plain decimal without trailing zeros, such as `0.00123`."""
        text = format(self.usd, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True)
class Rates:
    """What a token costs, in picodollars a token; $1 per million tokens is 1,000,000.

    A leaf without a rate of its own is charged by that of the leaf named in `FALLBACKS`:
    `cache_write_1h` as `cache_write`; `cache_read`, `cache_write`, `input_audio` and
    `input_image` as `input`; `reasoning` and `output_audio` as `output`. `request` is charged
    once a call.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    request: int = 0
    cache_write_1h: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    input_image: int | None = None

    @classmethod
    def per_million(
        cls,
        input: str | int | Decimal,
        output: str | int | Decimal,
        cache_read: str | int | Decimal | None = None,
        cache_write: str | int | Decimal | None = None,
        reasoning: str | int | Decimal | None = None,
        **others: str | int | Decimal | None,
    ) -> Self:
        """Rates from prices in USD per million tokens; MoneyError if not exact in picodollars.

        `others` are `cache_write_1h`, `input_audio`, `output_audio` and `input_image`.
        """

        def rate(usd: str | int | Decimal) -> int:
            pico, rest = divmod(Cost.from_usd(usd).pico, 10**6)
            if rest or pico < 0:
                raise MoneyError(
                    f"price {usd} USD per million tokens: want a number that is not negative, "
                    "with at most 6 decimals"
                )
            return pico

        def maybe(usd: str | int | Decimal | None) -> int | None:
            return None if usd is None else rate(usd)

        if unknown := others.keys() - FALLBACKS.keys():
            raise TypeError(f"no token is priced by {', '.join(sorted(unknown))}")
        more = {leaf: rate(usd) for leaf, usd in others.items() if usd is not None}
        return cls(
            rate(input),
            rate(output),
            maybe(cache_read),
            maybe(cache_write),
            maybe(reasoning),
            **more,
        )

    def of(self, leaf: str) -> tuple[int, str]:
        """The rate by which `leaf` is charged, and the leaf that has it."""
        while (rate := getattr(self, leaf)) is None:
            leaf = FALLBACKS[leaf]
        return rate, leaf

    def cost(self, usage: Usage) -> Cost:
        """The exact cost of `usage`."""
        input_rate, output_rate = self.input, self.output
        cache_read = input_rate if self.cache_read is None else self.cache_read
        cache_write = input_rate if self.cache_write is None else self.cache_write
        reasoning = output_rate if self.reasoning is None else self.reasoning
        pico = (
            self.request
            + usage.input * input_rate
            + usage.cache_read * cache_read
            + usage.cache_write * cache_write
            + usage.output * output_rate
            + usage.reasoning * reasoning
        )
        if usage.cache_write_1h:
            rate = cache_write if self.cache_write_1h is None else self.cache_write_1h
            pico += usage.cache_write_1h * rate
        if usage.input_audio:
            rate = input_rate if self.input_audio is None else self.input_audio
            pico += usage.input_audio * rate
        if usage.output_audio:
            rate = output_rate if self.output_audio is None else self.output_audio
            pico += usage.output_audio * rate
        if usage.input_image:
            rate = input_rate if self.input_image is None else self.input_image
            pico += usage.input_image * rate
        return Cost(pico)


FALLBACKS = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "input_image": "input",
    "reasoning": "output",
    "output_audio": "output",
}
