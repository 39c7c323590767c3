"""What is counted, and what is logged."""

import asyncio
import json
import logging
import re

import pytest
from openai import RateLimitError

from farthing.budgets.book import BudgetBook
from farthing.budgets.limits import Budget
from farthing.budgets.stored import Budgets
from farthing.core.money import Cost
from farthing.gateway.logs import JsonFormatter, OperationLog, operations
from farthing.gateway.metrics import MOST_BUDGETS, OTHERS, Metrics, Picture
from farthing.gateway.watching import Story, WatchedLedger
from farthing.ledger import Ledger

HELLO = [{"role": "user", "content": "hello secret"}]


def watch(gateway):
    metrics = gateway.service.metrics = Metrics()
    gateway.service.ledger = WatchedLedger(gateway.ledger, [metrics, OperationLog()])
    return gateway


@pytest.fixture
async def gateway(start):
    return watch(await start())


async def read(gateway, **headers):
    """The metrics by name and labels."""
    async with gateway.http.get("/metrics", headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        lines = (await answer.text()).splitlines()
    told = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("farthing_"): float(value) for name, _, value in told}


async def ask(gateway, model, **settings):
    client = gateway.client()
    return await client.chat.completions.create(model=model, messages=HELLO, **settings)


async def test_requests_attempts_tokens_and_dollars(gateway):
    await ask(gateway, "gpt")
    await ask(gateway, "strict")
    told = await read(gateway)
    assert told['operations_total{model="gpt",plan="",status="ok"}'] == 1
    assert told['operations_total{model="gpt",plan="strict",status="ok"}'] == 1
    assert told['attempts_total{kind="sample",model="gpt",status="ok"}'] == 2
    assert told['attempts_total{kind="sample",model="parrot",status="ok"}'] == 1
    assert told['tokens_total{leaf="input",model="gpt"}'] == 14
    assert told['tokens_total{leaf="cache_read",model="gpt"}'] == 8
    assert told['tokens_total{leaf="output",model="gpt"}'] == 10
    booked = sum(a.cost.pico for a in gateway.ledger.attempts if a.model == "gpt")
    assert told['cost_usd_total{model="gpt"}'] == pytest.approx(booked / 10**12, rel=1e-12)
    assert told['http_responses_total{code="200"}'] == 2
    assert told["operation_seconds_count"] == told["added_latency_seconds_count"] == 2
    assert told["operations_in_flight"] == 0


async def test_added_latency_is_without_the_upstreams(gateway):
    gateway.upstream.delay_s = 0.4
    await ask(gateway, "gpt")
    told = await read(gateway)
    assert told["operation_seconds_sum"] > 0.4
    assert told["added_latency_seconds_sum"] < 0.3


async def test_whether_certificates_are_kept(gateway):
    await ask(gateway, "cheap")
    told = await read(gateway)
    assert told['certificate_operations_total{kept="yes",plan="cheap"}'] == 1
    assert told['certificate_alpha{plan="cheap"}'] == 0.1


async def test_failures_and_what_clients_do_wrong(gateway):
    gateway.upstream.status = 500
    async with gateway.http.post("/v1/chat/completions", json={"model": "gpt", "messages": HELLO}):
        pass
    async with gateway.http.post("/v1/chat/completions", data=b"{"):
        pass
    async with gateway.http.get("/no/such/address"):
        pass
    told = await read(gateway)
    assert told['operations_total{model="gpt",plan="",status="failed"}'] == 1
    assert told['unknown_cost_attempts_total{model="gpt"}'] == 1
    codes = {name: n for name, n in told.items() if name.startswith("http_responses_total")}
    assert codes == {f'http_responses_total{{code="{code}"}}': 1 for code in (400, 404, 502)}


async def test_no_label_holds_what_clients_choose(gateway):
    async with gateway.http.post(
        "/v1/chat/completions",
        json={"model": "gpt", "messages": HELLO, "user": "someone"},
        headers={"x-farthing-question": "my-question", "x-farthing-tags": "team=search"},
    ) as answer:
        assert answer.status == 200
    async with gateway.http.post(
        "/v1/chat/completions", json={"model": "invented-model", "messages": HELLO}
    ) as answer:
        assert answer.status == 404
    async with gateway.http.get("/metrics") as answer:
        text = await answer.text()
    for word in ("secret", "someone", "my-question", "search", "invented-model"):
        assert word not in text


async def test_they_are_protected_unless_they_are_open(start):
    closed = watch(await start(token="master"))
    async with closed.http.get("/metrics") as answer:
        assert answer.status == 401
    assert await read(closed, Authorization="Bearer master")
    opened = watch(await start(token="master", metrics_open=True))
    assert await read(opened)


async def test_budgets_and_refusals(start, tmp_path):
    gateway = await start()
    where = tmp_path / "ledger.db"
    with Budgets(where) as store:
        store.set(Budget("everyone", Cost.from_usd("0.0002"), mode="worst-case"))
    metrics = gateway.service.metrics = Metrics()
    ledger = gateway.service.ledger = WatchedLedger(Ledger.open(where), [metrics])
    gateway.service.budgets = BudgetBook(where, ledger)
    gateway.upstream.delay_s = 0.55
    asked = asyncio.create_task(ask(gateway, "gpt", max_tokens=5))
    held, told = 0.0, {}
    while not held and not asked.done():
        told = await read(gateway)
        held = told.get('budget_held_usd{budget="everyone"}', 0.0)
    assert 0.0001 < held == told['budget_in_flight_usd{budget="everyone"}'] <= 0.0002
    assert held <= told['budget_lease_usd{budget="everyone"}'] <= 0.0002
    assert told["operations_in_flight"] == 1
    with pytest.raises(RateLimitError):
        await ask(gateway, "gpt", max_tokens=5)
    await asked
    for _ in range(200):
        told = await read(gateway)
        if not told['budget_held_usd{budget="everyone"}']:
            break
        await asyncio.sleep(0.01)
    assert told['refusals_total{limit="everyone"}'] == 1
    assert told['operations_total{model="gpt",plan="",status="refused"}'] == 1
    assert told['budget_held_usd{budget="everyone"}'] == 0
    assert told['ledger_state{state="ok"}'] == 1


def test_many_budgets_are_told_as_one():
    metrics = Metrics()
    amounts = {f"user-{number}": (10**12, 0, 0) for number in range(1000)}
    metrics.show(
        Picture(
            in_flight=0,
            drains=0,
            connections=0,
            ledger="ok",
            bypass=False,
            alphas={},
            amounts=amounts,
        )
    )
    for name in amounts:
        metrics.refused(name)
    text = metrics.text().decode()
    assert f'farthing_budget_held_usd{{budget="{OTHERS}"}} {1000 - MOST_BUDGETS}.0' in text
    assert text.count("farthing_refusals_total{") == MOST_BUDGETS + 1


async def test_an_operation_is_a_line_of_the_log(gateway, caplog):
    caplog.set_level(logging.INFO, operations.name)
    await ask(gateway, "strict")
    (record,) = [r for r in caplog.records if r.name == operations.name]
    text = record.getMessage()
    (operation,) = gateway.ledger.operations
    cost = sum((a.cost for a in gateway.ledger.attempts), Cost(0))
    assert re.fullmatch(
        rf"operation={operation.id} requested=strict plan=strict answered_by=gpt status=ok "
        rf"stream=False attempts=2 cost_usd={cost} latency_s=[\d.e-]+ upstream_s=[\d.e-]+",
        text,
    )
    told = json.loads(JsonFormatter().format(record))
    assert told["operation"] == operation.id
    assert told["cost_usd"] == str(cost)
    assert told["level"] == "INFO"
    assert "secret" not in text + json.dumps(told)


async def test_a_watcher_that_fails_keeps_nothing_from_being_booked(gateway, caplog):
    class Broken:
        def begun(self, story: Story) -> None:
            raise RuntimeError("begun")

        called = ended = begun

    gateway.service.ledger = WatchedLedger(gateway.ledger, [Broken()])
    await ask(gateway, "gpt")
    assert len(gateway.ledger.outcomes) == 1
    assert caplog.text.count("is not watched") == 3
