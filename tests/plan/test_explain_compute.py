"""Plans that buy quality at request time: written, read again and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from farthing.plan.explain import explain
from farthing.plan.file import Plan, dumps, load_plan
from farthing.policies import from_params
from farthing.policies.registry import models_of
from farthing.policies.ttc.registry import TTC

VOTE = {"kind": "vote", "model": "a", "samples": 5}
REWARD = {"reward": {"kind": "model", "model": "judge"}}
OF_MODEL = {"model": "a"}
PARAMS: dict[str, dict[str, Any]] = {
    "vote": {"model": "a", "spending": {"usd": "0.1"}},
    "short": OF_MODEL,
    "best_of_n": {**OF_MODEL, **REWARD},
    "optscale": {**OF_MODEL, **REWARD},
    "effort": OF_MODEL,
    "concise": OF_MODEL,
    "refine": OF_MODEL,
    "brainstorm": {"members": ["a", VOTE]},
    "mixture_of_agents": {"proposers": ["a", "b"], "aggregator": VOTE},
    "its-hub": {**OF_MODEL, "algorithm": "best-of-n", **REWARD},
    "chain": {"links": [{"ask": VOTE, "accept": 0.8}, {"ask": "b"}]},
}


@pytest.mark.parametrize("kind", PARAMS)
def test_a_plan_comes_back_and_is_explained(kind: str, tmp_path: Path) -> None:
    policy = from_params(kind, PARAMS[kind])
    assert kind in TTC
    plan = Plan("p", policy, models_of(policy), "last-number")
    path = tmp_path / "plan.toml"
    path.write_text(dumps(plan))
    again = load_plan(path)
    assert again.policy == policy
    console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
    console.print(explain(again))
    told = console.export_text()
    assert f"{kind} of {', '.join(models_of(policy))}" in told
    if kind == "chain":
        assert "vote of a: accepted if signal >= 0.8, else" in told
        assert "samples = 5" in told
