import numpy as np
import pytest

from farthing.core.money import Cost
from farthing.ledger.saving import SavingTally


def add(tally, spent, alone, *, tokens=100, modelled=None):
    tally.operation(
        Cost(spent),
        input_tokens=tokens,
        alone=None if alone is None else Cost(alone),
        modelled=None if modelled is None else Cost(modelled),
    )


def test_counted_where_the_strongest_answered():
    tally = SavingTally()
    add(tally, 10, 40)
    add(tally, 50, 40)
    saving = tally.result()
    assert (saving.spent, saving.strongest, saving.basis) == (Cost(60), Cost(80), "counted")
    assert saving.share == pytest.approx(0.25)
    assert saving.answered_by_strongest == 2


def test_estimated_by_the_mean_for_inputs_of_the_same_length():
    tally = SavingTally()
    add(tally, 10, 40, tokens=100)
    add(tally, 10, 60, tokens=120)
    add(tally, 10, 1000, tokens=5000)
    add(tally, 10, None, tokens=64)  # of the class of 64 to 127
    add(tally, 10, None, tokens=7000)  # of the class of 4096 to 8191
    add(tally, 10, None, tokens=200)  # of a class without answers; the next one has some
    saving = tally.result()
    assert saving.strongest == Cost(40 + 60 + 1000 + 50 + 1000 + 50)
    assert (saving.basis, saving.operations, saving.answered_by_strongest) == ("estimated", 6, 3)


def test_answers_elsewhere_count_for_the_mean():
    tally = SavingTally()
    add(tally, 10, None, modelled=5)
    add(tally, 10, 40)
    tally.observation(100, Cost(60))
    assert tally.result().strongest == Cost(90)


def test_modelled_by_the_price_when_it_was_never_asked():
    tally = SavingTally()
    add(tally, 10, None, modelled=30)
    add(tally, 10, None, modelled=50)
    assert (tally.result().strongest, tally.result().basis) == (Cost(80), "modelled")


def test_unknown_without_answers_and_price():
    tally = SavingTally()
    assert tally.result() is None
    add(tally, 10, None)
    assert tally.result() is None


def test_one_operation_has_no_interval():
    tally = SavingTally()
    add(tally, 10, 40)
    assert tally.result().interval is None
    assert not tally.result().significant


def test_the_result_is_a_function_of_data_and_seed():
    rng = np.random.default_rng(1)
    tally = SavingTally()
    for spent, alone in rng.integers(1, 100, (300, 2)):
        add(tally, int(spent), int(alone))
    assert tally.result(1) == tally.result(1)
    assert tally.result(1).interval != tally.result(2).interval


def test_no_difference_is_not_significant():
    rng = np.random.default_rng(2)
    tally = SavingTally()
    for spent, alone in rng.integers(1, 10**9, (500, 2)):
        add(tally, int(spent), int(alone))
    low, high = tally.result().interval
    assert low < 0 < high
    assert not tally.result().significant


def test_a_period_in_the_traffic_does_not_widen_the_interval(monkeypatch):
    monkeypatch.setattr("farthing.ledger.saving._GROUPS", 50)
    tally = SavingTally()
    for number in range(2000):
        add(tally, 10 if number % 50 else 500, 100)
    low, high = tally.result().interval
    assert high - low < 0.1  # four standard errors are 0.06


@pytest.mark.parametrize("groups", [1000, 60])
def test_the_interval_covers_the_truth(groups, monkeypatch):
    """A cascade that stops early at random, so that the true saving is known.

    Of 150 intervals of nominal 95%, the number that covers is at least 132 with probability
    over 0.999 if they cover in 95%, and 0.83 if they cover in 90%.
    """
    monkeypatch.setattr("farthing.ledger.saving._GROUPS", groups)
    monkeypatch.setattr("farthing.ledger.saving._REPLICATES", 500)
    rng, n = np.random.default_rng(3), 150
    stop, cheap, dear = 0.7, 10_000, 100_000
    truth = 1 - (cheap + (1 - stop) * dear) / dear
    covered = 0
    for _ in range(150):
        tally = SavingTally()
        for stopped, size in zip(rng.random(n) < stop, rng.exponential(1, (n, 2)), strict=True):
            low, high = int(cheap * size[0]), int(dear * size[1])
            add(tally, low if stopped else low + high, None if stopped else high)
        left, right = tally.result().interval
        covered += left <= truth <= right
    assert covered >= 132
