"""Logs with mistakes planted in them, and what they are.

Nothing here uses the package's arithmetic: prices are decimals, and each claim is written out as
the mistaken program would reckon it.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

MILLION = Decimal(10) ** 6
LONG = 200_000
CHANGE = datetime(2026, 3, 1, tzinfo=UTC)

CONFIG = """\
[models.gpt]
kind = "http"
base_url = "http://127.0.0.1:9/v1"
[[models.gpt.prices]]
input = "2.11"
cache_read = "0.53"
output = "8.37"
[[models.gpt.prices]]
above = 200_000
input = "4.19"
cache_read = "1.07"
output = "12.61"
[[models.gpt.prices]]
from = 2026-03-01
input = "1.73"
cache_read = "0.43"
output = "6.91"
[[models.gpt.prices]]
from = 2026-03-01
above = 200_000
input = "3.41"
cache_read = "0.89"
output = "10.33"
[[models.gpt.prices]]
service_tier = "batch"
input = "1.03"
cache_read = "0.29"
output = "4.01"
[[models.gpt.prices]]
service_tier = "flex"
input = "0.97"
cache_read = "0.23"
output = "3.89"
[[models.gpt.prices]]
service_tier = "priority"
input = "3.67"
cache_read = "0.91"
output = "14.21"

[models.thinker]
kind = "http"
base_url = "http://127.0.0.1:9/v1"
price = { input = "1.13", cache_read = "0.31", output = "4.43", reasoning = "6.07" }

[models.writer]
kind = "http"
base_url = "http://127.0.0.1:9/v1"
[models.writer.price]
input = "3.01"
cache_read = "0.37"
cache_write = "3.79"
cache_write_1h = "6.13"
output = "15.17"
web_search = "0.01"
"""

GPT = {"input": Decimal("2.11"), "read": Decimal("0.53"), "output": Decimal("8.37")}
GPT_NEW = {"input": Decimal("1.73"), "read": Decimal("0.43"), "output": Decimal("6.91")}
GPT_LONG = {"input": Decimal("4.19"), "read": Decimal("1.07"), "output": Decimal("12.61")}
GPT_LONG_NEW = {"input": Decimal("3.41"), "read": Decimal("0.89"), "output": Decimal("10.33")}
TIERS = {
    "batch": {"input": Decimal("1.03"), "read": Decimal("0.29"), "output": Decimal("4.01")},
    "flex": {"input": Decimal("0.97"), "read": Decimal("0.23"), "output": Decimal("3.89")},
    "priority": {"input": Decimal("3.67"), "read": Decimal("0.91"), "output": Decimal("14.21")},
}
THINKER = {
    "input": Decimal("1.13"),
    "read": Decimal("0.31"),
    "output": Decimal("4.43"),
    "reasoning": Decimal("6.07"),
}
WRITER = {
    "input": Decimal("3.01"),
    "read": Decimal("0.37"),
    "write": Decimal("3.79"),
    "write_1h": Decimal("6.13"),
    "output": Decimal("15.17"),
}


@dataclass
class Call:
    """A call, with counters that include their parts, and what a log claims of it."""

    model: str
    at: datetime
    asked: int
    told: int
    cached: int = 0
    reasoning: int = 0
    written: int = 0
    written_1h: int = 0
    tier: str | None = None
    failed: bool = False
    retry: bool = False
    from_cache: bool = False
    searches: int = 0
    true: Decimal | None = Decimal(0)
    claimed: Decimal | None = Decimal(0)
    causes: tuple[str, ...] = ()


def dollars(call: Call, rates: dict[str, Decimal]) -> Decimal:
    """The cost by these prices."""
    plain = call.asked - call.cached - call.written - call.written_1h
    sum_ = plain * rates["input"] + call.cached * rates["read"]
    sum_ += call.written * rates.get("write", rates["input"])
    sum_ += call.written_1h * rates.get("write_1h", rates["input"])
    sum_ += (call.told - call.reasoning) * rates["output"]
    sum_ += call.reasoning * rates.get("reasoning", rates["output"])
    return sum_ / MILLION + call.searches * Decimal("0.01")


def right(call: Call) -> Decimal:
    """The true cost."""
    return dollars(call, rates_of(call))


def rates_of(call: Call) -> dict[str, Decimal]:
    if call.model == "thinker":
        return THINKER
    if call.model == "writer":
        return WRITER
    if call.tier:
        return TIERS[call.tier]
    new, long = call.at >= CHANGE, call.asked > LONG
    return {(0, 0): GPT, (1, 0): GPT_NEW, (0, 1): GPT_LONG, (1, 1): GPT_LONG_NEW}[new, long]


def plant(seed: int, each: int) -> list[Call]:
    """`each` calls of every kind of mistake, and ten times as many without, in order of time."""
    rng = random.Random(seed)
    calls = [make(rng) for make in MISTAKES for _ in range(each)]
    calls += [_correct(rng) for _ in range(10 * each)]
    return sorted(calls, key=lambda call: call.at)


def _call(rng: random.Random, model: str, **fields: Any) -> Call:
    at = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=rng.randrange(150_000))
    asked = rng.randrange(4_001, 90_000)
    base = {
        "asked": asked,
        "told": rng.randrange(901, 4_000),
        "cached": rng.randrange(1_024, asked // 2),
    }
    if model == "thinker":
        base["reasoning"] = rng.randrange(101, 800)
    if model == "writer":
        base["written"] = rng.randrange(501, asked // 4)
    return Call(model, at, **(base | fields))


def _settle(call: Call, claimed: Decimal, *causes: str) -> Call:
    call.true = right(call)
    call.claimed, call.causes = claimed, causes
    return call


def _correct(rng: random.Random) -> Call:
    kind = rng.randrange(6)
    if kind == 0:
        call = _call(rng, "thinker")
    elif kind == 1:
        call = _call(rng, "writer", written_1h=rng.randrange(2) * 333, searches=rng.randrange(2))
    elif kind == 2:
        call = _call(rng, "gpt", tier=rng.choice(list(TIERS)))
    elif kind == 3:
        call = _call(rng, "gpt", asked=rng.randrange(LONG + 1, 2 * LONG))
    else:
        call = _call(rng, "gpt", cached=rng.randrange(2) * 1024)
    return _settle(call, right(call))


def _cached_twice(rng: random.Random) -> Call:
    call = _call(rng, "gpt")
    rates = rates_of(call)
    claim = (call.asked * rates["input"] + call.cached * rates["read"]) / MILLION
    return _settle(call, claim + call.told * rates["output"] / MILLION, "cached_twice")


def _cached_full(rng: random.Random) -> Call:
    call = _call(rng, "gpt")
    rates = rates_of(call)
    claim = (call.asked * rates["input"] + call.told * rates["output"]) / MILLION
    return _settle(call, claim, "cached_full")


def _cached_free(rng: random.Random) -> Call:
    call = _call(rng, "thinker")
    return _settle(call, right(call) - call.cached * THINKER["read"] / MILLION, "cached_free")


def _writes_as_input(rng: random.Random) -> Call:
    call = _call(rng, "writer")
    claim = (call.asked - call.cached) * WRITER["input"] + call.cached * WRITER["read"]
    return _settle(call, (claim + call.told * WRITER["output"]) / MILLION, "cache_write")


def _writes_free(rng: random.Random) -> Call:
    call = _call(rng, "writer")
    return _settle(call, right(call) - call.written * WRITER["write"] / MILLION, "cache_write")


def _reasoning_missed(rng: random.Random) -> Call:
    call = _call(rng, "thinker")
    claim = right(call) - call.reasoning * THINKER["reasoning"] / MILLION
    return _settle(call, claim, "reasoning_missed")


def _reasoning_twice(rng: random.Random) -> Call:
    call = _call(rng, "thinker")
    claim = right(call) + call.reasoning * THINKER["reasoning"] / MILLION
    return _settle(call, claim, "reasoning_twice")


def _reasoning_as_output(rng: random.Random) -> Call:
    call = _call(rng, "thinker")
    more = call.reasoning * (THINKER["output"] - THINKER["reasoning"]) / MILLION
    return _settle(call, right(call) + more, "reasoning_as_output")


def _output_missed(rng: random.Random) -> Call:
    call = _call(rng, "gpt")
    rates = rates_of(call)
    return _settle(call, right(call) - call.told * rates["output"] / MILLION, "output_missed")


def _searches_missed(rng: random.Random) -> Call:
    call = _call(rng, "writer", searches=rng.randrange(1, 4))
    return _settle(call, right(call) - call.searches * Decimal("0.01"), "calls_missed")


def _tier_ignored(rng: random.Random) -> Call:
    call = _call(rng, "gpt", tier=rng.choice(list(TIERS)))
    standard = GPT_NEW if call.at >= CHANGE else GPT
    return _settle(call, dollars(call, standard), "tier_ignored")


def _tier_invented(rng: random.Random) -> Call:
    call = _call(rng, "gpt")
    return _settle(call, dollars(call, TIERS[rng.choice(list(TIERS))]), "tier_ignored")


def _long_ignored(rng: random.Random) -> Call:
    call = _call(rng, "gpt", asked=rng.randrange(LONG + 1, 2 * LONG))
    short = GPT_NEW if call.at >= CHANGE else GPT
    return _settle(call, dollars(call, short), "long_context_ignored")


def _old_price(rng: random.Random) -> Call:
    call = _call(rng, "gpt")
    other = GPT if call.at >= CHANGE else GPT_NEW
    return _settle(call, dollars(call, other), "price_date")


def _failed(rng: random.Random) -> Call:
    return _settle(_call(rng, "gpt", failed=True), Decimal(0), "failed_at_zero")


def _retried(rng: random.Random) -> Call:
    return _settle(_call(rng, "thinker", retry=True), Decimal(0), "failed_at_zero")


def _free(rng: random.Random) -> Call:
    return _settle(_call(rng, "writer"), Decimal(0), "at_zero")


def _hit_charged(rng: random.Random) -> Call:
    call = _call(rng, "gpt", from_cache=True)
    _settle(call, right(call), "cache_hit_charged")
    call.true = Decimal(0)
    return call


def _hit(rng: random.Random) -> Call:
    call = _settle(_call(rng, "gpt", from_cache=True), Decimal(0))
    call.true = Decimal(0)
    return call


def _wrong_model(rng: random.Random) -> Call:
    call = _call(rng, "thinker")
    return _settle(call, dollars(call, WRITER), "other_model")


def _thousandfold(rng: random.Random) -> Call:
    call = _call(rng, "gpt")
    return _settle(call, right(call) * rng.choice((2, 1000)), "factor")


def _rounded(rng: random.Random) -> Call:
    call = _call(rng, "thinker")
    true = right(call)
    return _settle(call, true.quantize(Decimal("0.0001")), *([] if _short(true) else ["rounding"]))


def _short(amount: Decimal) -> bool:
    return amount == amount.quantize(Decimal("0.0001"))


def _two_at_once(rng: random.Random) -> Call:
    call = _call(rng, "thinker")
    claim = right(call) + call.cached * THINKER["input"] / MILLION
    claim -= call.reasoning * THINKER["reasoning"] / MILLION
    return _settle(call, claim, "cached_twice", "reasoning_missed")


def _tier_and_cache(rng: random.Random) -> Call:
    call = _call(rng, "gpt", tier="flex")
    rates = GPT_NEW if call.at >= CHANGE else GPT
    claim = (call.asked * rates["input"] + call.told * rates["output"]) / MILLION
    return _settle(call, claim, "tier_ignored", "cached_full")


def _odd(rng: random.Random) -> Call:
    call = _call(rng, "gpt")
    return _settle(
        call, right(call) + Decimal(rng.randrange(10**6, 10**7)).scaleb(-8), "unexplained"
    )


def _stranger(rng: random.Random) -> Call:
    call = _call(rng, "acme-9")
    call.true, call.claimed, call.causes = None, Decimal("0.0123"), ()
    return call


def _silent(rng: random.Random) -> Call:
    call = _call(rng, "gpt")
    call.true, call.claimed = right(call), None
    return call


MISTAKES: tuple[Callable[[random.Random], Call], ...] = (
    _cached_twice,
    _cached_full,
    _cached_free,
    _writes_as_input,
    _writes_free,
    _reasoning_missed,
    _reasoning_twice,
    _reasoning_as_output,
    _output_missed,
    _searches_missed,
    _tier_ignored,
    _tier_invented,
    _long_ignored,
    _old_price,
    _failed,
    _retried,
    _free,
    _hit_charged,
    _hit,
    _wrong_model,
    _thousandfold,
    _rounded,
    _two_at_once,
    _tier_and_cache,
    _odd,
    _stranger,
    _silent,
)


def usage(call: Call) -> dict[str, Any]:
    """OpenAI's counters."""
    asked: dict[str, Any] = {"cached_tokens": call.cached}
    made: dict[str, Any] = {
        "prompt_tokens": call.asked,
        "completion_tokens": call.told,
        "total_tokens": call.asked + call.told,
        "prompt_tokens_details": asked,
        "completion_tokens_details": {"reasoning_tokens": call.reasoning},
    }
    if call.written or call.written_1h:
        asked["cache_write_tokens"] = call.written + call.written_1h
    if call.searches:
        made["server_tool_use"] = {"web_search_requests": call.searches}
    return made


def generic(call: Call) -> dict[str, Any]:
    return {
        "timestamp": call.at.isoformat(),
        "model": call.model,
        "usage": usage(call),
        "cost": call.claimed,
        "service_tier": call.tier or "default",
        "status": "failed" if call.failed else "ok",
        "retries": int(call.retry),
        "cache_hit": call.from_cache,
    }


def litellm(call: Call) -> dict[str, Any]:
    return {
        "request_id": "r",
        "call_type": "acompletion",
        "spend": call.claimed,
        "prompt_tokens": call.asked,
        "completion_tokens": call.told,
        "total_tokens": call.asked + call.told,
        "startTime": call.at.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "endTime": (call.at + timedelta(seconds=3)).strftime("%Y-%m-%d %H:%M:%S.%f"),
        "model": call.model,
        "cache_hit": str(call.from_cache),
        "status": "failure" if call.failed else "success",
        "metadata": json.dumps(
            {
                "usage_object": usage(call),
                "service_tier": call.tier,
                "attempted_retries": int(call.retry),
            }
        ),
    }


def pair(call: Call) -> dict[str, Any]:
    return {
        "timestamp": call.at.timestamp(),
        "request": {"model": call.model, "messages": [{"role": "user", "content": "hi"}]},
        "response": {
            "model": call.model,
            "usage": usage(call),
            "service_tier": call.tier,
            "choices": [{"message": {"role": "assistant", "content": "ho"}}],
        },
        "cost": call.claimed,
        "status": "failed" if call.failed else "ok",
        "retry": call.retry,
    }


def langfuse(call: Call) -> dict[str, Any]:
    parts = call.cached + call.written
    return {
        "id": "o",
        "type": "GENERATION",
        "traceId": "t",
        "startTime": call.at.isoformat().replace("+00:00", "Z"),
        "endTime": call.at.isoformat().replace("+00:00", "Z"),
        "model": call.model,
        "modelParameters": {"service_tier": call.tier} if call.tier else {},
        "level": "ERROR" if call.failed else "DEFAULT",
        "usageDetails": {
            "input": call.asked - parts,
            "input_cached_tokens": call.cached,
            "input_cache_creation": call.written,
            "output": call.told - call.reasoning,
            "output_reasoning_tokens": call.reasoning,
            "total": call.asked + call.told,
        },
        "costDetails": {"total": call.claimed},
    }


COLUMNS = {
    "model": "Model",
    "time": "When",
    "input": "In",
    "cached": "Of it cached",
    "cache_write": "Written",
    "output": "Out",
    "reasoning": "Thought",
    "cost": "USD",
    "service_tier": "Tier",
    "status": "Status",
    "retry": "Again",
}


def row(call: Call) -> dict[str, Any]:
    told = {
        "model": call.model,
        "time": call.at.isoformat(),
        "input": call.asked,
        "cached": call.cached,
        "cache_write": call.written,
        "output": call.told,
        "reasoning": call.reasoning,
        "cost": "" if call.claimed is None else format(call.claimed, "f"),
        "service_tier": call.tier or "",
        "status": "cached" if call.from_cache else "failed" if call.failed else "ok",
        "retry": str(call.retry).lower(),
    }
    return {COLUMNS[name]: value for name, value in told.items()}


def text(record: Any) -> str:
    """JSON with decimals written out, not as binary fractions."""
    marks: dict[str, str] = {}

    def mark(value: Decimal) -> str:
        name = f"@{len(marks)}@"
        marks[name] = format(value, "f")
        return name

    written = json.dumps(record, default=mark)
    for name, value in marks.items():
        written = written.replace(f'"{name}"', value)
    return written


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(text(record) + "\n" for record in records))
    return path


def write_table(path: Path, records: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(records[0]))
        table.writeheader()
        table.writerows(records)
    return path
