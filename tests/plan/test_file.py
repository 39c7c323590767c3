"""The plan file: small, the same for the same plan, and refused with its key when wrong."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import recordings

from farthing.core.errors import PlanError
from farthing.core.money import Cost
from farthing.plan import Plan, Promise, load_plan, make_plan, save_plan
from farthing.plan.file import as_json, dumps
from farthing.policies import Single
from farthing.policies.scored import Step
from farthing.policies.threshold import Threshold
from farthing.signals.agreement import Agreement
from farthing.signals.registry import SIGNALS


@pytest.fixture(scope="module")
def plan():
    promise = Promise(Cost.from_usd("0.002"), 0.2, "pac", 0.1)
    return make_plan(recordings.recording(120), ["m0", "m1", "m2"], promise, name="p")


def test_file_reads_back_and_is_stable(plan, tmp_path):
    save_plan(plan, tmp_path / "p.toml")
    again = load_plan(tmp_path / "p.toml")
    assert dumps(again) == dumps(plan) == (tmp_path / "p.toml").read_text()
    assert again.policy == plan.policy
    assert again.certificate == plan.certificate
    assert len(dumps(plan)) < 4000


def test_json_has_the_promised_keys(plan):
    data = as_json(plan)
    assert set(data) >= {
        "feasible", "mode", "alpha", "delta", "n_calibration", "budget_usd", "models",
        "thresholds", "samples", "expected", "baselines",
    }  # fmt: skip
    assert set(data["expected"]) == {"quality", "cost_usd_mean", "regret", "violation_rate"}
    assert [row["name"] for row in data["baselines"]] == ["m0", "m1", "m2", "random", "oracle"]
    assert data["models"] == ["m0", "m1", "m2"]
    assert data["samples"] == [5, 5, 5]
    assert data["thresholds"][-1] == "always"
    assert (data["n_calibration"], data["mode"], data["delta"]) == (120, "pac", 0.1)


def edited(plan, tmp_path, old: str, new: str):
    text = dumps(plan)
    assert old in text
    path = tmp_path / "edited.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema 2 is not known"),
        ("schema = 1\n", "", "'schema' is missing"),
        ('kind = "cascade"', 'kind = "poll"', "no policy is called 'poll'"),
        ('models = ["m0", ', "models = [", "policy calls \\['m0'\\]"),
        ('answer = "text"', 'answer = "number"', "no way to read an answer"),
        ('mode = "pac"', 'mode = "sure"', "'marginal' or 'pac'"),
        ("alpha = 0.2", "alpha = 2", "alpha must lie"),
        ('budget_usd = "0.002"', 'budget_usd = "cheap"', "not an amount"),
        ("n_pilot = 60\n", "", "'n_pilot' is missing"),
        ("[source]", "[sauce]", "unknown key 'sauce'"),
        ("[policy]", "[policy", "not TOML"),
    ],
)
def test_mistakes_are_named(plan, tmp_path, old, new, message):
    path = edited(plan, tmp_path, old, new)
    with pytest.raises(PlanError, match=f"edited.toml: .*{message}"):
        load_plan(path)


def test_unreadable_file_and_place(plan, tmp_path):
    with pytest.raises(PlanError, match="no such file"):
        load_plan(tmp_path / "none.toml")
    with pytest.raises(PlanError, match="cannot be read"):
        load_plan(tmp_path)
    with pytest.raises(PlanError, match="cannot be written"):
        save_plan(plan, tmp_path / "no" / "p.toml")


def test_single_model_plan_needs_no_certificate(tmp_path):
    from farthing.plan import Plan

    save_plan(Plan("one", Single("m0"), ("m0",)), tmp_path / "one.toml")
    plan = load_plan(tmp_path / "one.toml")
    assert plan.policy == Single("m0")
    assert plan.thresholds == ["always"]
    assert as_json(plan)["budget_usd"] is None


def test_recordings_metadata_sets_the_defaults():
    table = recordings.table(60).replace_schema_metadata(
        {"farthing.answer": "last-number", "farthing.temperature": "0.7", "farthing.sampling": "n"}
    )
    promise = Promise(Cost.from_usd("1"), 0.2)
    made = make_plan(recordings.from_table(table), ["m0", "m1"], promise)
    written = tomllib.loads(dumps(made))
    assert written["answer"] == "last-number"
    assert (written["policy"]["temperature"], written["policy"]["sampling"]) == (0.7, "n")


@dataclass(frozen=True, eq=False)
class Weighing(Agreement):
    """A signal with an array, for the plan file alone."""

    kind: ClassVar[str] = "weighing"

    weights: Any = None

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> Weighing:
        return cls(**params)

    def get_params(self) -> dict[str, Any]:
        return {"pooled": False, "weights": self.weights}


@pytest.fixture
def weighing(monkeypatch):
    monkeypatch.setitem(SIGNALS, "weighing", Weighing)


def test_arrays_stand_in_a_file_beside_the_plan(tmp_path, weighing):
    weights = np.linspace(0.0, 1.0, 100).reshape(50, 2)
    policy = Threshold((Step("m0", 2, Weighing(weights=weights), 0.5), Step("m1")))
    save_plan(Plan("p", policy, ("m0", "m1")), tmp_path / "p.toml")
    text = (tmp_path / "p.toml").read_text()
    assert len(text) < 1000
    assert tomllib.loads(text)["arrays"]["file"] == "p.safetensors"
    again = load_plan(tmp_path / "p.toml")
    assert np.array_equal(again.policy.steps[0].signal.weights, weights)
    assert dumps(again, "p.safetensors") == text
    told = as_json(again)["policy"]
    assert told["arrays"] == {"steps.0.signal.weights": [50, 2]}


def test_arrays_of_another_plan_are_refused(tmp_path, weighing):
    for name, end in (("p", 1.0), ("q", 2.0)):
        weights = np.linspace(0.0, end, 100)
        policy = Threshold((Step("m0", 2, Weighing(weights=weights), 0.5), Step("m1")))
        save_plan(Plan(name, policy, ("m0", "m1")), tmp_path / f"{name}.toml")
    (tmp_path / "p.safetensors").write_bytes((tmp_path / "q.safetensors").read_bytes())
    with pytest.raises(PlanError, match=r"p\.safetensors is not the file of arrays"):
        load_plan(tmp_path / "p.toml")
    (tmp_path / "p.safetensors").unlink()
    with pytest.raises(PlanError, match=r"p\.safetensors, which holds the plan's arrays: No such"):
        load_plan(tmp_path / "p.toml")
