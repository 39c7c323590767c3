"""What each format tells, field by field, in the shapes that its maker documents."""

from __future__ import annotations

import csv
import gzip
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.audit import fields
from farthing.audit.line import Line, Skipped
from farthing.audit.source import open_source
from farthing.core.errors import DataError, UsageError
from farthing.core.usage import Usage
from farthing.cost import read_usage


def written(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def lines(where, **options):
    source = open_source(where, **options)
    return source, list(source.lines())


OPENAI_BUCKET = {
    "object": "bucket",
    "start_time": 1767225600,
    "end_time": 1767312000,
    "results": [
        {
            "object": "organization.usage.completions.result",
            "input_tokens": 1000,
            "output_tokens": 500,
            "input_cached_tokens": 800,
            "input_audio_tokens": 10,
            "output_audio_tokens": 20,
            "num_model_requests": 5,
            "project_id": None,
            "model": "gpt-4o-mini-2024-07-18",
            "batch": True,
            "service_tier": None,
        }
    ],
}


def test_openai_usage_pages_and_buckets(tmp_path):
    page = tmp_path / "page.json"
    page.write_text(json.dumps({"object": "page", "data": [OPENAI_BUCKET], "has_more": False}))
    source, (line,) = lines(str(page))
    assert source.format == "openai-usage"
    assert line.usage == Usage(190, 800, 0, 480, input_audio=10, output_audio=20)
    assert (line.requests, line.service_tier, line.claimed) == (5, "batch", None)
    assert line.at.isoformat() == "2026-01-01T00:00:00+00:00"
    empty = OPENAI_BUCKET | {"results": []}
    _, (skipped, again) = lines(written(tmp_path / "b.jsonl", empty, OPENAI_BUCKET))
    assert skipped == Skipped(1, "a bucket without requests", fault=False)
    assert again.usage == line.usage


def test_openai_usage_not_grouped_by_model_is_named(tmp_path):
    result = OPENAI_BUCKET["results"][0] | {"model": None}
    _, (skipped,) = lines(written(tmp_path / "b.jsonl", OPENAI_BUCKET | {"results": [result]}))
    assert skipped.why == "no model: export the usage grouped by model"
    assert skipped.fault


def test_anthropic_usage_report_and_csv(tmp_path):
    bucket = {
        "starting_at": "2026-01-01T00:00:00Z",
        "ending_at": "2026-01-02T00:00:00Z",
        "results": [
            {
                "uncached_input_tokens": 1500,
                "cache_creation": {
                    "ephemeral_1h_input_tokens": 1000,
                    "ephemeral_5m_input_tokens": 500,
                },
                "cache_read_input_tokens": 200,
                "output_tokens": 700,
                "server_tool_use": {"web_search_requests": 10},
                "model": "claude-sonnet-4-5",
                "service_tier": "batch",
                "context_window": "200k-1M",
            }
        ],
    }
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"data": [bucket], "has_more": False, "next_page": None}))
    source, (line,) = lines(str(report))
    assert source.format == "anthropic-usage"
    assert line.usage == Usage(1500, 200, 500, 700, 0, 1000)
    assert (line.service_tier, line.calls, line.requests) == ("batch", {"web_search": 10}, 0)
    assert line.long_context
    table = tmp_path / "console.csv"
    row = {
        "usage_date_utc": "2026-01-01",
        "model_version": "claude-sonnet-4-5",
        "usage_type": "message",
        "context_window": "<= 200k",
        "usage_input_tokens_no_cache": 1500,
        "usage_input_tokens_cache_write_5m": 500,
        "usage_input_tokens_cache_write_1h": 1000,
        "usage_input_tokens_cache_read": 200,
        "usage_output_tokens": 700,
        "web_search_count": 0,
    }
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    source, (again,) = lines(str(table))
    assert source.format == "anthropic-usage"
    assert again.usage == line.usage
    assert (again.service_tier, again.long_context, again.calls) == (None, False, {})


SPEND = {
    "request_id": "chatcmpl-1",
    "call_type": "acompletion",
    "api_key": "hash",
    "spend": 0.000123,
    "total_tokens": 110,
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "startTime": "2026-01-01T00:00:00.500Z",
    "endTime": "2026-01-01T00:00:02Z",
    "model": "gpt-4o-mini",
    "custom_llm_provider": "openai",
    "cache_hit": "False",
    "metadata": {"status": "success", "additional_usage_values": {"cache_read_input_tokens": 64}},
    "messages": [{"role": "user", "content": "hi"}],
    "response": {"choices": [{"message": {"content": "ho"}}]},
    "proxy_server_request": {"stream": False, "temperature": 0},
}


def test_litellm_spend_logs(tmp_path):
    failed = {"metadata": {"status": "failure", "attempted_retries": 2}, "cache_hit": "True"}
    source, (line, other) = lines(written(tmp_path / "s.jsonl", SPEND, SPEND | failed))
    assert source.format == "litellm"
    assert line.usage == Usage(36, 64, 0, 10)
    assert (line.claimed, line.provider, line.seconds) == (Decimal("0.000123"), "openai", 1.5)
    assert (line.prompt, line.answer) == ("user\nhi", "ho")
    assert (line.stream, line.temperature, line.retry) == (False, 0.0, False)
    assert (other.status, other.retry, other.usage) == ("cached", True, Usage(100, output=10))


def observation(**details):
    return {
        "id": "o",
        "traceId": "t",
        "type": "GENERATION",
        "startTime": "2026-01-01T00:00:00Z",
        "model": "gpt-4o-mini",
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "output": {"role": "assistant", "content": "ho"},
        "usageDetails": details,
        "costDetails": {"total": 0.25},
    }


@pytest.mark.parametrize(
    ("details", "usage"),
    [
        ({"input": 30, "output": 10, "total": 40}, Usage(30, output=10)),
        (
            {"input": 30, "input_cached_tokens": 70, "output": 10, "total": 110},
            Usage(30, 70, 0, 10),
        ),
        (
            {"input": 100, "input_cached_tokens": 70, "output": 10, "total": 110},
            Usage(30, 70, 0, 10),
        ),
        (
            {"input": 30, "output": 10, "output_reasoning_tokens": 4, "total": 44},
            Usage(30, output=10, reasoning=4),
        ),
        (
            {"input": 30, "output": 10, "output_reasoning_tokens": 4, "total": 40},
            Usage(30, output=6, reasoning=4),
        ),
        ({"input": 5, "cache_read_input_tokens": 9, "output": 2}, Usage(5, 9, 0, 2)),
    ],
)
def test_langfuse_parts_are_taken_out_where_the_total_says_so(tmp_path, details, usage):
    source, (line,) = lines(written(tmp_path / "o.jsonl", observation(**details)))
    assert source.format == "langfuse"
    assert line.usage == usage
    assert (line.claimed, line.prompt, line.answer) == (Decimal("0.25"), "user\nhi", "ho")


def test_langfuse_lines_that_are_ambiguous_or_no_calls_are_named(tmp_path):
    equal = observation(
        input=100, input_cached_tokens=50, output=100, output_reasoning_tokens=50, total=250
    )
    odd = observation(input=100, output=10, total=115)
    span = observation() | {"type": "SPAN"}
    where = written(tmp_path / "o.jsonl", equal, odd, span, observation(input=1, output=1))
    _, (first, second, third, fourth) = lines(where)
    assert first.why == "the total does not tell which count holds the cached or reasoning tokens"
    assert second.why == "the total is not the sum of input and output"
    assert (third.fault, third.why) == (False, "an observation that calls no model")
    assert isinstance(fourth, Line)


def test_langfuse_arrays_and_tables(tmp_path):
    told = observation(input=30, input_cached_tokens=70, output=10, total=110)
    array = tmp_path / "o.json"
    array.write_text(json.dumps([told] * 3000, indent=1))
    source, read = lines(str(array))
    assert (source.format, len(read), read[-1].number) == ("langfuse", 3000, 3000)
    table = tmp_path / "o.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(told))
        writer.writeheader()
        cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in told.items()}
        writer.writerows([cells | {"output": "two\nlines"}, cells])
    source, (first, second) = lines(str(table))
    assert source.format == "langfuse"
    assert (first.usage, first.claimed, first.answer) == (
        read[0].usage,
        Decimal("0.25"),
        "two\nlines",
    )
    assert (first.number, second.number) == (2, 4)


def test_requests_and_responses(tmp_path):
    chat = {
        "timestamp": 1767225600,
        "request": {
            "model": "gpt-4o-mini",
            "stream": True,
            "messages": [
                {"role": "system", "content": "be short"},
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            ],
        },
        "response": {
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "flex",
            "choices": [{"message": {"role": "assistant", "content": "ho"}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
        },
    }
    batch = {
        "id": "batch_req_1",
        "custom_id": "q1",
        "response": {"status_code": 200, "body": chat["response"] | {"service_tier": None}},
    }
    messages = {
        "request": {"model": "claude-sonnet-4-5", "system": "x", "messages": []},
        "response": {
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": "ho"}],
            "usage": {"input_tokens": 5, "cache_read_input_tokens": 95, "output_tokens": 3},
        },
    }
    texts = chat | {name: json.dumps(chat[name]) for name in ("request", "response")}
    broken = {"request": {"model": "gpt-4o-mini"}, "response": {"error": {"message": "no"}}}
    source, (one, two, three, four, five) = lines(
        written(tmp_path / "c.jsonl", chat, batch, messages, texts, broken)
    )
    assert source.format == "openai"
    assert (one.usage, one.service_tier, one.stream) == (Usage(9, output=2), "flex", True)
    assert (one.prompt, one.answer) == ("system\nbe short\nuser\nhi", "ho")
    assert (two.service_tier, two.model) == ("batch", "gpt-4o-mini-2024-07-18")
    assert (three.usage, three.answer) == (Usage(5, 95, 0, 3), "ho")
    assert (four.usage, four.prompt) == (one.usage, one.prompt)
    assert (five.status, five.usage, five.basis) == ("failed", None, "unknown")


def test_generic_lines(tmp_path):
    flat = {"model": "m", "prompt_tokens": 9, "completion_tokens": 4, "reasoning_tokens": 1}
    router = {"model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 4, "cost": 0.5}}
    source, (one, two) = lines(written(tmp_path / "g.jsonl", flat, router))
    assert source.format == "generic"
    assert one.usage == Usage(9, output=3, reasoning=1)
    assert two.claimed == Decimal("0.5")


def test_recordings(tmp_path):
    row = {
        "question": "q",
        "task": "t",
        "model": "m",
        "sample": 0,
        "answer": "a",
        "cost_usd": 0.25,
        "input_tokens": 10,
        "cached_tokens": None,
        "output_tokens": 5,
        "reasoning_tokens": 2,
    }
    path = tmp_path / "r.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    source, (line,) = lines(str(path))
    assert source.format == "recording"
    assert (line.usage, line.basis) == (Usage(10, output=3, reasoning=2), "estimated")
    assert line.claimed == Decimal("0.25")


def test_tables_with_a_mapping(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("engine;in;of it cached;out;USD\nm;100;60;7;$0.10\nm;10;60;7;1\nm;x;;7;1\nm\n")
    mapping = {"model": "engine", "input": "in", "cached": "of it cached", "output": "out"}
    source, (line, second, third, fourth) = lines(str(path), mapping=mapping | {"cost": "USD"})
    assert source.format == "columns"
    assert (line.number, line.usage, line.claimed) == (2, Usage(40, 60, 0, 7), Decimal("0.10"))
    assert (second.number, second.why) == (3, "parts of the tokens are more than the whole")
    assert third.why == "input is not a number"
    assert (fourth.number, fourth.why) == (5, "a row with another number of columns")
    for wrong, message in (
        ({"modle": "engine"}, "--map modle=...: no such field"),
        ({"model": "engine", "output": "out"}, "one of input=COLUMN and uncached=COLUMN"),
        (mapping | {"cost": "EUR"}, "no column 'EUR'; it has engine, in"),
    ):
        with pytest.raises(DataError, match=message):
            open_source(str(path), mapping=wrong)


def test_lines_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "s.jsonl"
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 99}
    good = json.dumps(SPEND)
    wrong = json.dumps(SPEND | {"prompt_tokens": -1})
    path.write_text(f'{good}\n{{"oops\n\n[1]\n{wrong}\n{good}\n')
    _, read = lines(str(path))
    assert [(line.number, getattr(line, "why", "")) for line in read] == [
        (1, ""),
        (2, "not JSON"),
        (4, "not an object"),
        (5, "prompt_tokens is not a whole number that is not negative"),
        (6, ""),
    ]
    _, (line,) = lines(written(tmp_path / "u.jsonl", {"model": "m", "usage": usage}))
    assert (
        line.why
        == "usage contradicts itself: N input and N output tokens do not add up to NN in all"
    )


def test_gzip_and_a_file_that_breaks_off(tmp_path):
    whole = gzip.compress((json.dumps(SPEND) + "\n").encode() * 5000)
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(whole)
    assert len(lines(str(path))[1]) == 5000
    path.write_bytes(whole[:-9])
    with pytest.raises(DataError, match="cannot be read to its end"):
        list(open_source(str(path)).lines())


def test_an_array_that_breaks_off_is_named(tmp_path):
    path = tmp_path / "o.json"
    path.write_text(json.dumps([observation(input=1, output=1)] * 3)[:-20])
    _, read = lines(str(path))
    assert read[-1] == Skipped(3, "the array breaks off, or is not JSON from here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("just words\n", "neither JSON nor a table"),
        ('{"a": 1, "b": 2}\n', "no known log; its records have a, b. Name the format"),
        ("{no\nno\n", "neither JSON nor JSON Lines|none of its first"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path, text, message):
    path = tmp_path / "x.log"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        open_source(str(path))


COUNT = st.integers(0, 5) | st.none() | st.sampled_from([-1, True, 2.5, "3"])


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT},
        optional={
            "total_tokens": COUNT,
            "prompt_tokens_details": st.none()
            | st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens"]), COUNT),
            "completion_tokens_details": st.none()
            | st.dictionaries(st.sampled_from(["reasoning_tokens", "audio_tokens"]), COUNT),
        },
    )
)
def test_the_short_way_reads_what_the_long_way_reads(told):
    payload = {"model": "m", "usage": told}
    short = fields._plain(told)
    if short is None:
        return
    try:
        assert read_usage(payload) == (short, "exact")
    except UsageError as error:
        raise AssertionError(f"read {short} where the long way refuses: {error}") from error
