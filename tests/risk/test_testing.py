"""Certified settings break the promise as seldom as promised, whatever the rule; and MAPIE."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control.fwer_control import control_fwer

from farthing.risk import binomial, graph, testing

ALPHA, DELTA, N, TRIALS = 0.1, 0.1, 120, 4_000
RATES = np.array([0.02, 0.05, 0.08, 0.101, 0.13, 0.2, 0.06, 0.101])

RULES = {
    "bonferroni": testing.bonferroni,
    "holm": testing.holm,
    "fixed sequence": testing.fixed_sequence,
    "two starts": lambda p, delta: testing.fixed_sequence(p, delta, starts=(0, 6)),
    "fallback": testing.fallback,
    "graph": lambda p, delta: graph.graphical(p, delta, *graph.chains([6, 2])),
}


def at_most(rate, trials=TRIALS):
    return rate + 3 * math.sqrt(rate * (1 - rate) / trials)


@pytest.mark.parametrize("shared", [True, False], ids=["nested", "independent"])
def test_bad_settings_are_certified_as_seldom_as_promised(shared):
    """Each setting at delta, without a rule, certifies a bad one too often."""
    rng = np.random.default_rng(1)
    draws = rng.random((TRIALS, 1 if shared else len(RATES), N))
    p = binomial.p_values((draws < RATES[:, None]).sum(axis=2), N, ALPHA)
    bad = dict.fromkeys(RULES, 0)
    certified = dict.fromkeys(RULES, 0)
    for row in p:
        for name, rule in RULES.items():
            found = rule(row, DELTA)
            bad[name] += (found & (RATES > ALPHA)).any()
            certified[name] += found.sum()
    assert max(bad.values()) <= at_most(DELTA) * TRIALS, bad
    if shared:
        assert bad["fixed sequence"] > 0.04 * TRIALS
    naive = ((p <= DELTA) & (RATES > ALPHA)).any(axis=1)
    if not shared:
        assert naive.mean() > at_most(DELTA)
    assert certified["bonferroni"] <= certified["holm"]
    assert certified["bonferroni"] < certified["graph"]


def test_a_pilot_order_goes_further_than_bonferroni_and_one_from_the_same_data_fails():
    """Settings of unknown order. Nested: the boldest certified. Equal and bad: any certified."""
    rng = np.random.default_rng(2)
    boldest: dict[str, list[float]] = {"bonferroni": [], "pilot": []}
    bad = {"pilot": 0, "same data": 0}
    pilot, test = slice(0, 80), slice(80, 400)

    def p_values(violated):
        return binomial.p_values(violated.sum(axis=1), violated.shape[1], ALPHA)

    for _ in range(1_000):
        rates = rng.permutation(np.linspace(0.01, 0.2, 60))
        violated = rng.random((1, 400)) < rates[:, None]
        order = testing.pilot_order(p_values(violated[:, pilot]))
        found = order[testing.fixed_sequence(p_values(violated[order][:, test]), DELTA)]
        bad["pilot"] += (rates[found] > ALPHA).any()
        plain = testing.bonferroni(p_values(violated), DELTA)
        boldest["bonferroni"].append(rates[plain].max(initial=0.0))
        boldest["pilot"].append(rates[found].max(initial=0.0))

        violated = rng.random((60, 400)) < 0.11
        order = testing.pilot_order(p_values(violated))
        bad["same data"] += testing.fixed_sequence(p_values(violated[order]), DELTA).any()
    assert np.mean(boldest["pilot"]) > 1.1 * np.mean(boldest["bonferroni"])
    assert 20 < bad["pilot"] <= at_most(DELTA, 1_000) * 1_000
    assert bad["same data"] > 500


def test_rules_by_hand():
    p = [0.01, 0.04, 0.2, 0.03, 0.001]
    as_list = {
        name: np.flatnonzero(rule(p, 0.1)).tolist()
        for name, rule in RULES.items()
        if name not in ("two starts", "graph")
    }
    assert as_list == {
        "bonferroni": [0, 4],
        "holm": [0, 1, 3, 4],
        "fixed sequence": [0, 1],
        "fallback": [0, 1, 4],
    }
    assert testing.fixed_sequence(p, 0.1, starts=(0, 3)).tolist() == [1, 1, 0, 1, 1]
    assert testing.pilot_order(p, most=0.1).tolist() == [4, 0, 3, 1]


P_VALUES = st.lists(
    st.sampled_from([0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.5]), min_size=1, max_size=6
)


@given(P_VALUES)
def test_the_graph_is_all_other_rules(p):
    """Holm, a fixed sequence and the fallback are graphs."""
    count = len(p)
    even = np.full(count, 1 / count)
    complete = (1 - np.eye(count)) / max(count - 1, 1)
    onward = np.eye(count, k=1)
    first = np.eye(count)[0]
    assert (graph.graphical(p, 0.1, even, complete) == testing.holm(p, 0.1)).all()
    assert (graph.graphical(p, 0.1, first, onward) == testing.fixed_sequence(p, 0.1)).all()
    assert (graph.graphical(p, 0.1, even, onward) == testing.fallback(p, 0.1)).all()
    assert (graph.graphical(p, 0.1, even, 0 * onward) == testing.bonferroni(p, 0.1)).all()


@given(P_VALUES, st.randoms(use_true_random=False))
def test_the_graph_does_not_depend_on_the_order_of_rejection(p, random):
    """Permuting settings, weights and transitions permutes what is certified."""
    weights, transitions = graph.chains([len(p), 2])
    p = [*p, 0.02, 0.02]
    order = list(range(len(p)))
    random.shuffle(order)
    whole = graph.graphical(p, 0.1, weights, transitions)
    again = graph.graphical(
        np.array(p)[order], 0.1, weights[order], transitions[np.ix_(order, order)]
    )
    assert (whole[order] == again).all()


def test_a_finished_chain_hands_on_its_level():
    weights, transitions = graph.chains([2, 2])
    p = [0.01, 0.01, 0.08, 0.08]
    assert graph.graphical(p, 0.1, weights, transitions).all()
    assert not graph.graphical([0.01, 0.06, 0.08, 0.08], 0.1, weights, transitions)[1:].any()


def test_nonsense_is_refused():
    for weights in ([0.5], [0.7, 0.7], [-0.1, 0.5]):
        with pytest.raises(ValueError, match="want 2 weights"):
            testing.fallback([0.1, 0.1], 0.1, weights)
    with pytest.raises(ValueError, match="start 2 is none"):
        testing.fixed_sequence([0.1, 0.1], 0.1, starts=(2,))
    even = [0.5, 0.5]
    for wrong in (np.eye(2), [[0, 1.1], [0, 0]], [[0, -0.1], [0, 0]]):
        with pytest.raises(ValueError, match="nothing to itself"):
            graph.graphical([0.1, 0.1], 0.1, even, wrong)
    with pytest.raises(ValueError, match="of shape"):
        graph.graphical([0.1, 0.1], 0.1, even, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="at least one"):
        graph.chains([2, 0])


def test_no_settings():
    for rule in (testing.bonferroni, testing.holm, testing.fixed_sequence, testing.fallback):
        assert len(rule([], 0.1)) == 0


def test_mapie_certifies_the_same():
    grid = (0.0, 0.01, 0.024, 0.03, 0.05, 0.2)
    for p in itertools.product(grid, repeat=4):
        for name, theirs in (
            ("bonferroni", "bonferroni"),
            ("holm", "bonferroni_holm"),
            ("fixed sequence", "fixed_sequence"),
        ):
            found = np.flatnonzero(RULES[name](p, 0.1))
            assert found.tolist() == control_fwer(np.array(p), 0.1, theirs).tolist()
