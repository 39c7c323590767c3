"""Certificates hold end to end; errors say what would help."""

from __future__ import annotations

import numpy as np
import pytest
import recordings

from farthing.core.errors import CalibrationError, DataError, InfeasibleError
from farthing.core.money import Cost
from farthing.models.draw import draw
from farthing.plan.calibrate import Promise, calibrate
from farthing.plan.evaluate import apply_candidate
from farthing.plan.outcomes import Outcomes

MODELS = ["m0", "m1", "m2"]
ALPHA, DELTA = 0.2, 0.1


@pytest.fixture(scope="module")
def population():
    return draw(recordings.recording(3000, 3, 3, 1, null=0.02), MODELS, 3)


def promise(usd: str, alpha: float = ALPHA, mode: str = "marginal") -> Promise:
    return Promise(Cost.from_usd(usd), alpha, mode, DELTA if mode == "pac" else None)


@pytest.mark.parametrize("signal", ["agreement", "conf_raw"])
@pytest.mark.parametrize("mode", ["marginal", "pac"])
def test_certified_plans_violate_as_seldom_as_promised(population, signal, mode):
    """True rates over the population, of plans made on 80 questions at a time."""
    rng = np.random.default_rng(3)
    outcomes = Outcomes(population, signal)
    asked = promise("0.0015", mode=mode)
    rates = []
    for trial in range(150):
        some = np.sort(rng.choice(population.questions, 80, replace=False))
        try:
            found = calibrate(population.select(some), asked, signal=signal, seed=trial)
        except InfeasibleError:
            rates.append(0.0)
            continue
        over = apply_candidate(outcomes, found.chosen).violated(asked.budget.pico)
        rates.append(over.mean())
    assert max(rates) > ALPHA / 2  # the budget binds, so that the promise is at stake
    if mode == "marginal":
        assert np.mean(rates) <= ALPHA + 3 * np.std(rates) / np.sqrt(len(rates))
    else:
        broken = np.mean(np.array(rates) > ALPHA)
        assert broken <= DELTA + 3 * np.sqrt(DELTA * (1 - DELTA) / len(rates))


def test_same_data_and_seed_same_plan(population):
    part = population.select(np.arange(100))
    one, two = (calibrate(part, promise("0.0015"), seed=4).chosen for _ in range(2))
    assert one == two


def test_generous_budget_asks_the_strongest(population):
    found = calibrate(population.select(np.arange(60)), promise("1"))
    assert found.result.regret.sum() == 0
    assert found.violations == 0


@pytest.mark.parametrize(("mode", "alpha"), [("marginal", 0.01), ("pac", 0.01), ("pac", 0.1)])
def test_too_few_questions_say_how_many_are_needed(population, mode, alpha):
    asked = promise("0.0015", alpha, mode)
    with pytest.raises(CalibrationError, match="at least") as caught:
        calibrate(population.select(np.arange(20)), asked)
    needed = caught.value.needed
    assert caught.value.given == 20
    with pytest.raises(CalibrationError):
        calibrate(population.select(np.arange(needed - 1)), asked)
    calibrate(population.select(np.arange(needed)), promise("1", alpha, mode))


def test_infeasible_budget_names_a_feasible_one(population):
    part = population.select(np.arange(80))
    for mode in ("marginal", "pac"):
        with pytest.raises(InfeasibleError, match="would do") as caught:
            calibrate(part, promise("0.00000001", mode=mode))
        usd = caught.value.feasible_budget_usd
        assert usd is not None
        calibrate(part, promise(usd, mode=mode))


def test_one_model_leaves_nothing_to_choose():
    with pytest.raises(DataError, match="at least two"):
        calibrate(draw(recordings.recording(50), ["m0"], 1), promise("1"))


@pytest.mark.parametrize(
    ("alpha", "delta", "usd"), [(0.0, 0.1, "1"), (1.0, 0.1, "1"), (0.1, 0.0, "1"), (0.1, 0.1, "0")]
)
def test_senseless_promises_are_refused(alpha, delta, usd):
    with pytest.raises(DataError, match=r"alpha|delta|budget"):
        Promise(Cost.from_usd(usd), alpha, "pac", delta)
