"""What each lever says of logs whose savings are known."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
import recordings

from farthing.audit.findings import Findings
from farthing.audit.levers.memory import ENDS, Seen, beginnings, digest
from farthing.audit.levers.routed import Routed
from farthing.audit.levers.together import Levers
from farthing.audit.line import Line
from farthing.audit.pricing import Pricing, cost_of
from farthing.core.errors import DataError
from farthing.core.money import Cost, Rates
from farthing.core.usage import Usage
from farthing.cost import Price, PriceBook
from farthing.models.recording import from_table

START = datetime(2026, 5, 1, tzinfo=UTC)
AUTO = Rates(100, 400, cache_read=10)  # picodollars a token; the vendor caches by itself
PAID = Rates(100, 400, cache_read=10, cache_write=125, cache_write_1h=200)
BOOK = PriceBook(
    {
        "auto": [
            Price(AUTO, "test"),
            Price(Rates(50, 200, cache_read=5), "test", service_tier="batch"),
        ],
        "paid": Price(PAID, "test"),
        "cheap": Price(Rates(1, 2), "test"),
    }
)


def line(number, prompt=None, *, model="auto", minutes=None, usage=None, **more):
    at = START + timedelta(minutes=number if minutes is None else minutes)
    if usage is None:
        usage = Usage(len(prompt) // 4 if prompt else 100, output=100)
    return Line(number, model, usage, prompt=prompt, at=at, **more)


def levers(*lines):
    pricing = Pricing(BOOK)
    found = Levers(pricing)
    for one in lines:
        price = pricing.price(one)
        found.add(one, price, cost_of(one, price))
    alone = found.alone()
    return {lever.name: lever for lever in alone} | {"together": found.together(alone)}


def text(seed, length):
    return "".join(random.Random(seed).choices("abcdefgh ", k=length))


def picos(lever):
    return lever.low.pico, lever.saving.pico, lever.high.pico


def test_duplicates_by_what_speaks_for_the_same_answer():
    cost = 25 * 100 + 100 * 400
    prompt = text(1, 100)
    asked = [line(0, prompt), line(1, prompt)]
    assert picos(levers(*asked)["duplicates"]) == (0, cost, cost)
    same = [line(0, prompt, answer="x"), line(1, prompt, answer="x")]
    assert picos(levers(*same)["duplicates"]) == (cost, cost, cost)
    other = [line(0, prompt, answer="x"), line(1, prompt, answer="y")]
    assert picos(levers(*other)["duplicates"]) == (0, 0, cost)
    greedy = [line(0, prompt, answer="x"), line(1, prompt, answer="y", temperature=0.0)]
    assert picos(levers(*greedy)["duplicates"]) == (cost, cost, cost)
    apart = [line(0, prompt), line(1, prompt, model="cheap"), line(2, prompt + "?")]
    assert picos(levers(*apart)["duplicates"]) == (0, 0, 0)
    known = [line(0, question="q"), line(1, question="q"), line(2)]
    found = levers(*known)
    assert found["duplicates"].saving.pico == 100 * 100 + 100 * 400
    assert "prefix_cache" not in found


def test_failed_calls_are_no_duplicates():
    prompt = text(1, 100)
    found = levers(line(0, prompt, status="failed"), line(1, prompt))
    assert picos(found["duplicates"]) == (0, 0, 0)


def test_prefixes_are_read_from_the_cache_while_it_lives():
    shared = text(1, 8192)  # 2,048 tokens, and a length at which beginnings are compared
    prompts = [shared + text(seed, 800) for seed in (2, 3, 4)]
    lines = [
        line(0, prompts[0], minutes=0),
        line(1, prompts[1], minutes=4),
        line(2, prompts[2], minutes=30),
    ]
    found = levers(*lines)["prefix_cache"]
    gain = 2048 * (100 - 10)
    assert picos(found) == (gain, gain, 2 * gain)
    assert found.lines == 2


def test_writing_to_the_cache_is_charged_once():
    shared = text(1, 8192)
    lines = [
        line(n, shared + text(n + 2, 800), model="paid", minutes=minutes)
        for n, minutes in enumerate((0, 2, 4))
    ]
    found = levers(*lines)["prefix_cache"]
    five_minutes = 2 * 2048 * 90 - 2048 * 25
    an_hour = 2 * 2048 * 90 - 2048 * 100
    assert picos(found) == (an_hour, five_minutes, five_minutes)


def test_what_is_cached_already_or_too_short_is_not_counted():
    shared = text(1, 8192)
    tokens = len(shared + text(2, 800)) // 4
    cached = Usage(tokens - 2048, 2048, 0, 100)
    lines = [line(n, shared + text(n + 2, 800), usage=cached) for n in range(2)]
    assert picos(levers(*lines)["prefix_cache"]) == (0, 0, 0)
    short = [line(n, text(1, 4000) + text(n + 2, 800)) for n in range(2)]
    assert picos(levers(*short)["prefix_cache"]) == (0, 0, 0)


def test_boilerplate_is_what_was_seen_often():
    shared = text(1, 512)
    lines = [line(n, shared + text(n + 2, 512), minutes=n * 100) for n in range(30)]
    found = levers(*lines)["shorter_prompts"]
    worth = 20 * 128 * 100  # from the eleventh on
    assert picos(found) == (0, worth // 2, worth)
    ends = [line(n, text(n + 2, 512) + shared, minutes=n * 100) for n in range(30)]
    assert picos(levers(*ends)["shorter_prompts"]) == (0, worth // 2, worth)


def test_answers_beyond_the_usual_length():
    lines = [line(n, usage=Usage(10, output=100)) for n in range(95)]
    lines += [line(n, usage=Usage(10, output=1000)) for n in range(95, 100)]
    found = levers(*lines)["shorter_answers"]
    assert picos(found) == (0, 5 * 900 * 400, 5 * 900 * 400)
    assert found.lines == 5


def test_reasoning():
    found = levers(line(0, usage=Usage(10, output=5, reasoning=100)))["less_reasoning"]
    assert picos(found) == (0, 20_000, 40_000)


def test_batches_of_what_was_not_streamed():
    cost = 100 * 100 + 100 * 400
    lines = [line(0, stream=False), line(1, stream=True), line(2), line(3, service_tier="batch")]
    found = levers(*lines, line(4, model="paid"))["batch"]
    assert picos(found) == (0, cost // 2, 3 * cost // 2)
    assert (found.lines, found.note) == (3, "1 lines of models without a price for batches")


def test_routing_is_a_ceiling_that_does_not_count_together():
    long = Usage(5000, output=100)
    found = levers(line(0), line(1, usage=long), line(2, model="cheap"))
    short, all_ = 100 * 99 + 100 * 398, 5000 * 99 + 100 * 398
    assert picos(found["routing"]) == (0, short, short + all_)
    assert found["routing"].ceiling
    assert found["together"].saving.pico == 0
    assert found["together"].high.pico >= short + all_


def test_providers_of_the_same_model():
    pricing = Pricing()
    one = Line(1, "openai/gpt-oss-120b", Usage(10**6, output=10**6), at=START)
    price = pricing.price(Line(1, "baseten/openai/gpt-oss-120b", one.usage, at=START))
    dear = Line(1, "baseten/openai/gpt-oss-120b", one.usage, at=START)
    found = Levers(pricing)
    found.add(dear, price, cost_of(dear, price))
    lever = next(lever for lever in found.alone() if lever.name == "providers")
    prices = [
        pricing.named(name, dear).rates.cost(dear.usage)
        for name in pricing.book.elsewhere(pricing.card(dear))
        if pricing.named(name, dear) is not None
    ]
    assert lever.high == cost_of(dear, price) - min(c for c in prices if c.pico)
    assert Cost(0) == lever.low < lever.saving <= lever.high


def test_together_is_less_than_the_sum():
    shared = text(1, 8192)
    lines = [line(n, shared + text(n % 7, 800), minutes=n / 10, stream=False) for n in range(60)]
    found = levers(*lines)
    alone = [lever for name, lever in found.items() if name != "together"]
    spent = sum(cost_of(one, Pricing(BOOK).price(one)).pico for one in lines)
    together = picos(found["together"])
    sums = tuple(map(sum, zip(*map(picos, alone), strict=True)))
    assert max(together) <= spent
    assert together[0] <= sums[0]
    assert 0 < together[1] < sums[1]
    assert together[2] < sums[2]
    best = max(lever.saving.pico for lever in alone)
    assert found["together"].saving.pico >= best


def test_no_prompt_no_lever_on_prompts():
    assert {"duplicates", "shorter_prompts", "prefix_cache"}.isdisjoint(levers(line(0), line(1)))


def test_a_slot_forgets_and_never_invents():
    seen = Seen(4)
    digests = [digest(bytes([n])) for n in range(200)]
    again = [seen.slot(d)[1] for d in digests]
    assert not any(again)
    assert seen.forgotten >= 200 - 16
    assert seen.slot(digests[-1])[1]


def test_beginnings_are_equal_where_texts_begin_alike():
    one, two = text(1, 3000).encode(), (text(1, 1500) + text(2, 1500)).encode()
    a, b = dict(beginnings(b"m", one)), dict(beginnings(b"m", two))
    assert {end for end in a if a[end] == b[end]} == {end for end in ENDS if end <= 1500}
    assert set(a.values()).isdisjoint(dict(beginnings(b"other", one)).values())


def test_routing_measured_on_a_recording():
    table = recordings.table(300, 3, 5)
    routed = Routed.measure(from_table(table, "r.parquet"))
    low, high = routed.interval
    assert low <= routed.share <= high
    findings = Findings()
    one = line(0, model=routed.best)
    findings.sums(one)[1].true += Cost(10**9)
    lever = routed.lever(findings)
    assert lever.how == "measured"
    assert lever.high == Cost(round(max(0.0, high) * 10**9))
    assert routed.lever(Findings()).saving == Cost(0)
    bare = table.drop_columns(["correct"])
    with pytest.raises(DataError, match="graded answers"):
        Routed.measure(from_table(bare, "r.parquet"))


def test_a_log_in_reverse_says_the_same_of_prefixes():
    shared = text(1, 8192)
    lines = [line(n, shared + text(n + 2, 800), minutes=3 * n) for n in range(9)]
    forward, backward = levers(*lines), levers(*reversed(lines))
    assert picos(forward["prefix_cache"]) == picos(backward["prefix_cache"]) != (0, 0, 0)
