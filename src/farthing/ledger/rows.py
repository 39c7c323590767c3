"""The rows of the ledger.

Nobody changes them, but they are not frozen: making a frozen one takes eight times as long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from farthing.core.money import Cost
from farthing.core.protocols import Kind
from farthing.core.response import Basis, Sample
from farthing.core.usage import Usage
from farthing.cost.shares import SampleShare

Status = Literal["ok", "failed", "cancelled"]
Ending = Literal["ok", "failed", "cancelled", "refused", "lost"]
ChargeBasis = Literal["counted", "assumed", "lost"]


_RANDOM_BYTES, _IDS = 9, 256


def new_id() -> str:
    """An operation's identifier: "op_" and 32 hexadecimal digits, sorted by time.

    The first 14 digits are microseconds since 1970, the others are random.
    """
    return f"op_{time.time_ns() // 1000:014x}{_random_digits()}"


def _random_digits() -> str:
    """Digits that no other call gets; the system is asked for many at a time."""
    try:
        return _digits.pop()
    except IndexError:
        drawn = os.urandom(_IDS * _RANDOM_BYTES).hex()
        step = 2 * _RANDOM_BYTES
        _digits.extend(drawn[at : at + step] for at in range(step, len(drawn), step))
        return drawn[:step]


_digits: list[str] = []
os.register_at_fork(after_in_child=_digits.clear)


@dataclass(slots=True)
class OperationRow:
    """A user's request, as it was admitted.

    Attributes:
        id: see `new_id`.
        started_at: in UTC.
        question: identifier, equal for equal questions.
        prompt: what was asked; None if it is not to be kept.
        requested: the model or plan that the client asked for.
        plan: the plan that answered; None for a single model.
        strongest: the plan's last model, against which savings are reckoned.
        key: name of the client's key.
        tags: the client's own labels.
        answer_reader: name of what read the answers from the texts; None if nothing did.
        stream: whether the client wanted the answer piece by piece.
        gateway: the process that has it; see the table `gateways`.
    """

    id: str
    started_at: datetime
    question: str
    prompt: str | None = None
    requested: str = ""
    plan: str | None = None
    strongest: str | None = None
    key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    answer_reader: str | None = None
    stream: bool = False
    gateway: str | None = None


@dataclass(slots=True)
class AttemptRow:
    """One call of one model.

    Attributes:
        id: the operation's id, a dot and `number`.
        number: 0, 1, ... in the order in which the operation's attempts began.
        node: the part of the policy that called, such as "cascade/0"; of a model with several
            upstreams the label of the one that was called follows, as in "cascade/0@east".
        started_at: in UTC.
        error: what went wrong, when `status` is "failed".
        usage: tokens in disjoint leaves; None if unknown.
        cost: exact, by the price of `price_source` and `price_date`; None if unknown.
        latency_s: seconds from call to last byte.
        ttft_s: seconds from call to first token.
        samples: the answers; empty unless the call returned any.
        shares: for each of `samples`, its tokens and what it would have cost alone.
        upstream_id: the upstream's identifier of the call.
        service_tier: the upstream's name for how it served the call, such as "batch" or
            "priority", where that changes the price; None if it did not say.
        kind: what the call was for: a "sample" of an answer, a "retry" of the attempt before, a
            "fallback" from another model, a "judge" of answers, or an answer from a "cache".
    """

    id: str
    operation_id: str
    number: int
    node: str
    model: str
    started_at: datetime
    status: Status
    error: str | None = None
    usage: Usage | None = None
    usage_basis: Basis = "unknown"
    cost: Cost | None = None
    price_source: str | None = None
    price_date: str | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    temperature: float | None = None
    samples: tuple[Sample, ...] = ()
    shares: tuple[SampleShare, ...] = ()
    upstream_id: str | None = None
    service_tier: str | None = None
    kind: Kind = "sample"


@dataclass(slots=True)
class OutcomeRow:
    """How an operation ended; one without an outcome is in flight, or its process died.

    Attributes:
        finished_at: in UTC.
        status: "refused" by a budget, so that nothing was called; "lost" if its process died and
            another one found that out.
        answered_by: the model whose answer was accepted.
        answer: the final answer, read and normalised; None if none could be read.
        signal: the confidence on which the answer was accepted.
        budget: the cost that the plan's certificate speaks about.
        alpha: the probability with which an operation may cost more than `budget`.
        error: what went wrong, when `status` is "failed", "refused" or "lost".
        stopped: "cap" if the operation's cap ended it, with the answer that it had then;
            "context" if its next prompt was too long, "abstained" if its policy gave no answer.
        certificate: the digest of the plan whose certificate it is under; None if of none.
        calls: how many attempts had begun by then; some may be booked later. None if not told.
    """

    operation_id: str
    finished_at: datetime
    status: Ending
    answered_by: str | None = None
    answer: str | None = None
    signal: float | None = None
    budget: Cost | None = None
    alpha: float | None = None
    error: str | None = None
    stopped: str | None = None
    certificate: str | None = None
    calls: int | None = None


@dataclass(slots=True)
class ReservationRow:
    """What was held for an operation in one budget when it was admitted.

    Attributes:
        counted_as: number of the budget's counting, see `budgets.stored.StoredBudget`.
        gateway: the process that holds it.
    """

    operation_id: str
    budget: str
    counted_as: int
    held: Cost
    at: datetime
    gateway: str


@dataclass(slots=True)
class ChargeRow:
    """What an operation was charged in one budget, in place of what was held.

    Attributes:
        at: when it settled.
        since: beginning of the part of the budget's window that it is summed up in.
        basis: "counted" from known costs; "assumed" to be what was held where a part is unknown;
            "lost" if its process died before it settled.
    """

    operation_id: str
    budget: str
    counted_as: int
    cost: Cost
    held: Cost
    at: datetime
    since: datetime
    gateway: str
    basis: ChargeBasis = "counted"
