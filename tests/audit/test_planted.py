"""Every planted mistake is found, none is invented, and amounts are exact."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

import planted_logs as planted
import pytest

from farthing.audit.causes import CAUSES
from farthing.audit.pricing import Pricing
from farthing.audit.run import audit, deviations
from farthing.audit.source import open_source
from farthing.cli.prices import open_prices

EACH = 12
UNTOLD = {  # what a format cannot tell is not planted in it
    "generic": (),
    "litellm": (),
    "pair": ("from_cache",),
    "langfuse": ("from_cache", "retry", "searches", "written_1h"),
    "row": ("searches", "written_1h"),
}
NAMES = {"pair": "openai", "row": "columns"}


@pytest.fixture(scope="module")
def pricing(tmp_path_factory):
    path = tmp_path_factory.mktemp("prices") / "prices.toml"
    path.write_text(planted.CONFIG)
    return lambda: Pricing(*open_prices(path))


@pytest.fixture
def found(tmp_path, pricing):
    def run(kind, calls):
        records = [getattr(planted, kind)(call) for call in calls]
        if kind == "row":
            path = planted.write_table(tmp_path / "log.csv", records)
        else:
            path = planted.write_lines(tmp_path / "log.jsonl", records)
        mapping = planted.COLUMNS if kind == "row" else None
        source = open_source(str(path), mapping=mapping)
        assert source.format == NAMES.get(kind, kind)
        with deviations(tmp_path / "lines.csv") as deviation:
            done = audit([source], pricing(), deviation=deviation)
        with (tmp_path / "lines.csv").open() as file:
            lines = {int(row["line"]): row for row in csv.DictReader(file)}
        return done, lines

    return run


def told(kind, calls):
    """The calls that a format can tell of."""
    return [
        call
        for call in calls
        if not call.written_1h and not any(getattr(call, name) for name in UNTOLD[kind])
    ]


@pytest.mark.parametrize("kind", UNTOLD)
def test_all_planted_mistakes_are_found_and_none_invented(kind, found):
    calls = told(kind, planted.plant(7, EACH))
    _, lines = found(kind, calls)
    first = 2 if kind == "row" else 1
    planted_lines = {
        number: " and ".join(call.causes) for number, call in enumerate(calls, first) if call.causes
    }
    assert {number: row["causes"] for number, row in lines.items()} == planted_lines
    for number, call in enumerate(calls, first):
        if call.causes:
            row = lines[number]
            assert Decimal(row["true_usd"]) == call.true
            assert Decimal(row["claimed_usd"]) == call.claimed
            assert Decimal(row["difference_usd"]) == call.claimed - call.true


@pytest.mark.parametrize("kind", UNTOLD)
def test_totals_are_exact(kind, found):
    calls = told(kind, planted.plant(8, EACH))
    done, _ = found(kind, calls)
    findings = done.findings
    both = [call for call in calls if call.true is not None and call.claimed is not None]
    silent = [call for call in calls if call.claimed is None]
    strangers = [call for call in calls if call.true is None]
    assert findings.all.lines == len(calls)
    assert findings.compared == len(both)
    assert findings.all.claimed.usd == sum(call.claimed for call in both)
    assert findings.all.true.usd == sum(call.true for call in both)
    assert findings.all.unclaimed.usd == sum(call.true for call in silent)
    assert findings.unpriced["unknown_model"].lines == len(strangers)
    assert findings.unpriced["unknown_model"].claimed.usd == sum(c.claimed for c in strangers)
    assert not findings.skipped
    lines = Counter(cause for call in calls for cause in call.causes)
    assert {name: one.lines for name, one in findings.causes.items()} == lines
    by_cause = sum(one.difference.usd for one in findings.causes.values())
    assert by_cause == findings.all.difference.usd
    for name, one in findings.causes.items():
        alone = [c for c in calls if c.causes == (name,)]
        if len(alone) == one.lines:
            assert one.difference.usd == sum(call.claimed - call.true for call in alone)


def test_every_cause_is_planted():
    causes = {cause for call in planted.plant(7, EACH) for cause in call.causes}
    assert causes == set(CAUSES)


def test_binary_fractions_are_no_mistake(found):
    """Claims as a program with binary floating point writes them, with up to 17 digits."""
    calls = [
        replace(call, claimed=Decimal(repr(float(call.claimed) + 1e-17)))
        for call in planted.plant(9, EACH)
        if call.claimed and not call.written_1h and call.causes != ("rounding",)
    ]
    done, lines = found("generic", calls)
    assert done.sources[0].decimals is None
    assert {n: row["causes"] for n, row in lines.items()} == {
        n: " and ".join(call.causes) for n, call in enumerate(calls, 1) if call.causes
    }


def test_a_log_that_rounds_its_claims(found):
    """To six places: what is off by less is rounding, and what is off by more keeps its cause."""
    cent = Decimal("0.000001")
    calls = [
        replace(call, claimed=call.claimed.quantize(cent, ROUND_HALF_EVEN))
        for call in planted.plant(10, EACH)
        if call.claimed is not None and not call.written_1h
        if call.causes != ("rounding",)
    ]
    done, lines = found("generic", calls)
    assert done.sources[0].decimals == 6
    for number, call in enumerate(calls, 1):
        causes = lines[number]["causes"] if number in lines else ""
        if call.causes:
            assert causes == " and ".join(call.causes), call
        else:
            assert causes in ("", "rounding")
    whole = done.findings.all.difference
    assert sum(one.difference.pico for one in done.findings.causes.values()) == whole.pico
