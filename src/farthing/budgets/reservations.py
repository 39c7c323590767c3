"""What admission is asked, and what it answers.

What is made for each request is not frozen, since making that takes eight times as long; nobody
changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from farthing.core.money import Cost, Rates

PRIOR_OUTPUT_TOKENS = 1000
"""Mean output tokens of a call that nothing is known about."""


@dataclass(slots=True)
class Ask:
    """What is known of an operation before it starts.

    Attributes:
        scopes: whose it is; see `limits.scopes`.
        route: what will answer, a plan or a model; costs are learned for each route.
        length: class of the input's length; costs are learned for each class.
        typical: its mean cost as far as prices tell; used until costs are learned.
        bound: the most it can cost; None if nothing bounds it.
        tokens: the most tokens it is likely to use, for rate limits.
    """

    scopes: frozenset[str]
    route: str
    typical: Cost
    bound: Cost | None = None
    length: int = 0
    tokens: int = 0

    @classmethod
    def of(
        cls,
        scopes: Iterable[str],
        route: str,
        *,
        input_tokens: int,
        max_tokens: int | None,
        calls: Iterable[tuple[Rates, int]],
        most_input_tokens: int | None = None,
        dearest: Iterable[tuple[Rates, int]] | None = None,
        bounded: bool = True,
    ) -> Ask:
        """From the request's tokens and the prices of the calls it can cause.

        Args:
            input_tokens: of the input, as far as is known; if not counted and there are no
                `most_input_tokens`, an upper bound, such as the bytes of the prompt.
            max_tokens: the client's limit on the output of one sample.
            calls: rates of each model that can be called, and the most samples it can be asked
                for; all retries and fallbacks included if the bound is to hold.
            most_input_tokens: the most that there can be, for the bound; `input_tokens` if None.
            dearest: what `calls` are for the bound; `calls` if None.
            bounded: whether these are all that can be billed; if not, nothing bounds the cost.
        """
        few = PRIOR_OUTPUT_TOKENS if max_tokens is None else min(max_tokens, PRIOR_OUTPUT_TOKENS)
        calls = tuple(calls)
        typical = tokens = 0
        for rates, samples in calls:
            output = max(rates.output, rates.reasoning or 0)
            typical += samples * (rates.request + input_tokens * rates.input + few * output)
            tokens += samples * (input_tokens + few)
        bound = None
        if bounded and max_tokens is not None:
            most = input_tokens if most_input_tokens is None else most_input_tokens
            bound = _bound(calls if dearest is None else tuple(dearest), most, max_tokens)
        return cls(
            frozenset(scopes),
            route,
            Cost(typical),
            bound,
            input_tokens.bit_length(),
            tokens,
        )


def _bound(calls: Sequence[tuple[Rates, int]], input_tokens: int, output_tokens: int) -> Cost:
    """The most that `calls` can cost."""
    bound = 0
    for rates, samples in calls:
        dearest = max(rates.input, rates.cache_read or 0, rates.cache_write or 0)
        output = max(rates.output, rates.reasoning or 0)
        bound += samples * (rates.request + input_tokens * dearest + output_tokens * output)
    return Cost(bound)


Reason = Literal["budget", "rate", "unbounded"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operation may not start. Amounts of a rate limit are requests or tokens.

    Attributes:
        reason: "budget" or "rate" (the limit would be exceeded), or "unbounded" (a budget in
            worst-case mode cannot hold an operation whose cost nothing bounds).
        name, scope: the limit that refused.
        limit, spent: as of now, top-ups included.
        in_flight: what the operations in flight are held to cost.
        needed: what these would be held to cost together with this one.
        resets_at: when the window begins anew, or its oldest amount leaves it; None if never.
        retry_after_s: whole seconds after which to try again; None if waiting will not help.
        soft: the limit only warns.
    """

    reason: Reason
    name: str
    scope: str
    limit: Cost | int
    spent: Cost | int
    in_flight: Cost | int
    needed: Cost | int
    resets_at: datetime | None
    retry_after_s: int | None
    soft: bool = False

    @property
    def message(self) -> str:
        """One sentence for a client."""
        if self.reason == "unbounded":
            return (
                f"budget {self.name} ({self.scope}) holds the most that a request can cost, and "
                "nothing bounds this one; set max_tokens"
            )
        what = "budget" if self.reason == "budget" else "rate limit"
        unit = " USD" if self.reason == "budget" else " a minute"
        when = f"resets at {self.resets_at:%Y-%m-%dT%H:%M:%SZ}" if self.resets_at else "no reset"
        return (
            f"{what} {self.name} ({self.scope}) of {self.limit}{unit}: {self.spent} spent, "
            f"{self.in_flight} held in flight, {self.needed} with this request; {when}"
        )


@dataclass(slots=True)
class Reservation:
    """An operation that was admitted.

    Attributes:
        id: what settles it.
        ask: as it was asked.
        at: when it was admitted.
        holds: by budget, what was reserved for it.
        cap: the least `per_operation` of its budgets, for `Operation(cap=...)`.
        warnings: the soft budgets that it would not have fitted in.
    """

    id: str
    ask: Ask
    at: datetime
    holds: Mapping[str, Cost]
    cap: Cost | None = None
    warnings: tuple[Refusal, ...] = field(default=(), compare=False)

    @property
    def reserved(self) -> Cost:
        """The largest of its holds; zero without a budget."""
        return max(self.holds.values(), default=Cost(0))

    def to_json(self) -> dict[str, Any]:
        """As JSON-safe values, to be stored until it settles. Warnings are left out."""
        ask = self.ask
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "scopes": sorted(ask.scopes),
            "route": ask.route,
            "typical": ask.typical.pico,
            "bound": None if ask.bound is None else ask.bound.pico,
            "length": ask.length,
            "tokens": ask.tokens,
            "holds": {name: hold.pico for name, hold in self.holds.items()},
            "cap": None if self.cap is None else self.cap.pico,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Reservation:
        """The inverse of `to_json`."""

        def maybe(pico: int | None) -> Cost | None:
            return None if pico is None else Cost(pico)

        ask = Ask(
            frozenset(stored["scopes"]),
            stored["route"],
            Cost(stored["typical"]),
            maybe(stored["bound"]),
            stored["length"],
            stored["tokens"],
        )
        holds = {name: Cost(pico) for name, pico in stored["holds"].items()}
        at = datetime.fromisoformat(stored["at"])
        return cls(stored["id"], ask, at, holds, maybe(stored["cap"]))


@dataclass(slots=True)
class Settlement:
    """What became of a reservation.

    Attributes:
        cost: what was charged.
        assumed: the true cost is unknown; what was reserved was charged.
        exceeded: the budgets in which it cost more than was reserved.
    """

    cost: Cost
    assumed: bool
    exceeded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget as of now.

    Attributes:
        limit, spent: top-ups included; spent in the present window.
        assumed: the part of all that was ever spent that was charged for unknown costs.
        held: the sum of the reservations in flight.
        in_flight: what they are held to cost together, by the joint quantile; at most `held`,
            but for operations that have run long.
        open: how many are in flight.
        settled, exceeded: how many settled with a known cost, and how many of these cost more
            than was reserved. To be compared with alpha.
        resets_at: see `Refusal`.
    """

    name: str
    limit: Cost
    spent: Cost
    assumed: Cost
    held: Cost
    in_flight: Cost
    open: int
    settled: int
    exceeded: int
    alpha: float
    resets_at: datetime | None
