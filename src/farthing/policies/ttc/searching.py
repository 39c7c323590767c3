"""What the searches over steps share: partial answers, their scores, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from farthing.core.errors import CapError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample, TokenLogprob
from farthing.core.together import together
from farthing.policies.stopping import or_best
from farthing.policies.ttc.params import Parametrised
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.steps import UNLIMITED, Piece, Steps, extend
from farthing.signals.steps import ModelSteps, StepReward

Aggregate = Literal["last", "least", "product", "mean"]
Choose = Literal["best", "vote"]


@dataclass(eq=False, slots=True)
class Path:
    """An answer as far as it has come.

    Attributes:
        text: all of it.
        depth: how many steps it has.
        finished: whether it is whole.
        answer: its final answer as far as one can be read.
        score: what the reward says of it, from 0 to 1.
        logprob: of all its tokens; NaN if unknown.
        tokens: of all its steps, where they are known.
        parent: what it went on from.
    """

    text: str = ""
    depth: int = 0
    finished: bool = False
    answer: str | None = None
    score: float = 0.0
    logprob: float = 0.0
    tokens: tuple[TokenLogprob, ...] = ()
    parent: Path | None = None

    def child(self, piece: Piece) -> Path:
        """The path that goes on by `piece`; its score is not known yet."""
        return Path(
            self.text + piece.text,
            self.depth + 1,
            piece.finished,
            piece.answer,
            logprob=self.logprob + (math.nan if piece.logprob is None else piece.logprob),
            tokens=self.tokens + (piece.tokens or ()),
            parent=self,
        )


class Walk:
    """One operation's search: makes steps, scores them, and knows when to stop.

    Attributes:
        request: what every step is asked with.
        seen: all paths in the order in which they were found.
        cut: one of the texts that came of steps which could not all be paid for, and whether it
            is finished.
        rng: seeded by the request.
    """

    def __init__(
        self,
        model: str,
        request: Request,
        operation: Operation,
        node: str,
        *,
        steps: Steps,
        spending: Spending = UNLIMITED,
        reward: StepReward | None = None,
        aggregate: Aggregate = "last",
        reserve: float = 0.0,
    ) -> None:
        self.model, self.request, self.operation, self.node = model, request, operation, node
        self.steps, self.spending = steps, spending
        self.reward, self.aggregate, self.reserve = reward, aggregate, reserve
        self.seen: list[Path] = []
        self.cut: tuple[str, bool] | None = None
        seed = request.seed
        self.rng = np.random.default_rng(None if seed is None else [seed < 0, abs(seed)])
        self._begun, self._turn = spending.begin(operation), 0
        self._whole, self._last = spending.left(operation, self._begun), 0.0
        self._dearest = 0.0

    @property
    def over(self) -> bool:
        """Whether another round like the last would not leave the reserve.

        Never before the first step.
        """
        return self._turn > 0 and self.left - self._last <= self.reserve

    def keep_reserve(self) -> None:
        """CapError if `over`."""
        if self.over:
            raise CapError(f"{self.node}: what may be spent is used up but for the reserve")

    def affords(self, samples: int, keep: float) -> float:
        """How often so many more samples leave a share `keep`, each as dear as the dearest so far.

        Without end before the first.
        """
        if not self._dearest:
            return math.inf
        return max(0.0, self.left - keep) / (self._dearest * samples)

    def scarce(self, samples: int) -> bool:
        """Whether a round of so many samples, and an ending, might use up what is left."""
        return self.affords(samples + 1, keep=0.0) <= 1

    @property
    def left(self) -> float:
        """What share of what may be spent is left, from 0 to 1; 1 without a bound."""
        now, whole = self.spending.left(self.operation, self._begun), self._whole
        shares = [1.0]
        if now.cost is not None and whole.cost is not None:
            shares.append(now.cost.pico / max(whole.cost.pico, 1))
        if now.seconds is not None and whole.seconds is not None:
            shares.append(now.seconds / whole.seconds)
        if now.tokens is not None and whole.tokens is not None:
            shares.append(now.tokens / whole.tokens)
        return max(0.0, min(shares))

    async def pieces(
        self,
        prefixes: Sequence[str],
        *,
        steps: Steps | None = None,
        done: dict[int, Piece] | None = None,
        **settings: Any,
    ) -> list[Piece]:
        """A step from each prefix; `settings` are fields of the request, `done` as of `extend`."""
        self._turn += 1
        left = self.left
        come: dict[int, Piece] = {} if done is None else done
        try:
            return await extend(
                self.model,
                replace(self.request, **settings) if settings else self.request,
                self.operation,
                prefixes,
                steps or self.steps,
                self.node,
                turn=self._turn,
                spending=self.spending,
                begun=self._begun,
                done=come,
            )
        except CapError:
            for place, piece in come.items():
                self.cut = (prefixes[place] + piece.text, piece.finished)
            raise
        finally:
            self._last = left - self.left
            self._dearest = max(self._dearest, self._last / max(len(come), 1))

    async def grow(self, paths: Sequence[Path], *, steps: Steps | None = None) -> list[Path]:
        """A scored child of each path; a path named twice gets two.

        CapError if not all of them can be paid for; those that came are among `seen`.
        """
        done: dict[int, Piece] = {}
        refused: CapError | None = None
        try:
            await self.pieces([path.text for path in paths], steps=steps, done=done)
        except CapError as error:
            refused = error
        children = [paths[place].child(done[place]) for place in sorted(done)]
        self.seen += children
        if self.reward is not None:
            await self._score(children)
        if refused is not None:
            raise refused
        return children

    async def _score(self, paths: Sequence[Path]) -> None:
        """Score paths, equal ones once: at once where that is calls without a bound."""
        reward = self.reward
        assert reward is not None
        alike: dict[tuple[str, bool], list[Path]] = {}
        for path in paths:
            alike.setdefault((path.text, path.finished), []).append(path)

        async def judge(text: str, finished: bool) -> None:
            told = await reward.judge(
                self.request, text, self.operation, self.node, finished=finished
            )
            for path in alike[text, finished]:
                path.score = aggregated(told, self.aggregate)

        bound = self.spending.left(self.operation, self._begun).cost
        if isinstance(reward, ModelSteps) and bound is None:
            await together(judge(*key) for key in alike)
            return
        for key in alike:
            if isinstance(reward, ModelSteps):
                self.spending.check(self.operation, self._begun)
            await judge(*key)

    def response(self, path: Path) -> Response:
        """The answer that a path gives."""
        return self.told(path.text, path.finished, path.score)

    def told(self, text: str, finished: bool, signal: float | None) -> Response:
        """The answer of a text; `signal` is how sure it is."""
        sample = Sample(
            text, finish_reason="stop" if finished else "length", columns={"signal": signal}
        )
        return Response(self.model, (self.operation.read(sample),))

    def lead(self, paths: Sequence[Path] | None = None, choose: Choose = "best") -> Path | None:
        """The best of `paths`, of all seen if None; finished ones go first; None without any."""
        pool = self.seen if paths is None else paths
        pool = [path for path in pool if path.finished] or pool
        if choose == "vote" and pool:
            votes: dict[str | None, float] = {}
            for path in pool:
                votes[path.answer] = votes.get(path.answer, 0.0) + path.score
            leading = max(votes, key=votes.__getitem__)
            pool = [path for path in pool if path.answer == leading]
        return max(pool, key=lambda path: (path.score, path.depth), default=None)

    def best(self, paths: Sequence[Path] | None = None, choose: Choose = "best") -> Response | None:
        """The answer of `lead`."""
        path = self.lead(paths, choose)
        return None if path is None else self.response(path)


def aggregated(scores: Sequence[float], aggregate: Aggregate) -> float:
    """One score of several steps' scores; 0 without any."""
    if not scores:
        return 0.0
    match aggregate:
        case "last":
            return scores[-1]
        case "least":
            return min(scores)
        case "product":
            return math.prod(scores)
        case "mean":
            return sum(scores) / len(scores)


def distinct(paths: Sequence[Path]) -> list[Path]:
    """The first of each text."""
    kept: dict[tuple[str, bool], Path] = {}
    for path in paths:
        kept.setdefault((path.text, path.finished), path)
    return list(kept.values())


@dataclass(frozen=True, kw_only=True)
class Search(Parametrised):
    """Searches over steps for the answer that a reward of steps likes best.

    A policy of this shape is a subclass with a `kind` and a `_search`. When the operation's cap
    or `spending` runs out, it answers with the best finished path; if there is none, it writes
    the best partial one to its end from the reserve. One sample at most can exceed them.

    Attributes:
        model: who makes the steps.
        reward: what scores them.
        steps: what a step is.
        spending: the most that may be spent on an operation, beside its cap.
        temperature: sent with every call.
        depth: the most steps of an answer.
        aggregate: what counts of a partial answer's scores.
        reserve: share of what may be spent that is kept for writing an answer to its end, from 0
            to below 1.
    """

    kind: ClassVar[str] = ""

    model: str
    reward: StepReward
    steps: Steps = field(default_factory=Steps)
    spending: Spending = UNLIMITED
    temperature: float = 1.0
    depth: int = 16
    aggregate: Aggregate = "last"
    reserve: float = 0.1

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be at least 1, not {self.depth}")
        if self.aggregate not in get_args(Aggregate):
            raise ValueError(f"aggregate is one of {', '.join(get_args(Aggregate))}")
        if not 0 <= self.reserve < 1:
            raise ValueError(f"reserve is from 0 to below 1, not {self.reserve}")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the one that answers last."""
        judge = (self.reward.model,) if isinstance(self.reward, ModelSteps) else ()
        return tuple(dict.fromkeys((*judge, self.model)))

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The best answer found; its score is in the sample's `columns["signal"]`."""
        walk = Walk(
            self.model,
            replace(request, temperature=self.temperature),
            operation,
            self.kind,
            steps=self.steps,
            spending=self.spending,
            reward=self.reward,
            aggregate=self.aggregate,
            reserve=self.reserve,
        )
        return await or_best(self._ended(walk), operation, walk.best)

    async def _ended(self, walk: Walk) -> Response:
        """What the search answers; a partial answer for lack of means is written to its end."""
        response = await self._search(walk)
        if response.samples[0].finish_reason == "stop" or not self._over(walk):
            return response
        walk.operation.stop("cap")
        path = walk.lead()
        if path is None or not self.reserve:
            return response
        [ended] = await walk.grow([path], steps=self.steps.to_end)
        return walk.response(ended)

    def _over(self, walk: Walk) -> bool:
        """Whether another round might leave too little for an ending."""
        return walk.over

    async def _search(self, walk: Walk) -> Response:
        raise NotImplementedError
