"""From a policy's kind and parameters, as a plan file or a table holds them, to the policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any

from farthing.core.errors import ExtraError, ParamError, PlanError
from farthing.core.protocols import Policy
from farthing.policies.automix import AutoMix, AutoMixPomdp
from farthing.policies.bandit import Bandit
from farthing.policies.cascade import Cascade, Stage
from farthing.policies.cascade_routing import CascadeRouting
from farthing.policies.casebook import Casebook
from farthing.policies.cheapest import Cheapest
from farthing.policies.classifier import Classifier
from farthing.policies.clusters import Clusters
from farthing.policies.decisions import Learnt
from farthing.policies.demonstrated import Demonstrated
from farthing.policies.factors import Factors
from farthing.policies.fallback import Fallback
from farthing.policies.frugal import Frugal
from farthing.policies.hops import Hops
from farthing.policies.mixture import Mixture
from farthing.policies.modelswitch import ModelSwitch
from farthing.policies.nearest import Nearest
from farthing.policies.online import Online
from farthing.policies.passages import Passages
from farthing.policies.rational import Rational
from farthing.policies.single import Single
from farthing.policies.threshold import Threshold
from farthing.policies.tokens import Tokens
from farthing.policies.ttc.registry import TTC

LEARNT: dict[str, type[Learnt]] = {
    policy.kind: policy
    for policy in (
        Threshold,
        Rational,
        CascadeRouting,
        Hops,
        Frugal,
        Tokens,
        Mixture,
        AutoMix,
        AutoMixPomdp,
        ModelSwitch,
        Nearest,
        Clusters,
        Factors,
        Classifier,
        Bandit,
    )
}
"""The policies that are learnt from a recording, by their kinds."""

LIVE: dict[str, Any] = {
    policy.kind: policy for policy in (Online, Casebook, Demonstrated, Passages)
}
"""The policies that are not learnt from a recording: they learn as they answer, or change what a
model is asked."""

POLICIES: dict[str, Any] = {
    Single.kind: Single,
    Cascade.kind: Cascade,
    Fallback.kind: Fallback,
    Cheapest.kind: Cheapest,
    **LEARNT,
    **LIVE,
    **TTC,
}


def from_params(kind: str, params: dict[str, Any]) -> Policy:
    """The policy of this kind.

    Raises PlanError if there is no such kind, ParamError, which says where, for parameters that
    are not known, missing or wrong.
    """
    if kind not in POLICIES:
        raise PlanError(f"no policy is called {kind!r}; known: {', '.join(POLICIES)}")
    _check(POLICIES[kind], params, ())
    if kind == Cascade.kind:
        if not isinstance(params["stages"], list | tuple):
            raise ParamError("stages is a list of tables", place=("stages",))
        for index, stage in enumerate(params["stages"]):
            _check(Stage, stage, ("stages", f"[{index}]"))
    try:
        built: Policy = POLICIES[kind].from_params(params)
        return built
    except PlanError:
        raise
    except (TypeError, ValueError, KeyError, ExtraError) as error:
        raise ParamError(f"policy {kind!r} cannot be built: {error}") from error


def from_table(table: Any, place: tuple[str, ...]) -> Policy:
    """The policy in a table that has its `kind` too; errors as of `from_params`, at `place`."""
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise ParamError("want a model's name, or a table with a policy's kind", place=place)
    params = dict(table)
    try:
        return from_params(params.pop("kind"), params)
    except ParamError as error:
        raise ParamError(str(error), place=(*place, *error.place)) from error
    except PlanError as error:
        raise ParamError(str(error), place=(*place, "kind")) from error


def policies_in(policy: Policy) -> Iterator[Policy]:
    """The policy and all within it."""
    yield policy
    if isinstance(policy, Fallback):
        for choice in policy.models:
            if not isinstance(choice, str):
                yield from policies_in(choice)
    for part in getattr(policy, "parts", ()):
        yield from policies_in(part)


def models_of(policy: Policy) -> tuple[str, ...]:
    """All models that a policy may call, the strongest last: of fallbacks that is the first."""
    match policy:
        case Single():
            return (policy.model,)
        case Cascade():
            return tuple(dict.fromkeys(stage.model for stage in policy.stages))
        case Cheapest():
            return policy.models
        case Fallback():
            last: dict[str, None] = {}
            for choice in reversed(policy.models):
                for model in (choice,) if isinstance(choice, str) else models_of(choice):
                    last.pop(model, None)
                    last[model] = None
            return tuple(last)
        case Learnt() | Online() | Casebook() | Demonstrated() | Passages():
            return policy.asks
    if getattr(policy, "kind", None) in TTC:
        asks: tuple[str, ...] = policy.asks  # type: ignore[attr-defined]
        return asks
    raise TypeError(f"{type(policy).__name__} is no policy of the registry")


def _check(kind: type[Any], params: Any, place: tuple[str, ...]) -> None:
    """ParamError if `params` are not the parameters of the dataclass `kind`."""
    if not isinstance(params, dict):
        raise ParamError("want a table", place=place)
    known = {field.name: field for field in fields(kind) if field.init}
    for name in params:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise ParamError(f"unknown parameter {name!r}; {hint}", place=(*place, name))
    for name, field in known.items():
        if name not in params and field.default is MISSING and field.default_factory is MISSING:
            raise ParamError(f"missing parameter {name!r}", place=place)
