"""A cheap model is shown how a dear one answered, and asked twice whether it is sure."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from farthing.core.money import Cost
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.policies.memory import Memory, with_examples
from farthing.policies.stopping import or_best

logger = logging.getLogger(__name__)
NOTHING = Cost(0)


@dataclass(slots=True)
class Account:
    """What was paid, beside what the teacher alone would have cost.

    Attributes:
        requests: how many were answered.
        taught: how many of them by the teacher.
        spent: on all calls, demonstrations in prompts included.
        teacher: what the teacher's own calls cost.
        paid_since: the request since which less was spent than the teacher alone would have
            cost; None while it is not so.
        unknown: calls of unknown cost; with any, the account says nothing.
    """

    requests: int = 0
    taught: int = 0
    spent: Cost = NOTHING
    teacher: Cost = NOTHING
    paid_since: int | None = None
    unknown: int = 0

    @property
    def instead(self) -> Cost | None:
        """What the teacher would have cost for all, by the mean of its calls; None if unknown."""
        if not self.taught or self.unknown:
            return None
        return Cost(self.teacher.pico * self.requests // self.taught)

    @property
    def saved(self) -> Cost | None:
        """`instead` less `spent`; None if unknown."""
        return None if self.instead is None else self.instead - self.spent


@dataclass(eq=False)
class Demonstrated:
    """Shows the student the teacher's answers to the nearest requests, and asks it several times.

    If enough of its answers are the same, that is the answer; else the teacher's is, which is
    kept as a demonstration. The first `warmup` requests are the teacher's. Samples of the student
    come one after the other, and no more of them than it takes.

    Source: In-Context Distillation with Self-Consistency Cascades: A Simple, Training-Free Way to
    Reduce LLM Agent Costs (2025).

    It changes as it answers, and may be used from several threads and tasks at once. `account` says
    whether it pays.

    Attributes:
        student, teacher: models.
        shown: how many demonstrations at most.
        samples: of the student, at most.
        accept: the least share of its samples that give the same answer, above a half.
        warmup: requests that the teacher answers first.
        kept: how many demonstrations are kept at most, the latest.
        state: what was learnt, as `get_params` tells it; None to begin anew.
    """

    kind: ClassVar[str] = "demonstrated"

    student: str
    teacher: str
    shown: int = 3
    samples: int = 3
    accept: float = 1.0
    warmup: int = 20
    kept: int = 2000
    state: dict[str, Any] | None = None
    account: Account = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError("samples must be at least 2")
        if not 0.5 < self.accept <= 1:
            raise ValueError(f"accept is a share above 0.5, not {self.accept}")
        self.account, self._lock = Account(), threading.Lock()
        self._memory = Memory(self.kept)
        if self.state is not None:
            told = self.state["account"]
            money = {name: Cost.from_usd(told[name]) for name in ("spent", "teacher")}
            self.account = Account(**{**told, **money})
            self._memory.load(self.state["demonstrations"])
            self.state = None

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the strongest last."""
        return (self.student, self.teacher)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The student's answer, with the share of its samples that agree as signal, or the
        teacher's."""
        samples: list[Sample] = []
        paid: list[Cost | None] = []

        async def decide() -> Response:
            with self._lock:
                warm = self.account.taught >= self.warmup
                shown = self._memory.nearest(request.prompt, self.shown)
            if warm:
                sure = await self._ask(with_examples(request, shown), operation, samples, paid)
                if sure is not None:
                    self._settle(paid, None)
                    return sure
            told = await operation.call(
                self.teacher, request, node=f"{self.kind}/teacher", final=True
            )
            with self._lock:
                self._memory.add(request.prompt, told.text)
            self._settle(paid, told)
            return told

        return await or_best(
            decide(), operation, lambda: self._response(samples, None) if samples else None
        )

    async def _ask(
        self,
        request: Request,
        operation: Operation,
        samples: list[Sample],
        paid: list[Cost | None],
    ) -> Response | None:
        """The student's answer if enough of its samples agree."""
        votes: Counter[str] = Counter()
        for number in range(self.samples):
            seed = None if request.seed is None else request.seed + number
            asked = replace(request, seed=seed)
            got = await operation.call(self.student, asked, node=f"{self.kind}/student")
            samples.append(got.samples[0])
            paid.append(got.cost)
            answer = got.samples[0].answer
            if answer is not None:
                votes[answer] += 1
            most = votes.most_common(1)[0][1] if votes else 0
            left = self.samples - number - 1
            if most >= self.accept * self.samples:
                return self._response(samples, most / len(samples))
            if most + left < self.accept * self.samples:
                return None
        return None

    def _response(self, samples: list[Sample], signal: float | None) -> Response:
        votes = Counter(sample.answer for sample in samples if sample.answer is not None)
        best = votes.most_common(1)[0][0] if votes else samples[0].answer
        chosen = next(sample for sample in samples if sample.answer == best)
        columns = {**chosen.columns, "signal": signal}
        return Response(self.student, (replace(chosen, columns=columns),))

    def _settle(self, paid: list[Cost | None], told: Response | None) -> None:
        """Enter a request into the account."""
        if told is not None:
            paid = [*paid, told.cost]
        with self._lock:
            account = self.account
            account.requests += 1
            account.unknown += sum(cost is None for cost in paid)
            account.spent += sum((cost for cost in paid if cost is not None), NOTHING)
            if told is not None:
                account.taught += 1
                account.teacher += told.cost or NOTHING
            saved = account.saved
            if saved is None or saved <= NOTHING:
                account.paid_since = None
            elif account.paid_since is None:
                account.paid_since = account.requests
                logger.info("%s: demonstrations pay since request %d", self.kind, account.requests)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters; `state` is a copy of what is kept and counted by now."""
        with self._lock:
            account = {
                "requests": self.account.requests,
                "taught": self.account.taught,
                "spent": str(self.account.spent),
                "teacher": str(self.account.teacher),
                "paid_since": self.account.paid_since,
                "unknown": self.account.unknown,
            }
            state = {"account": account, "demonstrations": self._memory.told()}
        return {
            "student": self.student,
            "teacher": self.teacher,
            "shown": self.shown,
            "samples": self.samples,
            "accept": self.accept,
            "warmup": self.warmup,
            "kept": self.kept,
            "state": state,
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Demonstrated:
        """The policy with these parameters."""
        return cls(**params)
