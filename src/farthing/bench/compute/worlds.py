"""What is asked, who answers, and what an operation came to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np

from farthing.bench.compute.remembered import Called, Remembered, Session
from farthing.budgets.operation import Operation
from farthing.core.errors import ConfigError, DataError
from farthing.core.money import PICO_PER_USD, Cost
from farthing.core.protocols import Model
from farthing.core.request import Message, Request
from farthing.core.response import Response
from farthing.core.usage import Usage
from farthing.cost.devices import Device, find
from farthing.cost.prices import PriceBook
from farthing.models.draw import Draw, draw
from farthing.models.recorded import RecordedModel
from farthing.models.recording import load_recording
from farthing.models.tiny import MAX_STEPS, TINY_SIZES, TinyModel, load, problem, prompt, solve
from farthing.signals import reader

BYTES = 4  # of a weight, and of a number in the cache
ROOM = MAX_STEPS + 2
"""Tokens that an answer may have: a working and its end, and one more."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What an operation came to; None where it is not known.

    Attributes:
        right: 0 to 1.
        usd: dollars.
        output: tokens generated, those of cancelled calls included.
        cancelled: of these, tokens of calls that were cancelled.
        calls: how many there were.
        over: dollars above its cap.
        largest: dollars of its dearest call.
        flops: floating-point operations.
        seconds: on the device, one pass after the other.
    """

    right: float
    usd: float
    output: float
    cancelled: float
    calls: int
    over: float
    largest: float
    flops: float = math.nan
    seconds: float = math.nan


class Begun(Protocol):
    """An operation on one question."""

    request: Request
    operation: Operation

    def spent(self, response: Response) -> Spent:
        """What it came to, with this answer."""
        ...


class World(Protocol):
    """Questions and models.

    Attributes:
        models: cheap to strong.
        questions: how many there are.
        steps: whether its models go on from partial answers.
        left_out: why other models are not among them.
    """

    models: tuple[str, ...]
    questions: int
    steps: bool
    left_out: dict[str, str]

    def prepare(self, model: str, question: int) -> None:
        """Work out beforehand what `model` is likely to need of a question."""
        ...

    def begin(self, question: int, seed: int, cap: Cost | None) -> Begun:
        """A new operation on question 0, 1, ...; nothing is held from before."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where a world comes from; small, so that it can be sent to another process.

    Attributes:
        problems: chains drawn for tiny models.
        recording: a file that is asked instead; None for tiny models.
        samples: of each model of the recording, at most.
        device: by its name, for times.
        seed: of the chains.
    """

    problems: int = 2000
    recording: str | None = None
    samples: int = 64
    device: str = "epyc-2core"
    seed: int = 0


@cache
def world(source: Source) -> World:
    """The world of a source, once a process."""
    if source.recording is not None:
        return RecordedWorld(source.recording, source.samples, source.seed)
    return TinyWorld(source)


class TinyWorld:
    """Chains of one to six steps, and the three tiny models."""

    steps = True

    def __init__(self, source: Source) -> None:
        rng = np.random.default_rng(source.seed)
        lengths = rng.integers(1, MAX_STEPS + 1, source.problems).tolist()
        self.chains = [problem(rng, steps) for steps in lengths]
        self.models = tuple(f"tiny-{size}" for size in TINY_SIZES)
        self.left_out: dict[str, str] = {}
        self.questions = source.problems
        self.answers = [str(solve(chain)[-1]) for chain in self.chains]
        self.device = find(source.device)
        self.read = reader("last-number")
        self._remembered = {f"tiny-{size}": Remembered(load(size)) for size in TINY_SIZES}
        self._prepared: set[tuple[str, int]] = set()
        self.prices = PriceBook()

    def prepare(self, model: str, question: int) -> None:
        """Work out beforehand what `model` is likely to need of a question."""
        if (model, question) not in self._prepared:
            self._prepared.add((model, question))
            self._remembered[model].prepare(self.chains[question])

    def begin(self, question: int, seed: int, cap: Cost | None) -> TinyBegun:
        """A new operation, all models' caches empty."""
        return TinyBegun(
            self, question, {name: Session(one) for name, one in self._remembered.items()}, seed,
            cap,
        )  # fmt: skip


class TinyBegun:
    """An operation on a chain."""

    def __init__(
        self,
        world: TinyWorld,
        question: int,
        sessions: Mapping[str, Session],
        seed: int,
        cap: Cost | None,
    ) -> None:
        self._world, self._question, self._sessions, self._cap = world, question, sessions, cap
        models: dict[str, Model] = dict(sessions)
        self.operation = Operation(models, prices=world.prices, cap=cap, reader=world.read)
        text = prompt(world.chains[question])
        self.request = Request.ask(text, seed=seed * world.questions + question, max_tokens=ROOM)

    def spent(self, response: Response) -> Spent:
        """By the tokens and passes of all calls, those that were broken off as far as they came."""
        pico = largest = output = cancelled = calls = 0
        flops = seconds = 0.0
        for session in self._sessions.values():
            rates = session.card.rates
            assert rates is not None
            for call in session.calls:
                usage = Usage(call.read - call.held, cache_read=call.held, output=call.output)
                cost = rates.cost(usage).pico
                pico, largest = pico + cost, max(largest, cost)
                output, calls = output + call.output, calls + 1
                cancelled += call.output if call.cancelled else 0
                work = passes(session.model, call)
                flops += sum(done for done, _ in work)
                seconds += sum(needed(self._world.device, done, moved) for done, moved in work)
        answer = self.operation.read(response.samples[0]).answer
        over = 0 if self._cap is None else max(0, pico - self._cap.pico)
        return Spent(
            float(answer == self._world.answers[self._question]), pico / PICO_PER_USD, output,
            cancelled, calls, over / PICO_PER_USD, largest / PICO_PER_USD, flops, seconds,
        )  # fmt: skip


def passes(model: TinyModel, call: Called) -> list[tuple[int, int]]:
    """FLOPs and bytes moved of each pass of a call, by formula.

    Bytes are those of the weights once a pass, and of the keys and values that it reads.
    """
    weights = BYTES * model.shape.parameters
    per_token = 2 * BYTES * model.shape.layers * model.shape.width
    heads = model.heads.flops if call.heads else 0
    done = []
    if call.read > call.held:
        contexts = range(call.held + 1, call.read + 1)
        flops = sum(map(model.flops_per_token, contexts)) + call.heads * heads
        done.append((flops, weights + per_token * call.read))
    for number, rows in enumerate(call.rows, 1):
        context = call.read + number
        flops = rows * model.flops_per_token(context, heads=bool(heads))
        done.append((flops, weights + rows * per_token * context))
    return done


def needed(device: Device, flops: float, nbytes: float) -> float:
    """Seconds of a pass on a device: of its products or of its bytes, whichever take longer."""
    compute, bandwidth = device.reached
    rate, _ = device.rate("fp32")
    return max(flops / (rate * compute), nbytes / (device.bandwidth * bandwidth))


class RecordedWorld:
    """The questions that all models of a recording answered, at the recorded costs."""

    steps = False

    def __init__(self, path: str, samples: int, seed: int) -> None:
        drawn, self.left_out = _drawn(path, samples, seed)
        costs = [float(drawn.cost[place].mean()) for place in range(len(drawn.models))]
        order = sorted(range(len(drawn.models)), key=costs.__getitem__)
        self.models = tuple(drawn.models[place] for place in order)
        self.questions = drawn.questions
        self.prices = PriceBook()
        self._models: dict[str, Model] = {name: RecordedModel(drawn, name) for name in drawn.models}
        self.names = drawn.recording.questions
        self._right: list[dict[str | None, float]] = [{} for _ in self.names]
        told = drawn.recording.table["answer"].to_pylist()
        for place in range(len(drawn.models)):
            for question, rows in enumerate(drawn.rows[place]):
                for row, value in zip(rows, drawn.correct(place)[question], strict=True):
                    answer = None if told[row] is None else str(told[row])
                    self._right[question][answer] = float(value)

    def prepare(self, model: str, question: int) -> None:
        """Nothing: answers are recorded."""

    def begin(self, question: int, seed: int, cap: Cost | None) -> RecordedBegun:
        """A new operation; it goes on where the one before left off in the recorded samples."""
        return RecordedBegun(self, question, cap)

    def right(self, question: int, answer: str | None) -> float:
        """How right an answer is, 0 to 1; 0 for one that nobody gave."""
        return self._right[question].get(answer, 0.0)


def _drawn(path: str, samples: int, seed: int) -> tuple[Draw, dict[str, str]]:
    """A draw of the models whose costs and rightness are known, and why others are left out."""
    recording = load_recording(path)
    left_out: dict[str, str] = {}
    for model in recording.models:
        try:
            alone = draw(recording, [model], samples, seed)
        except DataError as error:
            left_out[model] = str(error).removeprefix(f"{path}: ")
            continue
        if np.isnan(alone.correct(0)).any():
            left_out[model] = "of some of its answers it is not known whether they are right"
    known = [model for model in recording.models if model not in left_out]
    if not known:
        raise DataError(f"{path}: no model can be judged; {next(iter(left_out.values()))}")
    return draw(recording, known, samples, seed), left_out


class RecordedBegun:
    """An operation on a recorded question."""

    def __init__(self, world: RecordedWorld, question: int, cap: Cost | None) -> None:
        self._world, self._question, self._cap = world, question, cap
        self.operation = Operation(world._models, prices=world.prices, cap=cap)
        name = world.names[question]
        self.request = Request((Message("user", name),), question=name, seed=0)

    def spent(self, response: Response) -> Spent:
        """By what is booked."""
        attempts = self.operation.attempts
        costs = [one.cost.pico for one in attempts if one.cost is not None]
        output = [
            (one.response.usage.output_tokens, one.status == "cancelled")
            for one in attempts
            if one.response is not None and one.response.usage is not None
        ]
        told = len(output) == len(attempts)
        over = 0 if self._cap is None else max(0, sum(costs) - self._cap.pico)
        return Spent(
            self._world.right(self._question, response.samples[0].answer),
            math.nan if self.operation.unknown_attempts else sum(costs) / PICO_PER_USD,
            sum(count for count, _ in output) if told else math.nan,
            sum(count for count, left in output if left) if told else math.nan,
            len(attempts),
            over / PICO_PER_USD,
            max(costs, default=0) / PICO_PER_USD,
        )


def check_model(found: World, model: str) -> None:
    """ConfigError if there is no such model."""
    if model not in found.models:
        raise ConfigError(f"there is no model {model!r}; known: {', '.join(found.models)}")
