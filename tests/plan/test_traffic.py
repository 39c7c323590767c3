"""The costs in a plan file, against which live ones are watched."""

import numpy as np
import pytest
import recordings

from farthing.core.errors import PlanError
from farthing.core.money import PICO_PER_USD, Cost
from farthing.plan._traffic import traffic
from farthing.plan.calibrate import Promise
from farthing.plan.file import load_plan, save_plan
from farthing.plan.make import make_plan
from farthing.risk.exchangeability import ExchangeabilityMonitor


def monitor(told, delta=0.05):
    return ExchangeabilityMonitor(list(told["edges_usd"]), delta, counts=list(told["counts"]))


def test_costs_like_the_recorded_ones_are_no_alarm_and_others_are():
    rng, alarms = np.random.default_rng(4), 0
    for seed in range(100):
        costs = rng.lognormal(0, 0.8, 600) * 1e-4 * PICO_PER_USD
        told = traffic(costs[:200], seed)
        assert sum(told["counts"]) == 100
        same = monitor(told)
        for cost in costs[200:]:
            same.update(cost / PICO_PER_USD)
        alarms += same.alarm
    assert alarms <= 5 + 2 * 2.2  # two standard deviations above the level
    dearer = monitor(told)
    for cost in costs[200:]:
        dearer.update(2 * cost / PICO_PER_USD)
    assert dearer.alarm


def test_too_few_costs_are_not_watched():
    assert traffic(np.arange(19), 0) == {}


def test_a_plan_file_has_those_of_its_certification_questions(tmp_path):
    recording = recordings.recording(150)
    promise = Promise(Cost.from_usd("0.0015"), 0.3)
    made = make_plan(recording, ["m0", "m1", "m2"], promise)
    certify = made.certificate.n_certify
    assert sum(made.traffic["counts"]) == certify - certify // 2
    path = tmp_path / "plan.toml"
    save_plan(made, path)
    assert load_plan(path).traffic == made.traffic
    text = path.read_text()
    for wrong in (
        text.replace("counts = [", "counts = [1, "),
        text.replace("counts = [", "counts = [-1, ").replace("edges_usd = [", "edges_usd = [0.0, "),
        text.replace("edges_usd = [", "edges_usd = [9.0, ").replace("counts = [", "counts = [1, "),
    ):
        path.write_text(wrong)
        with pytest.raises(PlanError, match=r"plan\.toml: traffic: want edges_usd that ascend"):
            load_plan(path)
    path.write_text(text.replace("counts = [", "numbers = ["))
    with pytest.raises(PlanError, match="key 'counts' is missing"):
        load_plan(path)
