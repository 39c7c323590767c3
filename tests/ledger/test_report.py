import json
from datetime import timedelta

import pytest
from ledger_rows import START, attempt, book, operation, outcome

from farthing.core.errors import LedgerError
from farthing.core.money import Cost, Rates
from farthing.core.response import Sample
from farthing.core.usage import Usage
from farthing.cost import Price, SampleShare
from farthing.ledger import Ledger
from farthing.ledger.plan_report import Conformity
from farthing.ledger.report import make_report

PLAN = {"plan": "cheap", "strongest": "large", "requested": "cheap"}
ENDED = dict.fromkeys(("ok", "failed", "cancelled", "refused", "lost", "unfinished"), 0)
BUDGET = {"budget": Cost(50), "alpha": 0.1}


async def ledger_of(path, *rows):
    async with Ledger.open(path) as ledger:
        await book(ledger, *rows)
    return path


@pytest.fixture
async def ledger(where):
    """Four operations of a plan, one of a single model, one that never ended."""
    return await ledger_of(
        where,
        operation(1, key="alice", **PLAN),
        attempt(1, cost=10),
        outcome(1, answered_by="small", **BUDGET),
        operation(2, key="alice", **PLAN),
        attempt(2, cost=10),
        attempt(2, 1, model="large", cost=60),
        outcome(2, answered_by="large", **BUDGET),
        operation(3, key="bob", **PLAN),
        attempt(3, cost=10),
        attempt(3, 1, model="large", cost=80),
        outcome(3, answered_by="large", **BUDGET),
        operation(4, key="bob", **PLAN),
        attempt(4, tokens=None, samples=(), shares=(), status="failed", error="timeout"),
        attempt(4, 1, model="large", cost=20),
        outcome(4, answered_by="large", **BUDGET),
        operation(5, started_at=START + timedelta(hours=2)),
        attempt(5, model="large", cost=100, started_at=START + timedelta(hours=2)),
        outcome(5, answered_by="large"),
        operation(6, started_at=START + timedelta(hours=3)),
    )


def spends(report):
    return {group.name: group.spend.pico for group in report.groups}


def test_spend_by_each_grouping(ledger):
    assert spends(make_report(ledger, by="model")) == {"small": 30, "large": 260}
    assert spends(make_report(ledger, by="plan")) == {None: 100, "cheap": 190}
    assert spends(make_report(ledger, by="key")) == {None: 100, "alice": 80, "bob": 110}
    assert spends(make_report(ledger, by="day")) == {"2026-01-31": 190, "2026-02-01": 100}


def test_counts_and_tokens(ledger):
    report = make_report(ledger)
    small = next(group for group in report.groups if group.name == "small")
    assert (small.operations, small.attempts, small.failed, small.cancelled) == (4, 4, 1, 0)
    assert (small.unknown_cost, small.unknown_usage, small.estimated_usage) == (1, 1, 0)
    assert small.tokens == {
        "input": 300,
        "cache_read": 0,
        "cache_write": 0,
        "output": 30,
        "reasoning": 0,
        "cache_write_1h": 0,
        "input_audio": 0,
        "output_audio": 0,
        "input_image": 0,
    }
    assert (report.total.operations, report.total.attempts) == (5, 8)
    assert report.total.spend == Cost(290)
    assert report.outcomes == ENDED | {"ok": 5, "unfinished": 1}


def test_the_saving_of_a_plan(ledger):
    (plan,) = make_report(ledger).plans
    assert (plan.plan, plan.strongest, plan.operations, plan.compared) == ("cheap", "large", 4, 3)
    assert plan.saving.spent == Cost(10 + 70 + 90)
    # Operation 1 by the mean of all that the large model was asked anywhere, which is two answers
    # here, one whose operation is of unknown cost, and one outside of the plan.
    assert plan.saving.strongest == Cost(60 + 80 + (60 + 80 + 100) // 3)
    assert (plan.saving.basis, plan.saving.answered_by_strongest) == ("estimated", 2)


def test_the_violations_of_a_certificate(ledger):
    (plan,) = make_report(ledger).plans
    (certificate,) = plan.certificates
    assert certificate == Conformity(Cost(50), 0.1, operations=3, violations=2, unknown=1)
    assert certificate.rate == pytest.approx(2 / 3)
    # Clopper and Pearson, 2 of 3.
    assert certificate.interval == pytest.approx((0.09429932, 0.99159624), abs=1e-7)


def test_since_leaves_out_what_started_before(ledger):
    report = make_report(ledger, since=START + timedelta(hours=1))
    assert spends(report) == {"large": 100}
    assert report.outcomes == ENDED | {"ok": 1, "unfinished": 1}
    assert report.plans == ()


def test_json_is_safe_and_exact(ledger):
    told = json.loads(json.dumps(make_report(ledger).as_json(), allow_nan=False))
    assert told["total"]["spend_usd"] == "0.00000000029"
    assert told["plans"][0]["strongest_basis"] == "estimated"
    assert told["plans"][0]["certificates"][0]["violation_rate"] == pytest.approx(2 / 3)
    assert told["since"] is None


async def test_an_empty_ledger(where):
    report = make_report(await ledger_of(where))
    assert report.groups == ()
    assert report.total.spend == Cost(0)
    assert report.total.tokens["input"] is None
    assert report.plans == ()


async def test_names_come_in_the_order_of_their_bytes(where):
    names = ["b", "B", "a", "é", "Z", "z", "a_b", "aB"]
    tagged = [operation(n, tags={"t": name}, key=name) for n, name in enumerate(names)]
    path = await ledger_of(where, *tagged, operation(8), *(attempt(n) for n in range(9)))
    for by in ("key", "tag:t"):
        found = [group.name for group in make_report(path, by=by).groups]
        assert found == [None, *sorted(names)], by


async def test_a_tag_that_holds_a_nul_hides_no_other(where):
    path = await ledger_of(where, operation(1, tags={"a": "x\0", "b": "y"}), attempt(1, cost=1))
    assert spends(make_report(path, by="tag:b")) == {"y": 1}


async def test_sums_past_64_bits_are_exact(where):
    most = 2**63 - 1
    path = await ledger_of(where, operation(1), *(attempt(1, nth, cost=most) for nth in range(5)))
    assert make_report(path).total.spend == Cost(5 * most)


async def test_a_strongest_model_that_was_never_asked(where):
    samples = (Sample("a"), Sample("b"))
    shares = (SampleShare(4, Cost(1), "exact"), SampleShare(6, Cost(1), "exact"))
    path = await ledger_of(
        where,
        operation(1, **PLAN),
        attempt(1, cost=10, usage=Usage(5, 2, 0, 10), samples=samples, shares=shares),
        outcome(1),
    )
    (plan,) = make_report(path).plans
    assert plan.saving is None
    assert plan.as_json()["strongest_usd"] is None
    (plan,) = make_report(path, price=lambda _: Price(Rates(10, 100), "config")).plans
    assert (plan.saving.strongest, plan.saving.basis) == (Cost(7 * 10 + 5 * 100), "modelled")


async def test_several_samples_of_the_strongest_count_as_one_answer(where):
    samples = (Sample("a"), Sample("b"))
    shares = (SampleShare(4, Cost(30), "exact"), SampleShare(6, Cost(50), "exact"))
    path = await ledger_of(
        where,
        operation(1, **PLAN),
        attempt(1, model="large", cost=60, samples=samples, shares=shares),
        outcome(1),
    )
    (plan,) = make_report(path).plans
    assert plan.saving.strongest == Cost(40)


async def test_a_violation_needs_no_full_knowledge(where):
    path = await ledger_of(
        where,
        operation(1, **PLAN),
        attempt(1, cost=51),
        attempt(1, 1, tokens=None),
        outcome(1, **BUDGET),
    )
    ((certificate,),) = (plan.certificates for plan in make_report(path).plans)
    assert certificate == Conformity(Cost(50), 0.1, operations=1, violations=1, unknown=0)


@pytest.mark.parametrize(
    ("violations", "n", "interval"),
    [(0, 10, (0.0, 0.3084971)), (10, 10, (0.6915029, 1.0)), (5, 100, (0.0164319, 0.1128349))],
)
def test_clopper_and_pearson(violations, n, interval):
    conformity = Conformity(Cost(1), None, n, violations, 0)
    assert conformity.interval == pytest.approx(interval, abs=1e-6)


def test_an_unknown_grouping(ledger):
    with pytest.raises(LedgerError, match="one of model, plan, key, day"):
        make_report(ledger, by="colour")


async def test_spend_by_tags(where):
    path = where
    tags = [{"user": "al", "team": "x"}, {"user": "bo", "a.b": "1"}, {"user": "al"}, {}]
    async with Ledger.open(path) as ledger:
        for n, told in enumerate(tags):
            await book(ledger, operation(n, tags=told), attempt(n, cost=10**n), outcome(n))
    assert spends(make_report(path, by="user")) == {None: 1000, "al": 101, "bo": 10}
    assert spends(make_report(path, by="team")) == {None: 1110, "x": 1}
    assert spends(make_report(path, by="tag:a.b")) == {None: 1101, "1": 10}
    assert spends(make_report(path, by="tag:nowhere")) == {None: 1111}
    for wrong in ("tag:", 'tag:a"b', "colour"):
        with pytest.raises(LedgerError, match="cannot group by"):
            make_report(path, by=wrong)


@pytest.fixture
async def mixed(where):
    """Attempts of every kind, of unknown cost, and with estimated tokens; refusals and stops."""
    zero = {"cost": 0, "usage": Usage(), "price_source": "cache", "shares": ()}
    return await ledger_of(
        where,
        operation(1, **PLAN),
        attempt(1, cost=10),
        attempt(1, 1, cost=3, kind="judge", model="large", tokens=(7, 1)),
        attempt(1, 2, tokens=None, kind="retry", status="failed", samples=(), shares=()),
        attempt(1, 3, cost=5, kind="fallback", usage_basis="estimated"),
        outcome(1, stopped="cap"),
        operation(2, **PLAN),
        attempt(2, kind="cache", **zero),
        outcome(2),
        operation(3),
        attempt(3, tokens=(50, 5), price_source="config; no price for web_search"),
        outcome(3),
        operation(4, key="alice"),
        outcome(4, "refused", error="too dear"),
        operation(5),
        outcome(5, "lost"),
    )


def test_attempts_by_what_they_were_for(mixed):
    report = make_report(mixed, by="kind")
    assert {group.name: group.attempts for group in report.groups} == {
        **{"cache": 1, "fallback": 1, "judge": 1, "retry": 1, "sample": 2}
    }
    assert spends(report) == {"cache": 0, "fallback": 5, "judge": 3, "retry": 0, "sample": 10}


def test_refusals_and_stops_are_counted_on_their_own(mixed):
    report = make_report(mixed)
    assert report.outcomes == ENDED | {"ok": 3, "refused": 1, "lost": 1}
    assert (report.stopped, report.as_json()["stopped_by_cap"]) == (1, 1)
    assert report.total.operations == 3  # those that called something


def test_what_share_is_not_exact(mixed):
    total = make_report(mixed).total
    assert (total.attempts, total.operations, total.all_tokens) == (6, 3, 110 + 8 + 110 + 55)
    assert (total.unknown_cost, total.unknown_cost_operations) == (2, 2)
    assert (total.unknown_cost_tokens, total.unknown_usage) == (55, 1)
    assert (total.estimated_usage, total.estimated_operations) == (1, 1)
    assert total.estimated_tokens == 110
    told = json.loads(json.dumps(total.as_json()))
    assert (told["unknown_cost_operations"], told["unknown_cost_tokens"]) == (2, 55)
    assert (told["estimated_usage_operations"], told["estimated_usage_tokens"]) == (1, 110)


async def test_judgements_and_caches_are_no_answers_of_the_strongest(where):
    path = await ledger_of(
        where,
        operation(1, **PLAN),
        attempt(1, cost=10),
        attempt(1, 1, model="large", cost=3, kind="judge"),
        outcome(1),
        operation(2, **PLAN),
        attempt(2, model="large", cost=0, kind="cache", usage=Usage(), shares=()),
        outcome(2),
        operation(3),
        attempt(3, model="large", cost=1, kind="judge"),
        outcome(3),
    )
    (plan,) = make_report(path).plans
    assert (plan.operations, plan.compared, plan.saving) == (2, 1, None)


async def test_a_price_by_the_second_models_no_cost_of_tokens(where):
    path = await ledger_of(where, operation(1, **PLAN), attempt(1, cost=10), outcome(1))
    own = Price(Rates(0, 0), "own GPU", per_second=10**9)
    (plan,) = make_report(path, price=lambda _: own).plans
    assert plan.saving is None
