"""From a policy's kind and parameters, as a plan file holds them, to the policy."""

from __future__ import annotations

from typing import Any

from farthing.core.errors import PlanError
from farthing.policies.cascade import Cascade
from farthing.policies.single import Single

POLICIES: dict[str, type[Single] | type[Cascade]] = {Single.kind: Single, Cascade.kind: Cascade}


def from_params(kind: str, params: dict[str, Any]) -> Single | Cascade:
    """The policy of this kind; PlanError if there is no such kind or the parameters are wrong."""
    if kind not in POLICIES:
        raise PlanError(f"no policy is called {kind!r}; known: {', '.join(POLICIES)}")
    try:
        return POLICIES[kind].from_params(params)
    except (TypeError, ValueError, KeyError) as error:
        raise PlanError(f"policy {kind!r} cannot be built: {error}") from error
