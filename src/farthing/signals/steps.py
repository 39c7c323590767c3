"""Process rewards: how right each step of an answer is, also while it is still being written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, ClassVar, Protocol, Self, cast

import numpy as np

from farthing.core.errors import RequestError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.models.recording import Floats
from farthing.models.tiny import MAX_STEPS, TinyModel, load, problem, solve
from farthing.signals.asking import about
from farthing.signals.judge import read_grade
from farthing.signals.logistic import fit_logistic, logistic

GRADED = """\
Question:
{question}

Beginning of an answer:
{answer}

Grade how right its last step is, from 0 (wrong) to 10 (right). Answer with the number alone."""

_REMEMBERED = 2**17


class StepReward(Protocol):
    """What scores the steps of an answer."""

    kind: ClassVar[str]

    async def judge(
        self,
        request: Request,
        text: str,
        operation: Operation,
        node: str,
        *,
        finished: bool = False,
    ) -> Sequence[float]:
        """The scores of the steps of `text`, from 0 to 1; calls that it takes are booked.

        With `finished`, nothing more comes: steps that are missing are one more that is wrong.
        """
        ...

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters, safe for JSON."""
        ...


@dataclass(frozen=True)
class _Computed:
    """A reward that is worked out in this process."""

    def score(self, prompt: str, text: str, *, finished: bool = False) -> list[float]:
        """The scores of the steps of `text`, from 0 to 1, as `StepReward.judge`."""
        raise NotImplementedError

    async def judge(
        self,
        request: Request,
        text: str,
        operation: Operation,
        node: str,
        *,
        finished: bool = False,
    ) -> Sequence[float]:
        """The same for the last user message of a request; calls nothing."""
        return self.score(request.prompt, text, finished=finished)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """The reward with these parameters."""
        return cls(**params)


@dataclass(frozen=True)
class ExactSteps(_Computed):
    """Whether each value in the working of a chain of arithmetic is the right one: 1 or 0.

    A value counts by itself, so that a working that has come back to the right value is right.
    RequestError where the prompt has no chain, see `models.tiny.solve`.
    """

    kind: ClassVar[str] = "exact"

    def score(self, prompt: str, text: str, *, finished: bool = False) -> list[float]:
        """1 or 0 for each word of `text`, which should be a number."""
        values = [str(value) for value in solve(prompt)]
        given = text.split()
        scores = [float(at < len(values) and word == values[at]) for at, word in enumerate(given)]
        if finished and len(given) < len(values):
            scores.append(0.0)
        return scores


@dataclass(frozen=True)
class NoisySteps(_Computed):
    """`ExactSteps` that errs in a share of the steps, and knows in how many.

    A step that looks right scores 1 - rate, one that looks wrong scores rate: the probability
    that it is right, where right and wrong are as likely beforehand. The same step after the
    same working always looks the same.

    Attributes:
        rate: share of the steps that look other than they are, 0 to 0.5.
        seed: which steps these are.
    """

    kind: ClassVar[str] = "noisy"

    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 0.5:
            raise ValueError(f"rate must be 0 to 0.5, not {self.rate}")

    def score(self, prompt: str, text: str, *, finished: bool = False) -> list[float]:
        """`rate` or 1 - `rate` for each word of `text`."""
        exact = ExactSteps().score(prompt, text, finished=finished)
        given = text.split()
        scores = []
        for at, right in enumerate(exact):
            seen = f"{self.seed} {prompt} = {' '.join(given[: at + 1])} {at}"
            digest = hashlib.blake2b(seen.encode("utf-8", "replace"), digest_size=8).digest()
            errs = int.from_bytes(digest, "big") < self.rate * 2**64
            scores.append(1 - self.rate if bool(right) != errs else self.rate)
        return scores


@dataclass(frozen=True)
class LearntSteps(_Computed):
    """How likely each value of a working is right, by what the tiny model that wrote it showed.

    A logistic regression over the log-probability of each token, its margin over the likeliest
    other one, the entropy at its place, the least log-probability so far and the place. It is
    fitted, on first use, on workings that the model itself samples at temperature 1 of chains
    drawn at random, which are checked exactly. The model shows these numbers as it writes, so
    that nothing is billed for them; here they are worked out again from the text.

    Attributes:
        model: the tiny model, such as "tiny-small".
        problems: how many chains it is fitted on.
        seed: of these chains, and of the samples.
    """

    kind: ClassVar[str] = "learnt"

    model: str = "tiny-small"
    problems: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.model.startswith("tiny-"):
            raise ValueError(f"model must be a tiny one, such as 'tiny-small', not {self.model!r}")
        if self.problems < 1:
            raise ValueError(f"problems must be at least 1, not {self.problems}")

    def score(self, prompt: str, text: str, *, finished: bool = False) -> list[float]:
        """A probability for each token of `text`; RequestError if no tiny model writes so."""
        known = _learnt(self.model, self.problems, self.seed, prompt, text)
        missing = finished and len(known) < len(solve(prompt))
        return [*known, 0.0] if missing else list(known)

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {"model": self.model, "problems": self.problems, "seed": self.seed}


@dataclass(frozen=True)
class CallableSteps(_Computed):
    """What a Python function says of the steps.

    Attributes:
        function: where it is, such as "my_package.checks:steps". It is called with the prompt
            and the text, and returns a score from 0 to 1 for each step, or one for the last.
    """

    kind: ClassVar[str] = "callable"

    function: str
    _call: Callable[[str, str], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_call", _imported(self.function))

    def score(self, prompt: str, text: str, *, finished: bool = False) -> list[float]:
        """What the function returns; ValueError if that is no score from 0 to 1."""
        said = self._call(prompt, text)
        scores = [float(one) for one in (said if isinstance(said, Sequence) else (said,))]
        wrong = next((one for one in scores if not 0 <= one <= 1), None)
        if wrong is not None:
            raise ValueError(f"{self.function} returned {wrong}, want scores from 0 to 1")
        return scores

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return {"function": self.function}


@dataclass(frozen=True)
class ModelSteps:
    """The grade that a model gives the last step; each is a call, booked as a judgement.

    Attributes:
        model: who grades.
        scale: the best grade.
        unread: the score where no grade can be read.
        instruction: what the model is asked, with places {question} and {answer}.
    """

    kind: ClassVar[str] = "model"

    model: str
    scale: float = 10.0
    unread: float = 0.0
    instruction: str = GRADED

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0, not {self.scale}")
        if not 0 <= self.unread <= 1:
            raise ValueError(f"unread must be 0 to 1, not {self.unread}")

    async def judge(
        self,
        request: Request,
        text: str,
        operation: Operation,
        node: str,
        *,
        finished: bool = False,
    ) -> Sequence[float]:
        """One score, of the last step."""
        asked = about(request, text, self.instruction)
        said = await operation.call(self.model, asked, node=f"{node}/reward", kind="judge")
        grade = read_grade(said.text, self.scale)
        return [self.unread if grade is None else grade / self.scale]

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """The reward with these parameters."""
        return cls(**params)


REWARDS: dict[str, Any] = {
    reward.kind: reward
    for reward in (ExactSteps, NoisySteps, LearntSteps, CallableSteps, ModelSteps)
}
"""The rewards, by their kinds."""


def reward_from_params(table: Mapping[str, Any]) -> StepReward:
    """The reward of the table's `kind` with its other entries as parameters.

    ValueError if there is no such kind, or for parameters that do not fit.
    """
    params = dict(table)
    kind = params.pop("kind", None)
    if kind not in REWARDS:
        raise ValueError(f"no reward is called {kind!r}; known: {', '.join(REWARDS)}")
    try:
        return cast(StepReward, REWARDS[kind].from_params(params))
    except TypeError as error:
        raise ValueError(f"reward {kind!r} cannot be built: {error}") from error


def _imported(place: str) -> Callable[[str, str], Any]:
    module, _, name = place.partition(":")
    if not module or not name:
        raise ValueError(f"function {place!r} is not of the form 'module:function'")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"function {place!r} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"{place!r} is no function")
    return cast(Callable[[str, str], Any], found)


@cache
def _tiny(name: str) -> TinyModel:
    return load(name.removeprefix("tiny-"))


def _features(model: TinyModel, prompt: str, text: str) -> Floats:
    """What the model shows of each token of a working, shape (tokens, 5), of about unit scale."""
    asked, working = model.encode(prompt), model.encode_working(text)
    if not working:
        return np.zeros((0, 5))
    logits = model.step(model.start(asked[:-1]), [asked[-1], *working[:-1]]).astype(float)
    logprobs = logits - logits.max(-1, keepdims=True)
    logprobs -= np.log(np.exp(logprobs).sum(-1, keepdims=True))
    rows = np.arange(len(working))
    own = logprobs[rows, working]
    entropy = -(np.exp(logprobs) * logprobs).sum(-1)
    others = logprobs.copy()
    others[rows, working] = -math.inf
    margin = np.clip(own - others.max(-1), -5, 5)
    return np.column_stack(
        (np.maximum(own, -5), margin / 3, entropy, np.minimum.accumulate(np.maximum(own, -5)),
         (rows - MAX_STEPS / 2) / MAX_STEPS)
    )  # fmt: skip


@lru_cache(_REMEMBERED)
def _learnt(name: str, problems: int, seed: int, prompt: str, text: str) -> tuple[float, ...]:
    features = _features(_tiny(name), prompt, text)
    if not len(features):
        return ()
    return tuple(logistic(features, _fitted(name, problems, seed)).tolist())


@cache
def _fitted(name: str, problems: int, seed: int) -> Floats:
    """Weights of the features for a value being right."""
    model, rng = _tiny(name), np.random.default_rng(seed)
    features, right = [], []
    for number in range(problems):
        chain = problem(rng, int(rng.integers(1, MAX_STEPS + 1)))
        try:
            working = model.sample(chain, seed=problems * abs(seed) + number)
            shown = _features(model, chain, working)
        except RequestError:
            continue
        scores = ExactSteps().score(chain, working)
        if len(scores) == len(shown):
            features.append(shown)
            right += scores
    return fit_logistic(np.concatenate(features), np.array(right))
