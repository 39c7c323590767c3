"""Policies as tables of their parameters, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self

from farthing.policies.ttc.drawing import CLIENTS
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.steps import Steps
from farthing.signals.steps import reward_from_params


class Parametrised:
    """What policies have in common whose parameters are told as they are."""

    __slots__ = ()

    def get_params(self) -> dict[str, Any]:
        """The constructor's parameters."""
        return params_of(self)

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Self:
        """The policy with these parameters."""
        return cls(**built(params))


def params_of(policy: Any) -> dict[str, Any]:
    """The parameters of a policy's dataclass, those of what is within it as tables."""
    told: dict[str, Any] = {}
    for one in fields(policy):
        value = getattr(policy, one.name)
        table = value.get_params() if hasattr(value, "get_params") else value
        if one.name == "reward":
            table = {"kind": value.kind, **table}
        if one.name == "temperature" and value is None:
            table = CLIENTS
        told[one.name] = table
    return told


def built(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the tables `steps`, `spending` and `reward` made into what they describe."""
    made = dict(params)
    for name, make in (
        ("steps", Steps.from_params),
        ("spending", Spending.from_params),
        ("reward", reward_from_params),
    ):
        if isinstance(made.get(name), Mapping):
            made[name] = make(made[name])
    if made.get("temperature") == CLIENTS:
        made["temperature"] = None
    return made
