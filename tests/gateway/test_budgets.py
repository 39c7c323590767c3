"""Budgets at a listening gateway: what is let through, what it is charged, what is refused."""

import asyncio
import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from openai import NOT_GIVEN, APIStatusError, APITimeoutError, RateLimitError

from farthing.budgets.book import BudgetBook
from farthing.budgets.limits import Budget, RateLimit
from farthing.budgets.spending import list_budgets
from farthing.budgets.stored import Budgets
from farthing.budgets.windows import Window
from farthing.core.errors import UpstreamError
from farthing.core.money import Cost
from farthing.gateway.alerts import Alerts
from farthing.ledger import Ledger
from farthing.ledger.keyring import KeyRing
from farthing.ledger.keys import Key, Keys

HELLO = [{"role": "user", "content": "hello"}]
ONE = Cost.from_usd("0.00003")  # what the parrot costs: 10 tokens at $1 and 2 at $10 a million
FRESH_S = 0.05


@pytest.fixture
def path(tmp_path):
    return tmp_path / "farthing.db"


@pytest.fixture
def store(path):
    with Budgets(path) as store:
        yield store


@pytest.fixture
async def gateway(start, path, store):
    gateway = await start()
    gateway.service.ledger = Ledger.open(path)
    gateway.service.budgets = BudgetBook(path, gateway.service.ledger, fresh_s=FRESH_S)
    return gateway


async def ask(gateway, model="parrot", api_key="none", **options):
    options = {"messages": HELLO, "max_tokens": 2, **options}
    known = {client.api_key: client for client in gateway.clients}
    client = known.get(api_key) or gateway.client(api_key=api_key)
    return await client.chat.completions.with_raw_response.create(model=model, **options)


async def admission_of(gateway):
    await gateway.service.budgets.has_limits()
    return gateway.service.budgets.admission


async def spent(gateway, name):
    return (await admission_of(gateway)).state(name).spent


async def settled(gateway, name):
    for _ in range(500):
        if not (await admission_of(gateway)).open:
            break
        await asyncio.sleep(0.01)
    return await spent(gateway, name)


async def called(gateway, times):
    for _ in range(1000):
        if len(gateway.parrot.calls) >= times:
            return
        await asyncio.sleep(0.005)


async def until_refused(gateway, **options):
    for _ in range(20):
        try:
            await ask(gateway, **options)
        except RateLimitError as error:
            return refused(error)
    raise AssertionError("nothing was refused")


def refused(error):
    assert error.status_code == 429
    assert error.body["type"] == "insufficient_quota"
    assert error.body["code"] == "budget_exceeded"
    return error.response.headers


@pytest.mark.parametrize("mode", ["quantile", "worst-case"])
async def test_a_hundred_at_once_stay_within_ten(gateway, store, mode):
    store.set(Budget("ten", ONE * 10, mode=mode, window=Window.parse("day")))
    gateway.parrot.delay_s = 0.05
    answers = await asyncio.gather(*(ask(gateway) for _ in range(100)), return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, RateLimitError)]
    assert 0 < len(answers) - len(refusals) <= 10
    assert len(gateway.parrot.calls) == len(answers) - len(refusals)
    assert await settled(gateway, "ten") == ONE * len(gateway.parrot.calls)
    for error in refusals:
        headers = refused(error)
        assert int(headers["retry-after"]) >= 1
        assert headers["x-farthing-budget-name"] == "ten"
        assert headers["x-farthing-budget-limit-usd"] == "0.0003"
    gateway.parrot.delay_s = 0
    last = await until_refused(gateway)  # used but for what one more request could cost
    assert ONE * 5 <= await spent(gateway, "ten") <= ONE * 10
    assert int(last["retry-after"]) > 1
    assert datetime.fromisoformat(last["x-farthing-budget-resets-at"]) > datetime.now(UTC)


async def test_a_refusal_says_why_and_costs_nothing(gateway, store):
    store.set(Budget("none", Cost(0), scope="model:parrot"))
    for stream in (False, True):
        with pytest.raises(RateLimitError, match=r"budget none \(model:parrot\) of 0 USD") as no:
            await ask(gateway, stream=stream)
        assert refused(no.value)["x-should-retry"] == "false"
        assert "retry-after" not in no.value.response.headers
    assert gateway.parrot.calls == []
    assert await spent(gateway, "none") == Cost(0)
    await ask(gateway, "gpt")


async def test_each_key_has_its_own(gateway, store, path):
    gateway.service.keys = KeyRing(path)
    with Keys(path) as keys:
        alice = keys.create(Key("alice", team="search"))
        bob = keys.create(Key("bob", team="search"))
    store.set(Budget("alice", ONE * 6, scope="key:alice"))
    store.set(Budget("team", ONE * 100, scope="team:search"))
    await ask(gateway, api_key=alice)
    await until_refused(gateway, api_key=alice)
    for _ in range(3):
        await ask(gateway, api_key=bob)
    used = await spent(gateway, "alice")
    assert ONE < used <= ONE * 6
    assert await spent(gateway, "team") == used + ONE * 3


async def test_a_restart_recovers_what_was_spent(gateway, store, path):
    store.set(Budget("total", ONE * 100))
    store.set(Budget("rolling", ONE * 100, window=Window.parse("24h")))
    store.set(Budget("parrot", ONE * 100, scope="model:parrot", window=Window.parse("month")))
    store.set(Budget("cheap", ONE * 100, scope="plan:cheap"))
    store.set(Budget("tagged", ONE * 100, scope="tag:env=prod"))
    await asyncio.gather(*(ask(gateway) for _ in range(4)))
    await ask(gateway, "cheap", extra_headers={"x-farthing-tags": "env=prod"})
    names = ("total", "rolling", "parrot", "cheap", "tagged")
    before = {name: await settled(gateway, name) for name in names}
    assert before["parrot"] == ONE * len(gateway.parrot.calls)
    assert before["total"] == before["rolling"] == ONE * 4 + before["cheap"]
    assert before["cheap"] == before["tagged"] > Cost(0)
    await gateway.service.budgets.aclose()
    gateway.service.budgets = BudgetBook(path, gateway.service.ledger)
    assert {name: await spent(gateway, name) for name in names} == before
    listed = {status.stored.budget.name: status.spent for status in list_budgets(path)[0]}
    assert listed == before


async def test_what_is_set_while_requests_run_counts_them_once(gateway, store):
    store.set(Budget("first", ONE * 100))
    await ask(gateway)
    gateway.parrot.delay_s = 0.5
    running = asyncio.gather(*(ask(gateway) for _ in range(5)))
    await called(gateway, 6)
    store.set(Budget("late", ONE * 100, window=Window.parse("day")))
    store.top_up("first", ONE)
    await asyncio.sleep(FRESH_S)
    admission = await admission_of(gateway)
    assert admission.state("late").open == admission.state("first").open == 5
    assert admission.state("first").limit == ONE * 101
    await running
    assert await settled(gateway, "late") == await spent(gateway, "first") == ONE * 6
    store.remove("late")
    await asyncio.sleep(FRESH_S)
    assert (await admission_of(gateway)).names == ["first"]


async def test_a_rolling_window_forgets(gateway, store):
    store.set(Budget("second", ONE * 6, window=Window(rolling=timedelta(seconds=1))))
    assert (await until_refused(gateway))["retry-after"] == "1"
    await asyncio.sleep(1.1)
    await ask(gateway)


async def test_a_soft_budget_only_warns(gateway, store, caplog):
    caplog.set_level(logging.WARNING)
    store.set(Budget("soft-one", Cost(0), soft=True))
    for _ in range(2):
        answer = await ask(gateway)
        assert answer.headers["x-farthing-budget-warning"] == "soft-one"
    streamed = await ask(gateway, stream=True)
    assert streamed.headers["x-farthing-budget-warning"] == "soft-one"
    assert len([r for r in caplog.records if "soft-one" in r.getMessage()]) == 1
    assert "x-farthing-budget-warning" not in (await _without(gateway, store)).headers


async def _without(gateway, store):
    store.remove("soft-one")
    await asyncio.sleep(FRESH_S)
    return await ask(gateway)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_is_charged_when_its_call_is_booked(gateway, store, stream):
    store.set(Budget("all", ONE * 100))
    gateway.parrot.delay_s = 0.4
    asking = asyncio.ensure_future(ask(gateway, stream=stream))
    await called(gateway, 1)
    asking.cancel()
    await asyncio.sleep(0.05)
    admission = await admission_of(gateway)
    assert len(admission.open) == 1
    assert await settled(gateway, "all") == ONE


async def test_a_call_that_fails_is_charged_as_far_as_it_is_known(gateway, store):
    store.set(Budget("all", ONE * 100))
    with pytest.raises(APIStatusError):
        await ask(gateway, "down")
    assert await settled(gateway, "all") == Cost(0)


async def test_where_the_cost_is_unknown_the_reservation_is_charged(gateway, store, monkeypatch):
    async def complete(request):
        raise UpstreamError("late", model="parrot", kind="timeout")

    monkeypatch.setattr(gateway.parrot, "complete", complete)
    store.set(Budget("all", ONE * 100, mode="worst-case"))
    with pytest.raises(APIStatusError) as late:
        await ask(gateway)
    assert late.value.status_code == 504
    state = (await admission_of(gateway)).state("all")
    assert state.spent == state.assumed > ONE
    assert state.open == 0


async def test_what_a_broken_off_call_cost_is_unknown_and_its_reservation_is_charged(
    gateway, store, path
):
    model = gateway.service.models["gpt"]
    model.card = replace(model.card, on_disconnect="cancel")
    gateway.upstream.delay_s = 0.5
    store.set(Budget("all", ONE * 100, mode="worst-case"))
    with pytest.raises(APITimeoutError):
        await ask(gateway, "gpt", timeout=0.1)
    assert ONE < await settled(gateway, "all") < ONE * 100
    await gateway.service.ledger.flush()
    with closing(sqlite3.connect(path)) as ledger:
        rows = ledger.execute("SELECT status, usage_basis, cost_pico FROM attempts").fetchall()
    assert rows == [("cancelled", "unknown", None)]
    assert gateway.upstream.answered == 0


async def test_worst_case_wants_max_tokens(gateway, store):
    store.set(Budget("all", ONE * 100, mode="worst-case"))
    with pytest.raises(RateLimitError, match="set max_tokens") as no:
        await ask(gateway, max_tokens=NOT_GIVEN)
    assert refused(no.value)["x-should-retry"] == "false"
    await ask(gateway, "cheap")


async def test_an_operation_stops_at_its_cap_with_what_it_has(gateway, store, path):
    store.set(Budget("each", ONE * 1000, per_operation=ONE))
    raw = await ask(gateway, "strict")
    assert raw.headers["x-farthing-stopped"] == "cap"
    told = raw.parse()
    assert told.choices[0].message.content == "hello"
    assert (told.farthing["stopped"], told.farthing["answered_by"]) == ("cap", "parrot")
    assert gateway.upstream.requests == []
    assert await settled(gateway, "each") == ONE * len(gateway.parrot.calls)
    chunks = [chunk async for chunk in (await ask(gateway, "strict", stream=True)).parse()]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello"
    assert chunks[-1].farthing["stopped"] == "cap"
    assert "x-farthing-stopped" not in (await ask(gateway, "parrot")).headers
    await gateway.service.budgets.aclose()
    with closing(sqlite3.connect(path)) as ledger:
        query = "SELECT status, answered_by, answer, stopped FROM outcomes ORDER BY operation_id"
        stopped = ("ok", "parrot", "hello", "cap")
        assert ledger.execute(query).fetchall() == [stopped, stopped, (*stopped[:3], None)]


async def test_budgets_that_cannot_be_read_let_nobody_through(gateway, tmp_path):
    await gateway.service.budgets.aclose()
    nowhere = tmp_path / "nowhere" / "farthing.db"
    gateway.service.budgets = BudgetBook(nowhere, gateway.service.ledger)
    with pytest.raises(APIStatusError) as no:
        await ask(gateway)
    assert no.value.status_code == 503
    assert gateway.parrot.calls == []


async def test_a_webhook_is_told_of_a_soft_budget(gateway, store):
    told = []

    async def hook(http):
        told.append(await http.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    gateway.service.alerts = Alerts(f"http://127.0.0.1:{port}/hook")
    store.set(Budget("soft-two", Cost(0), soft=True))
    for _ in range(3):
        await ask(gateway)
    await gateway.service.drains.wait(5)
    await runner.cleanup()
    [event] = told
    assert (event["event"], event["budget"], event["limit_usd"]) == (
        "budget_exceeded",
        "soft-two",
        "0",
    )


async def test_a_webhook_that_is_away_stops_nothing_and_is_not_named(gateway, store, caplog):
    gateway.service.alerts = Alerts("http://127.0.0.1:9/secret-path")
    store.set(Budget("soft-three", Cost(0), soft=True))
    await ask(gateway)
    await gateway.service.drains.wait(5)
    assert "the webhook of budgets cannot be reached" in caplog.text
    assert "secret-path" not in caplog.text


async def test_a_rate_limit_refuses_with_429(gateway, store):
    store.set_rate(RateLimit("often", requests=3))
    for _ in range(3):
        await ask(gateway)
    with pytest.raises(RateLimitError, match="rate limit often") as no:
        await ask(gateway)
    headers = no.value.response.headers
    assert headers["x-farthing-budget-name"] == "often"
    assert 1 <= int(headers["retry-after"]) <= 60


async def test_tokens_a_minute_are_those_that_were_used(gateway, store):
    store.set_rate(RateLimit("tokens", tokens=2000))
    for _ in range(3):
        await ask(gateway)
    await settled_rates(gateway)
    [tokens] = gateway.service.budgets.admission.shared
    assert tokens.window.amount == 3 * 12
    assert tokens.held == 0


async def settled_rates(gateway):
    for _ in range(100):
        if not gateway.service.budgets.admission.open:
            return
        await asyncio.sleep(0.01)


async def test_a_models_budget_covers_the_calls_of_plans_to_it(gateway, store, path):
    store.set(Budget("parrot", ONE * 100, scope="model:parrot"))
    store.set(Budget("gpt", ONE * 100, scope="model:gpt"))
    await ask(gateway, "cheap")
    assert await settled(gateway, "parrot") == ONE * len(gateway.parrot.calls) > Cost(0)
    assert await spent(gateway, "gpt") == Cost(0)
    store.set(Budget("none", Cost(0), scope="model:parrot"))
    await asyncio.sleep(FRESH_S)
    with pytest.raises(RateLimitError, match="budget none"):
        await ask(gateway, "cheap")
    await gateway.service.ledger.flush()
    with closing(sqlite3.connect(path)) as ledger:
        refused = ledger.execute("SELECT error FROM outcomes WHERE status = 'refused'").fetchall()
    assert len(refused) == 1
    assert refused[0][0].startswith("budget none")


async def test_a_gateway_takes_part_in_budgets_before_its_first_request(gateway, store, path):
    store.set(Budget("all", ONE * 100))
    await gateway.service.start()
    with closing(sqlite3.connect(path)) as ledger:
        known = ledger.execute("SELECT id FROM gateways WHERE ended_at IS NULL").fetchall()
    assert known == [(gateway.service.budgets.gateway,)]
