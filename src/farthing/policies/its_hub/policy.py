"""An algorithm of its_hub as a policy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

from farthing.core.errors import CapError, UpstreamError
from farthing.core.protocols import Operation
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.policies.stopping import or_best
from farthing.policies.ttc.best_of_n import asked_of
from farthing.policies.ttc.gated import Gated
from farthing.policies.ttc.params import built
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.vote import elected
from farthing.signals.steps import StepReward

if TYPE_CHECKING:
    from farthing.policies.its_hub.model import OperationModel

_CORE = "its_hub.core.algorithms"
ALGORITHMS = {
    "self-consistency": f"{_CORE}.self_consistency:SelfConsistency",
    "adaptive-self-consistency": f"{_CORE}.adaptive_self_consistency:AdaptiveSelfConsistency",
    "beta-self-consistency": f"{_CORE}.beta_self_consistency:BetaSelfConsistency",
    "best-of-n": f"{_CORE}.bon:BestOfN",
    "beam-search": f"{_CORE}.beam_search:BeamSearch",
    "particle-filtering": f"{_CORE}.particle_gibbs:ParticleFiltering",
    "entropic-particle-filtering": f"{_CORE}.particle_gibbs:EntropicParticleFiltering",
    "particle-gibbs": f"{_CORE}.particle_gibbs:ParticleGibbs",
    "planning": f"{_CORE}.planning_wrapper:PlanningWrapper",
}
"""its_hub's algorithms, and where they are."""

_READER = "consistency_space_projection_func"
_OURS = {"orchestrator": "the operation", "orm": "`reward`", "prm": "`reward`"}


@dataclass(frozen=True, slots=True)
class ItsHub:
    """Answers by an algorithm of its_hub, all of whose calls are the operation's.

    They are booked, priced, and wait for room in `spending` (see `ttc.gated`); calls that the
    algorithm breaks off are booked too. When the spending is used up, what the algorithm makes
    of the answers that came stands; where it cannot go on, the answer that the reward likes best,
    without a reward the commonest.

    Votes compare answers as the operation reads them, texts where none can be read. Algorithms
    break ties and resample by Python's and numpy's own generators: a request's seed decides its
    samples, not these.

    Source: its_hub, A Python library for inference-time scaling (Xu et al., Red Hat AI
    Innovation Team), 1.2.

    Attributes:
        model: who answers.
        algorithm: one of `ALGORITHMS`, or "module:Class".
        budget: its_hub's: how many samples, particles or beams there are, as the algorithm says.
        options: the algorithm's own parameters, as `beam_width`; `sg`, its steps, and
            `base_algorithm` (`algorithm` and `options`) as tables, functions as "module:function".
        reward: what scores answers or their beginnings, where the algorithm needs it.
        temperature: of calls whose algorithm says none; None leaves it as the client has it.
        fields: fields of a request that is to go on from a last message of the assistant, such
            as vLLM's `continue_final_message`.
        spending: the most that it may spend, rewards included.
    """

    kind: ClassVar[str] = "its-hub"

    model: str
    algorithm: str
    budget: int = 8
    options: Mapping[str, Any] = field(default_factory=dict)
    reward: StepReward | None = None
    temperature: float | None = 1.0
    fields: Mapping[str, Any] = field(default_factory=dict)
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ValueError(f"budget must be at least 1, not {self.budget}")
        made = self._made(self.algorithm, self.options, {})
        for name in ("beam_width", "num_iterations"):
            among = getattr(made, name, 1)
            if among < 1 or self.budget % among:
                raise ValueError(f"budget must be a multiple of {name}, {among}, not {self.budget}")

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it may call, the one that answers last."""
        return (self.model,) if self.reward is None else asked_of(self.model, self.reward)

    async def answer(self, request: Request, operation: Operation) -> Response:
        """What the algorithm chooses; its `columns["signal"]` is its score, or share of votes."""
        from farthing.policies.its_hub.model import (
            Beginnings,
            OperationModel,
            OperationOrchestrator,
            Outcomes,
            Rewards,
        )

        gated = Gated(operation, self.kind, self.spending)
        model = OperationModel(self.model, request, gated, self.temperature, self.fields)
        parts: dict[str, Any] = {
            "orchestrator": OperationOrchestrator(gated),
            _READER: _reader(operation),
        }
        known: dict[str, float] = {}
        if self.reward is not None:
            rewards = Rewards(self.reward, request, gated)
            known = rewards.known
            parts |= {"orm": Outcomes(rewards), "prm": Beginnings(rewards)}
        algorithm = self._made(self.algorithm, self.options, parts)

        async def run() -> Response:
            try:
                async with gated.limit() as limit:
                    result = await algorithm.ainfer(
                        model, model.asked, self.budget, return_response_only=False,
                        tools=request.extra.get("tools"),
                        tool_choice=request.extra.get("tool_choice"),
                    )  # fmt: skip
            except TimeoutError:
                if not limit.expired():
                    raise
                raise CapError(f"the policy's spending of {self.spending} is used up") from None
            except UpstreamError:
                if self.reward is not None or not model.samples:
                    raise
                return elected(self.model, model.samples)
            return self._chosen(result, model, known, operation)

        return await or_best(run(), operation, lambda: self._best(model, known, operation))

    def _chosen(
        self, result: Any, model: OperationModel, known: Mapping[str, float], operation: Operation
    ) -> Response:
        from farthing.policies.its_hub.messages import to_sample

        answer = result.the_one
        sample = model.sample_of(answer) or to_sample(answer)
        counts = getattr(result, "response_counts", None)
        share = max(counts.values()) / sum(counts.values()) if counts else None
        return self._told(
            sample, share if self.reward is None else known.get(sample.text), operation
        )

    def _best(
        self, model: OperationModel, known: Mapping[str, float], operation: Operation
    ) -> Response | None:
        """What stands where the algorithm came to no end."""
        if known:
            text = max(known, key=lambda one: (known[one], len(one)))
            cut = Sample(text, finish_reason="length")
            sample = next((one for one in model.samples if one.text == text), cut)
            return self._told(sample, known[text], operation)
        if model.samples:
            if self.reward is None:
                return elected(self.model, model.samples)
            return self._told(model.samples[0], None, operation)
        if not model.beginnings:
            return None
        cut = Sample(max(model.beginnings, key=len), finish_reason="length")
        return self._told(cut, None, operation)

    def _told(self, sample: Sample, signal: float | None, operation: Operation) -> Response:
        sample = operation.read(sample)
        return Response(
            self.model, (replace(sample, columns={**sample.columns, "signal": signal}),)
        )

    def _made(self, name: str, options: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
        """The algorithm with these options; `parts` are those of its parameters that are ours."""
        if not isinstance(options, Mapping):
            raise ValueError("options is a table")
        kind = _found(name)
        takes = inspect.signature(kind).parameters
        unknown = set(options) - set(takes)
        if unknown:
            own = ", ".join(one for one in takes if one not in _OURS) or "none"
            raise ValueError(f"options: {name} has no {min(unknown)!r}; known: {own}")
        told = dict(options)
        for one, what in _OURS.items():
            if one in told:
                raise ValueError(f"options: {one} is made of {what}")
            if one in takes:
                if what == "`reward`" and self.reward is None:
                    raise ValueError(f"{name} needs a reward")
                told[one] = parts.get(one)
        if _READER in takes:
            told[_READER] = _function(told[_READER]) if _READER in told else parts.get(_READER)
        if "tool_vote" in takes:
            told.setdefault("tool_vote", "tool_flat_all")
        if "sg" in takes:
            told["sg"] = _steps(told.get("sg"))
        if "base_algorithm" in takes:
            base = told.get("base_algorithm")
            if not isinstance(base, Mapping) or not {"algorithm"} <= set(base) <= _BASE:
                raise ValueError("options: base_algorithm is a table of algorithm and options")
            told["base_algorithm"] = self._made(base["algorithm"], base.get("options", {}), parts)
        try:
            return kind(**told)
        except (TypeError, ValueError) as error:
            raise ValueError(f"options: {error}") from error

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        reward = self.reward
        return {
            "model": self.model,
            "algorithm": self.algorithm,
            "budget": self.budget,
            "options": dict(self.options),
            "reward": None if reward is None else {"kind": reward.kind, **reward.get_params()},
            "temperature": self.temperature,
            "fields": dict(self.fields),
            "spending": self.spending.get_params(),
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> ItsHub:
        """The policy with these parameters."""
        return cls(**built(params))


_BASE = {"algorithm", "options"}


def _found(name: str) -> type[Any]:
    from farthing.policies.its_hub import _api

    place = ALGORITHMS.get(name, name)
    if ":" not in place:
        raise ValueError(
            f"algorithm {name!r} is not known; known: {', '.join(ALGORITHMS)}, or 'module:Class'"
        )
    kind = _function(place)
    if not (isinstance(kind, type) and issubclass(kind, _api.AbstractScalingAlgorithm)):
        raise ValueError(f"algorithm {name!r} is no AbstractScalingAlgorithm")
    return kind


def _function(place: Any) -> Any:
    try:
        return resolve_name(place)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"{place!r} cannot be imported: {error}") from error


def _steps(told: Any) -> Any:
    from farthing.policies.its_hub.model import StepsToTheEnd

    if not isinstance(told, Mapping):
        raise ValueError("options: sg is a table: max_steps, and step_token or tokens_per_step")
    try:
        return StepsToTheEnd(**told)
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"options: sg: {error}") from error


def _reader(operation: Operation) -> Callable[[str], str]:
    def read(text: str) -> str:
        answer = operation.read(Sample(text)).answer
        return text.strip() if answer is None else answer

    return read
