"""Plans of learnt policies: kept, explained and replayed as any other."""

from __future__ import annotations

import io

import numpy as np
import recordings
from rich.console import Console

from farthing.models.draw import draw
from farthing.plan import Plan, load_plan, replay_plan, save_plan
from farthing.plan.explain import explain, summarise
from farthing.plan.replay import as_json
from farthing.policies.decisions import rightness
from farthing.policies.threshold import Threshold


def test_replay_is_what_the_policy_decides(tmp_path):
    made = recordings.recording(90)
    drawn = draw(made, ["m0", "m1", "m2"], 3)
    policy = Threshold.fit(drawn, rightness(drawn))[8]
    save_plan(Plan("p", policy, ("m0", "m1", "m2")), tmp_path / "p.toml")
    plan = load_plan(tmp_path / "p.toml")
    done = replay_plan(plan, made)
    counts = [plan.policy.samples.get(model, 1) for model in plan.models]
    decided = plan.policy.decide(draw(made, plan.models, counts))
    assert np.array_equal(done.result.cost, decided.cost)
    assert np.array_equal(done.result.answered, decided.model)
    assert done.attempts == decided.calls.sum()
    told = Console(file=io.StringIO(), width=100)
    told.print(explain(plan))
    told.print(summarise(as_json(done)))
    text = told.file.getvalue()
    assert "threshold, learnt from recorded answers" in text
    assert "accepted if agreement >= " in text
