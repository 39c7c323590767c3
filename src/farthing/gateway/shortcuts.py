"""Plans that need no configuration: a name such as `vote-5` says all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from farthing.core.protocols import Model, Policy
from farthing.gateway.service import ServedPlan
from farthing.policies.registry import models_of
from farthing.policies.ttc.best_of_n import BestOfN
from farthing.policies.ttc.short import Short
from farthing.policies.ttc.vote import SelfConsistency
from farthing.signals.steps import ModelSteps

MOST = 64
"""Samples that a name can ask for."""

_NAME = re.compile(
    r"(?:(?P<kind>vote|best-of)|short-(?P<finished>[1-9][0-9]?)-of)-(?P<samples>[1-9][0-9]?)"
    r"(?:-(?P<model>.+))?"
)
_FORMS = {
    "vote-": "vote-N or vote-N-MODEL",
    "best-of-": "best-of-N or best-of-N-MODEL",
    "short-": "short-M-of-N or short-M-of-N-MODEL, M at most N",
}


def shortcut(name: str, models: Mapping[str, Model], answer: str) -> ServedPlan | None:
    """The plan that `name` describes; None if it describes none.

    `vote-N`, `best-of-N` and `short-M-of-N`, with `-MODEL` behind it for another model than the
    last of `models`, which also grades the answers of `best-of`. N is `MOST` at most.
    """
    found = None if name in models else _NAME.fullmatch(name)
    if found is None or not models:
        return None
    strongest = list(models)[-1]
    model, samples = found["model"] or strongest, int(found["samples"])
    finished = int(found["finished"] or 1)
    if model not in models or not finished <= samples <= MOST:
        return None
    policy: Policy
    if found["finished"] is not None:
        policy = Short(model, samples, finished)
    elif found["kind"] == "vote":
        policy = SelfConsistency(model, samples)
    else:
        policy = BestOfN(model, ModelSteps(strongest), samples)
    return ServedPlan(name, models_of(policy), policy, answer, by_name=True)


def form_of(name: str) -> str | None:
    """How a name that begins as `name` does is to be written; None if none begins so."""
    form = next((form for begin, form in _FORMS.items() if name.startswith(begin)), None)
    return None if form is None else f"{form}, with N from 1 to {MOST}"
