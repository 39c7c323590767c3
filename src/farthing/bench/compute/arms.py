"""Which policies take part, each sized for a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from farthing.core.errors import ParamError, PlanError
from farthing.core.protocols import Policy
from farthing.policies.registry import from_params
from farthing.policies.ttc.registry import TTC

VOTE = "vote, plain"

_VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "short": {"short-1@k": {"finished": 1}},
    "vote": {
        VOTE: {"stop": "none"},
        "vote, exact stop": {"stop": "exact"},
        "vote, beta stop": {"stop": "beta"},
        "vote, window stop": {"stop": "window", "level": 2},
        "vote, error stop": {"stop": "error"},
        "vote, weighted": {"stop": "none", "weighted": True},
    },
    "thought-graph": {
        "thought-graph, halves": {
            "samples": 3,
            "splitter": "farthing.policies.ttc.splitting:halves",
        },
    },
}
_PINNED: dict[str, dict[str, Any]] = {"astar": {"expand": 2}}
"""Sizes that serve any budget, by kind."""
_SPOKEN = {"effort", "concise", "refine", "brainstorm", "mixture_of_agents"}
_STEPPED = {"steps", "reward", "alpha", "splitter"}
"""What a policy has that needs partial answers, verifiers of texts, or new questions."""
_REWARDS: dict[str, dict[str, Any]] = {
    "exact": {"kind": "exact"},
    "noisy": {"kind": "noisy", "rate": 0.2},
    "learnt": {"kind": "learnt"},
}
_SIZES: dict[str, Callable[[int], int]] = {
    "samples": lambda answers: answers,
    "particles": lambda answers: max(1, 3 * answers // 4),  # a search keeps a reserve
    "width": lambda answers: max(1, 3 * answers // 16),
    "expand": lambda answers: max(2, min(4, answers)),
    "moves": lambda answers: answers,
}
"""How many of what a policy is to take where the budget is that of so many answers."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A policy with one set of parameters, for any budget.

    Attributes:
        name: for people.
        kind: the policy's.
        told: parameters that the budget does not decide.
        sized: those that it does.
    """

    name: str
    kind: str
    told: dict[str, Any]
    sized: tuple[str, ...] = ()

    def policy(self, answers: int) -> Policy:
        """The policy where the budget is that of so many greedy answers."""
        sizes = {name: _SIZES[name](answers) for name in self.sized}
        return from_params(self.kind, {**sizes, **self.told})


def arms(
    kinds: Sequence[str], model: str, *, steps: bool, stronger: str | None = None
) -> tuple[list[Arm], dict[str, str]]:
    """The arms of these kinds on `model`, and why others are left out, by kind.

    `steps` says whether the model goes on from partial answers; `stronger` is a model for what
    `model` is not sure of.
    """
    found: list[Arm] = []
    left_out: dict[str, str] = {}
    for kind in kinds:
        known = {field.name: field for field in fields(TTC[kind]) if field.init}
        if kind == "chain" and stronger is not None:
            found.append(_chain(model, stronger))
            continue
        reason = _unfit(kind, known, steps)
        if reason:
            left_out[kind] = reason
            continue
        told: dict[str, Any] = {"model": model, **_PINNED.get(kind, {})}
        if "steps" in known:
            told["steps"] = {"tokens": 1}
        variants = _VARIANTS.get(kind, {kind: {}})
        if "reward" in known:
            variants = {f"{kind}, {name} reward": {"reward": one} for name, one in _REWARDS.items()}
        for name, variant in variants.items():
            sized = tuple(
                size for size in _SIZES if size in known and size not in {**told, **variant}
            )
            arm = Arm(name, kind, {**told, **variant}, sized)
            try:
                arm.policy(4)
            except (PlanError, ParamError) as error:
                left_out[name] = str(error)
            else:
                found.append(arm)
    return found, left_out


def _chain(model: str, stronger: str) -> Arm:
    vote = {"kind": "vote", "model": model, "samples": 4}
    links = [{"ask": vote, "accept": 0.75}, {"ask": stronger}]
    return Arm(f"chain, vote of 4, then {stronger}", "chain", {"links": links})


def _unfit(kind: str, known: dict[str, Any], steps: bool) -> str:
    """Why a policy with these fields cannot run; empty if it can."""
    if kind in _SPOKEN:
        return "it speaks to its models in words, and these answer given questions alone"
    if kind == "chain":
        return "there is no stronger model"
    if "model" not in known:
        return "it has no single model"
    if not steps and _STEPPED & set(known):
        return "it needs more than recorded answers: partial ones, or a verifier of texts"
    given = {"model", "reward", *_SIZES}
    missing = [
        name
        for name, field in known.items()
        if name not in given and field.default is MISSING and field.default_factory is MISSING
    ]
    return f"it needs {', '.join(missing)}" if missing else ""
