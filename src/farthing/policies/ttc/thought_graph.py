"""A graph of thoughts: a task is solved, mended, or taken apart, solved in parts and merged."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pkgutil import resolve_name
from typing import ClassVar

from farthing.core.protocols import Operation
from farthing.core.request import Message, Request
from farthing.core.response import Response, Sample
from farthing.policies.stopping import or_best
from farthing.policies.ttc.drawing import take
from farthing.policies.ttc.graph_actions import Action, loaded, state_of
from farthing.policies.ttc.params import Parametrised
from farthing.policies.ttc.spending import Begun, Spending
from farthing.policies.ttc.splitting import ASKED, filled, lines
from farthing.policies.ttc.vote import elected

PLANNED = """\
Question:
{task}

Answers so far agree by {sure:.0%}. Parts: {parts}. What is to be done next? Say one of these \
words alone: {actions}"""


@dataclass(slots=True)
class Thought:
    """A task and what has come of it.

    Attributes:
        request: what asks it.
        level: how often it was taken apart to come here.
        samples: its answers.
        parts: the questions that it was taken apart into; None before that was tried.
        merged: the answer that came of the parts, and how sure the least sure of them was.
        rounds: how often it was solved or refined.
    """

    request: Request
    level: int
    samples: list[Sample] = field(default_factory=list)
    parts: list[str] | None = None
    merged: tuple[Sample, float] | None = None
    rounds: int = 0

    def state(self, sure: float) -> str:
        """What a learnt choice of the next action sees; `sure` is that of the best answer."""
        return state_of(
            self.request.prompt, self.level, self.rounds, sure, self.parts, self.merged is not None
        )

    def best(self, model: str) -> tuple[Sample, float] | None:
        """The surest answer, and how sure it is; that of the parts where both are as sure."""
        own = None
        if self.samples:
            sample = elected(model, self.samples).samples[0]
            own = (sample, sample.columns["signal"] or 0.0)
        found = [one for one in (self.merged, own) if one is not None]
        return max(found, key=lambda one: one[1], default=None)


@dataclass(frozen=True)
class ThoughtGraph(Parametrised):
    """Solves a task; where its answers do not agree, takes it apart, and merges the parts' answers.

    Each thought is answered by `samples` samples; the share that agrees is how sure it is. Below
    `accept` it is split, down to `levels`; the parts are thoughts themselves, solved in order,
    with the answers of earlier ones put in; the last one's answer is the merged one, as sure as
    the least sure part. What cannot be split is refined: more samples are asked for. With a
    `planner`, a model picks the next of the possible actions in place of this rule; with `actions`,
    what was learnt of them, and a task may be taken apart before it is solved.

    It pays where parts are much easier than the whole; where a task is hard in itself it costs
    more than a vote of as many samples.

    Source: ARIES: Autonomous Reasoning with LLMs on Interactive Thought Graph Environments
    (Gimenes et al., 2025).

    Attributes:
        model: who answers.
        samples: of each thought in each round.
        accept: share of agreement.
        levels: how often a task is taken apart, and its parts again.
        refines: further rounds of samples for a thought.
        splitter: the function that takes tasks apart, such as
            "farthing.policies.ttc.splitting:halves"; it is called with the task and returns
            questions, with {1} for the answer of the first. None asks the model.
        eager: whether a task is taken apart before it is solved, and solved if it cannot be.
        planner: the model that picks actions; None for the rule.
        actions: a file of what each came to in each state, as `graph_learning.fit` learns it.
        temperature: of the samples.
        spending: the most that may be spent on an operation.
    """

    kind: ClassVar[str] = "thought-graph"

    model: str
    samples: int = 3
    accept: float = 1.0
    levels: int = 2
    refines: int = 1
    splitter: str | None = None
    eager: bool = False
    planner: str | None = None
    actions: str | None = None
    temperature: float = 1.0
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if self.samples < 1 or self.levels < 0 or self.refines < 0:
            raise ValueError("samples must be at least 1, levels and refines not below 0")
        if not 0 <= self.accept <= 1:
            raise ValueError(f"accept is from 0 to 1, not {self.accept}")
        if self.splitter is not None:
            try:
                resolve_name(self.splitter)
            except (ImportError, AttributeError, ValueError) as error:
                raise ValueError(
                    f"splitter {self.splitter!r} cannot be imported: {error}"
                ) from error
        if self.actions is not None:
            if self.planner is not None:
                raise ValueError("either a planner or learnt actions pick the next one, not both")
            loaded(self.actions)

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the one that answers last."""
        planner = (self.planner,) if self.planner is not None else ()
        return tuple(dict.fromkeys((*planner, self.model)))

    async def answer(self, request: Request, operation: Operation) -> Response:
        """The answer; how sure it is is in the sample's `columns["signal"]`."""
        root = Thought(replace(request, temperature=self.temperature), 0)
        begun = self.spending.begin(operation)

        def best() -> Response | None:
            found = root.best(self.model)
            if found is None:
                return None
            sample, sure = found
            told = replace(sample, columns={**sample.columns, "signal": sure})
            return Response(self.model, (told,))

        async def think() -> Response:
            await self._think(root, operation, begun)
            response = best()
            assert response is not None
            return response

        return await or_best(think(), operation, best)

    def able(self, thought: Thought) -> list[Action]:
        """What can be done next, in the order in which the rule prefers it."""
        solved = bool(thought.rounds)
        if not (solved or self.eager or self.actions):
            return ["solve"]
        able: list[Action] = []
        if thought.parts is None and thought.level < self.levels:
            able.append("split")
        if thought.parts and thought.merged is None:
            able.append("merge")
        if solved and thought.rounds <= self.refines:
            able.append("refine")
        if solved or thought.merged:
            able.append("stop")
        return able if solved else [*able, "solve"]

    async def _think(self, thought: Thought, operation: Operation, begun: Begun) -> None:
        while True:
            found = thought.best(self.model)
            if found is not None and found[1] >= self.accept:
                return
            match await self._next(thought, found[1] if found else 0.0, operation, begun):
                case "solve" | "refine":
                    thought.samples += await take(
                        self.model, thought.request, operation, self.spending, begun,
                        node=f"{self.kind}/{thought.level}", count=self.samples,
                        first=len(thought.samples),
                    )  # fmt: skip
                    thought.rounds += 1
                case "split":
                    thought.parts = await self._split(thought, operation, begun)
                case "merge":
                    await self._merge(thought, operation, begun)
                case "stop":
                    return

    async def _next(
        self, thought: Thought, sure: float, operation: Operation, begun: Begun
    ) -> Action:
        able = self.able(thought)
        if len(able) == 1:
            return able[0]
        if self.planner is None:
            return self._pick(thought, sure, able, operation)
        text = PLANNED.format(
            task=thought.request.prompt,
            sure=sure,
            parts="; ".join(thought.parts or ()) or "none",
            actions=", ".join(able),
        )
        self.spending.check(operation, begun)
        asked = replace(_about(thought.request, text), temperature=0.0)
        told = await operation.call(self.planner, asked, node=f"{self.kind}/plan", kind="judge")
        said = re.findall("|".join(able), told.text.lower())
        return next((action for action in able if said and action == said[0]), able[0])

    def _pick(
        self, thought: Thought, sure: float, able: list[Action], operation: Operation
    ) -> Action:
        if self.actions is None:
            return able[0]
        return loaded(self.actions).best(thought.state(sure), able)

    async def _split(self, thought: Thought, operation: Operation, begun: Begun) -> list[str]:
        task = thought.request.prompt
        if self.splitter is not None:
            return list(resolve_name(self.splitter)(task))
        self.spending.check(operation, begun)
        asked = replace(_about(thought.request, ASKED.format(task=task)), temperature=0.0)
        told = await operation.call(self.model, asked, node=f"{self.kind}/split")
        return lines(told.text)

    async def _merge(self, thought: Thought, operation: Operation, begun: Begun) -> None:
        """Solve the parts in order; what the last one answers is merged."""
        answers: list[str | None] = []
        sure, last = 1.0, None
        for question in thought.parts or ():
            asked = filled(question, answers)
            if asked is None:
                break
            part = Thought(_about(thought.request, asked), thought.level + 1)
            await self._think(part, operation, begun)
            found = part.best(self.model)
            assert found is not None
            last, sure = found[0], min(sure, found[1])
            answers.append(last.answer)
        if last is not None and len(answers) == len(thought.parts or ()):
            thought.merged = (last, sure)
        else:
            thought.parts = []


def _about(request: Request, text: str) -> Request:
    """The request that asks `text` in place of its last user message, and nothing behind it."""
    place = max(
        (n for n, message in enumerate(request.messages) if message.role == "user"), default=0
    )
    messages = (*request.messages[:place], Message("user", text))
    return replace(request, messages=messages, question="", raw=None)
