"""Plans that are no cascade: their file, their JSON, their words."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from farthing.core.errors import PlanError
from farthing.core.protocols import Policy
from farthing.plan.explain import explain
from farthing.plan.file import Plan, as_json, dumps, load_plan
from farthing.policies import Cascade, Cheapest, Fallback, Single, Stage

CASCADE = Cascade((Stage("s", 2, 1.0), Stage("a")))
FALLBACK = Fallback((CASCADE, Single("a"), "b"), on_timeout=True)
CHEAPEST = Cheapest(("a", "b"), 9)


@pytest.mark.parametrize(
    ("policy", "models", "words"),
    [
        (
            FALLBACK,
            ("b", "s", "a"),
            """\
plan p: the next model where one fails, or takes too long
├── first, cascade by agreement, a call for each sample
│   └── s: vote of 2 samples, accepted if agreement >= 1, else
│       └── a: 1 sample, answer accepted
├── if that fails, the answer of a
└── if that fails, b
""",
        ),
        (
            CHEAPEST,
            ("a", "b"),
            """\
plan p: the cheapest model, expecting 9 tokens of output
├── a
└── b
""",
        ),
    ],
)
def test_they_are_kept_told_and_explained(
    policy: Policy, models: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    plan = Plan("p", policy, models)
    path = tmp_path / "plan.toml"
    path.write_text(dumps(plan))
    assert load_plan(path) == plan
    told = as_json(plan)
    assert (told["models"], told["thresholds"], told["samples"]) == (list(models), None, None)
    assert told["policy"] == {"kind": policy.kind, **policy.get_params()}  # type: ignore[attr-defined]
    console = Console(file=io.StringIO(), width=100)
    console.print(explain(plan))
    assert words in console.file.getvalue()  # type: ignore[attr-defined]


def test_json_has_no_numbers_that_it_does_not_know() -> None:
    never = Cascade((Stage("s", 2, math.inf), Stage("a")))
    told = as_json(Plan("p", Fallback((never, "a")), ("s", "a")))
    assert told["policy"]["models"][0]["stages"][0]["accept"] is None
    json.dumps(told, allow_nan=False)


def test_they_are_not_replayed_as_cascades() -> None:
    with pytest.raises(PlanError, match="its policy is no cascade"):
        _ = Plan("p", FALLBACK, ("a",)).cascade
