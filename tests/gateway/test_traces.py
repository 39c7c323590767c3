"""Spans of operations and calls, as OpenTelemetry gets them."""

import asyncio
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from farthing.core.errors import ConfigError
from farthing.gateway.config import load
from farthing.gateway.server import run
from farthing.gateway.traces import Traces
from farthing.gateway.watching import WatchedLedger

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
async def gateway(start, exporter):
    gateway = await start()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Traces(provider, lambda name: "openai" if name == "gpt" else "farthing")
    gateway.service.ledger = WatchedLedger(gateway.ledger, [traces])
    return gateway


async def spans(exporter, count):
    for _ in range(300):
        found = exporter.get_finished_spans()
        if len(found) >= count:
            break
        await asyncio.sleep(0.01)
    assert len(found) == count
    return found


async def ask(gateway, model, **headers):
    body = {"model": model, "messages": [{"role": "user", "content": "hello secret"}]}
    async with gateway.http.post("/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        return answer


async def test_a_call_continues_the_clients_trace_to_its_upstream(gateway, exporter):
    await ask(gateway, "gpt", traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="a=b")
    call, operation = await spans(exporter, 2)
    assert (call.name, operation.name) == ("chat gpt", "farthing gpt")
    assert f"{operation.context.trace_id:032x}" == TRACE
    assert f"{operation.parent.span_id:016x}" == PARENT
    assert call.parent.span_id == operation.context.span_id
    sent = gateway.upstream.headers[0]
    assert sent["traceparent"] == f"00-{TRACE}-{call.context.span_id:016x}-01"
    assert sent["tracestate"] == "a=b"
    told = dict(call.attributes)
    assert told.pop("farthing.attempt").startswith("op_")
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt",
        "gen_ai.response.id": "chatcmpl-fake",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 5,
        "farthing.node": "single",
        "farthing.kind": "sample",
        "farthing.status": "ok",
        "farthing.cost_usd": "0.0000574",
    }
    assert operation.attributes["farthing.cost_usd"] == "0.0000574"
    assert "secret" not in call.to_json() + operation.to_json()


async def test_a_plan_has_a_span_for_each_call(gateway, exporter):
    await ask(gateway, "strict")
    *calls, operation = await spans(exporter, 3)
    assert [call.name for call in calls] == ["chat parrot", "chat gpt"]
    assert {call.parent.span_id for call in calls} == {operation.context.span_id}
    assert operation.parent is None
    assert operation.attributes["farthing.plan"] == "strict"
    assert operation.attributes["farthing.attempts"] == 2
    assert operation.attributes["gen_ai.response.model"] == "gpt"
    (sent,) = gateway.upstream.headers
    assert sent["traceparent"].split("-")[2] == f"{calls[1].context.span_id:016x}"


async def test_a_call_that_fails_is_an_error(gateway, exporter):
    gateway.upstream.status = 500
    answer = await ask(gateway, "gpt")
    assert answer.status == 502
    call, operation = await spans(exporter, 2)
    assert call.attributes["error.type"] == "UpstreamError"
    assert not call.status.is_ok
    assert not operation.status.is_ok


async def test_requests_at_once_do_not_mix(gateway, exporter):
    gateway.upstream.delay_s = 0.1
    traces = [f"{number:032x}" for number in range(1, 9)]
    await asyncio.gather(
        *(ask(gateway, "gpt", traceparent=f"00-{trace}-{PARENT}-01") for trace in traces)
    )
    found = await spans(exporter, 16)
    operations = {span.context.span_id: span for span in found if span.name == "farthing gpt"}
    calls = [span for span in found if span.name == "chat gpt"]
    assert sorted(f"{call.context.trace_id:032x}" for call in calls) == traces
    for call in calls:
        assert operations[call.parent.span_id].context.trace_id == call.context.trace_id


async def test_without_traces_none_is_passed_on(start):
    gateway = await start()
    await ask(gateway, "gpt", traceparent=f"00-{TRACE}-{PARENT}-01")
    assert "traceparent" not in gateway.upstream.headers[0]


def test_traces_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "farthing.gateway.traces", None)
    path = tmp_path / "farthing.toml"
    path.write_text("[gateway]\ntraces = true\n[models.m]\nkind = 'tiny'\nsize = 'small'\n")
    with pytest.raises(
        ConfigError, match=r"toml:2: gateway\.traces: .* pip install 'farthing\[otel"
    ):
        run(load(path), print)
