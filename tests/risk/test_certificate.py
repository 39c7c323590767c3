"""The watch on a certificate: no false alarm beyond its level, and alarms that are due."""

import numpy as np
import pytest

from farthing.risk.certificate import CertificateMonitor, watched_rate
from farthing.risk.exchangeability import ExchangeabilityMonitor
from farthing.risk.monitor import RateMonitor
from farthing.risk.sequence import allowed_marginal

LEVEL = 0.05


def test_pac_mode_watches_alpha_itself():
    assert watched_rate(0.1, LEVEL, mode="pac", questions=200) == (0.1, LEVEL)


def test_marginal_mode_watches_what_calibration_leaves_possible():
    few, left = watched_rate(0.1, LEVEL, mode="marginal", questions=100)
    many, _ = watched_rate(0.1, LEVEL, mode="marginal", questions=10_000)
    assert 0.1 < many < few < 0.25
    assert left == LEVEL / 2
    assert watched_rate(0.5, LEVEL, mode="marginal", questions=1)[0] < 1


def conformal_rates(rng, count, questions, alpha):
    """True violation rates of plans whose threshold was certified on so many questions."""
    allowed = allowed_marginal(questions, alpha)
    # The rate beyond the order statistic that leaves `allowed` questions above it.
    return rng.beta(allowed + 1, questions - allowed, count)


def test_marginal_plans_are_not_alarmed_at_for_an_unlucky_calibration():
    rng, alpha, questions, streams, length = np.random.default_rng(5), 0.1, 200, 200, 4_000
    rates = conformal_rates(rng, streams, questions, alpha)
    assert rates.mean() <= alpha < np.quantile(rates, 0.6)
    rate, left = watched_rate(alpha, LEVEL, mode="marginal", questions=questions)
    alarms = {"watched": 0, "alpha": 0}
    for true in rates:
        over = rng.random(length) < true
        for name, monitor in (
            ("watched", RateMonitor(rate, left)),
            ("alpha", RateMonitor(alpha, LEVEL)),
        ):
            for x in over:
                monitor.update(float(x))
            alarms[name] += monitor.alarm
    assert alarms["watched"] / streams <= LEVEL
    assert alarms["alpha"] / streams > 2 * LEVEL  # what a bet against alpha would do


def test_costs_are_compared_only_where_they_are_those_of_answers():
    costs = ExchangeabilityMonitor([1.0, 2.0], LEVEL, counts=[5, 5, 5])
    monitor = CertificateMonitor(RateMonitor(0.1, LEVEL), costs)
    monitor.update(1.5, False)
    monitor.update(3.0, True, answered=False)
    monitor.skip()
    assert (monitor.rate.outcomes, costs.outcomes) == (2, 1)
    assert (monitor.violations, monitor.unknown) == (1, 1)


def test_the_state_is_all_that_there_is():
    costs = ExchangeabilityMonitor([1.0], LEVEL, counts=[5, 5])
    monitor = CertificateMonitor(RateMonitor(0.1, LEVEL), costs)
    monitor.update(3.0, True)
    again = CertificateMonitor.from_state(monitor.state())
    for one in (monitor, again):
        one.update(0.5, False)
    assert again == monitor
    with pytest.raises(ValueError, match="not the state"):
        CertificateMonitor.from_state({"rate": {}})
