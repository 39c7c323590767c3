"""A GGUF model in this process: SmolLM2-135M-Instruct, where it is installed."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from smollm2 import PATH, needs_smollm2

from farthing.budgets import Operation
from farthing.core.errors import ConfigError, RequestError, UpstreamError
from farthing.core.money import Cost, Rates
from farthing.core.request import Message, Request
from farthing.cost.prices import PriceBook
from farthing.gateway.build import build_models, build_prices, price_card
from farthing.gateway.config import load
from farthing.ledger import MemoryLedger
from farthing.models.llama import LlamaModel, packaged

CONTEXT = 256
RATES = Rates.per_million("1", "10", cache_read="0.1")


@pytest.fixture(scope="module")
def loaded() -> LlamaModel:
    assert PATH is not None
    return LlamaModel("smol", PATH, context=CONTEXT, slots=2, threads=1, rates=RATES)


@pytest.fixture
async def smol(loaded: LlamaModel) -> AsyncIterator[LlamaModel]:
    yield loaded
    await quiet(loaded)


def ask(text: str = "Write a long story about a fox.", **settings: object) -> Request:
    return Request.ask(text, **{"temperature": 0, "max_tokens": 8, **settings})


async def quiet(model: LlamaModel) -> dict[str, float]:
    """The counters once the engine computes nothing any more."""
    for _ in range(300):
        counters = await asyncio.to_thread(model.counters)
        # The question after the metrics is itself being processed.
        if counters["requests_processing"] == 0:
            return counters
        await asyncio.sleep(0.02)
    raise AssertionError("the engine still computes")


@needs_smollm2
async def test_usage_adds_up(smol: LlamaModel) -> None:
    before = await quiet(smol)
    request = ask("Name a colour. " + "x" * 40)
    first = await smol.complete(request)
    again = await smol.complete(request)
    after = await quiet(smol)
    assert first.usage is not None
    assert again.usage is not None
    assert first.usage_basis == "exact"
    assert first.usage.input_tokens == again.usage.input_tokens
    assert again.usage.cache_read > first.usage.cache_read
    assert first.usage.output == first.samples[0].output_tokens == 8
    for name, told in (
        ("prompt_tokens_total", first.usage.input + again.usage.input),
        ("prompt_tokens_cached_total", first.usage.cache_read + again.usage.cache_read),
        ("tokens_predicted_total", first.usage.output + again.usage.output),
    ):
        assert after[name] - before[name] == told
    assert first.text == again.text
    assert first.samples[0].finish_reason == "length"


@needs_smollm2
async def test_logprobs_are_those_of_the_tokens(smol: LlamaModel) -> None:
    (sample,) = (await smol.complete(ask(logprobs=True))).samples
    assert sample.tokens is not None
    assert "".join(text for text, _ in sample.tokens) == sample.text
    values = [value for _, value in sample.tokens]
    assert all(value <= 0 for value in values)
    assert sample.min_logprob == min(values)
    assert sample.mean_logprob == pytest.approx(sum(values) / len(values))
    (unasked,) = (await smol.complete(ask())).samples
    assert unasked.tokens is None
    assert unasked.min_logprob == pytest.approx(sample.min_logprob, abs=1e-3)


@needs_smollm2
async def test_stream_is_the_whole_answer_in_pieces(smol: LlamaModel) -> None:
    whole = await smol.complete(ask())
    chunks = [chunk async for chunk in smol.stream(ask())]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert len([chunk for chunk in chunks if chunk.text]) > 3
    ends = [chunk for chunk in chunks if chunk.finish_reason]
    assert [end.finish_reason for end in ends] == ["length"]
    assert ends[0].min_logprob == pytest.approx(whole.samples[0].min_logprob, abs=1e-3)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.output == 8


@needs_smollm2
async def test_samples_of_a_seed_do_not_depend_on_their_number(smol: LlamaModel) -> None:
    hot = {"temperature": 1.0, "seed": 5, "max_tokens": 6}
    three = await smol.complete(ask(n=3, **hot))  # two slots: a group of two, and one more
    assert len({sample.text for sample in three.samples}) > 1
    for index in range(3):
        alone = await smol.complete(ask(**{**hot, "seed": 5 + index}))
        assert alone.text == three.samples[index].text
    assert three.usage is not None
    assert three.usage.output == sum(sample.output_tokens or 0 for sample in three.samples) == 18
    assert three.usage.input_tokens == 2 * (alone.usage.input_tokens if alone.usage else 0)


@needs_smollm2
async def test_stop_sequence_and_grammar(smol: LlamaModel) -> None:
    free = await smol.complete(ask(max_tokens=12))
    word = free.text.split(" ")[3]
    cut = await smol.complete(ask(max_tokens=12, extra={"stop": [f" {word}"]}))
    assert cut.text == free.text[: free.text.index(f" {word}")]
    assert cut.samples[0].finish_reason == "stop"
    only = ask("Yes or no?", extra={"grammar": 'root ::= "maybe"', "top_p": None})
    assert (await smol.complete(only)).text == "maybe"
    with pytest.raises(RequestError, match="grammar"):
        await smol.complete(ask(extra={"grammar": "root ::= ("}))
    with pytest.raises(RequestError, match="stop must be"):
        await smol.complete(ask(extra={"stop": 5}))


@needs_smollm2
async def test_context_overflow_is_refused_before_computing(smol: LlamaModel) -> None:
    before = await quiet(smol)
    with pytest.raises(RequestError, match=r"prompt has \d+ tokens.* holds 256") as refused:
        await smol.complete(ask("word " * CONTEXT))
    assert refused.value.code == "context_length_exceeded"
    after = await quiet(smol)
    for name in ("prompt_tokens_total", "tokens_predicted_total"):
        assert after[name] == before[name]


@needs_smollm2
@pytest.mark.parametrize(
    ("request_", "match"),
    [
        (ask(n=0), "n must be"),
        (ask(temperature=-1.0), "temperature"),
        (ask(max_tokens=0), "max_tokens"),
        (Request(()), "no messages"),
        (Request((Message("user", [{"type": "image_url", "image_url": {}}]),)), "but text"),
    ],
)
async def test_what_cannot_be_asked(smol: LlamaModel, request_: Request, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        await smol.complete(request_)


@needs_smollm2
async def test_a_call_that_is_cancelled_stops_computing(smol: LlamaModel) -> None:
    before = await quiet(smol)
    call = asyncio.create_task(smol.complete(ask(max_tokens=200)))
    while (await asyncio.to_thread(smol.counters))["requests_processing"] == 0:
        assert not call.done()
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    after = await quiet(smol)
    assert after["tokens_predicted_total"] - before["tokens_predicted_total"] < 150


@needs_smollm2
async def test_a_stream_that_is_left_is_booked_with_what_came(smol: LlamaModel) -> None:
    ledger = MemoryLedger()
    operation = Operation({"smol": smol}, prices=PriceBook(), ledger=ledger)
    seen = 0
    request = ask("Tell me of the sea.", max_tokens=200)
    async with aclosing(operation.stream("smol", request, node="single")) as chunks:
        async for _ in chunks:
            seen += 1
            if seen == 5:
                break
    await operation.idle()
    (attempt,) = ledger.attempts
    assert attempt.status == "cancelled"
    assert attempt.usage is not None
    assert 5 <= attempt.usage.output < 150
    assert attempt.cost == RATES.cost(attempt.usage)
    made = (await quiet(smol))["tokens_predicted_total"]
    await asyncio.sleep(0.1)
    assert (await quiet(smol))["tokens_predicted_total"] == made


@needs_smollm2
async def test_more_calls_than_slots_wait_without_blocking_the_loop(smol: LlamaModel) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.002)
            ticks += 1

    clock = asyncio.create_task(tick())
    asked = [ask(f"Say {word}.", max_tokens=12) for word in ("one", "two", "three", "four")]
    together = await asyncio.gather(*(smol.complete(request) for request in asked))
    clock.cancel()
    assert ticks > 5
    workers = [t for t in threading.enumerate() if t.name.startswith("llama_")]
    assert len(workers) <= smol.slots
    assert all(response.samples[0].output_tokens for response in together)


@needs_smollm2
async def test_calls_that_wait_can_be_cancelled(smol: LlamaModel) -> None:
    before = await quiet(smol)
    running = asyncio.create_task(smol.complete(ask(n=2, max_tokens=24)))
    await asyncio.sleep(0.02)
    waiting = [asyncio.create_task(smol.complete(ask(max_tokens=200))) for _ in range(5)]
    await asyncio.sleep(0.02)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    usage = (await running).usage
    after = await quiet(smol)
    assert usage is not None
    assert after["tokens_predicted_total"] - before["tokens_predicted_total"] == usage.output


@needs_smollm2
async def test_a_draft_changes_the_speed_and_not_the_text(smol: LlamaModel) -> None:
    assert PATH is not None
    plain = await smol.complete(ask(max_tokens=24))
    model = LlamaModel("fast", PATH, context=CONTEXT, slots=1, threads=1, draft=PATH)
    try:
        assert model.card.shows == {"text"}
        drafted = await model.complete(ask(max_tokens=24))
        assert drafted.text == plain.text
        assert drafted.samples[0].mean_logprob is None
        assert model.counters()["spec_decode_num_accepted_tokens_total"] > 0
        with pytest.raises(RequestError, match="no log-probabilities"):
            await model.complete(ask(logprobs=True))
    finally:
        await model.aclose()


@needs_smollm2
async def test_closing_breaks_off_what_is_under_way() -> None:
    assert PATH is not None
    model = LlamaModel("smol", PATH, context=CONTEXT, slots=1, threads=1)
    calls = [asyncio.create_task(model.complete(ask(max_tokens=200))) for _ in range(3)]
    await asyncio.sleep(0.05)
    await model.aclose()
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, UpstreamError)
        assert error.kind == "cut"


CONFIG = """\
[models.smol]
kind = "llama"
path = "{path}"
context = 256
threads = 2
system = "You are terse."
{price}
"""


def configured(tmp_path: Path, path: object, price: str = "", more: str = "") -> Path:
    file = tmp_path / "farthing.toml"
    file.write_text(CONFIG.format(path=path, price=price) + more)
    return file


@needs_smollm2
async def test_configured_with_a_price(tmp_path: Path) -> None:
    price = "price = { input = 1, output = 10, cache_read = 0.1 }"
    config = load(configured(tmp_path, PATH, price))
    (model,) = build_models(config).values()
    assert isinstance(model, LlamaModel)
    try:
        operation = Operation({"smol": model}, prices=build_prices(config))
        response = await operation.call("smol", ask(), node="single")
        assert response.usage is not None
        assert response.cost == RATES.cost(response.usage)
    finally:
        await model.aclose()


@pytest.mark.parametrize(
    ("price", "seconds", "cost"),
    [("", 2.0, None), ("price = { per_second = 0.001 }", 2.0, Cost.from_usd("0.002"))],
)
def test_prices_are_never_made_up(
    tmp_path: Path, price: str, seconds: float, cost: Cost | None
) -> None:
    config = load(configured(tmp_path, "model.gguf", price))
    card = price_card(config, "smol")
    assert build_prices(config).cost(card, None, seconds=seconds)[0] == cost


def test_file_is_missing(tmp_path: Path) -> None:
    config = load(configured(tmp_path, "model.gguf"))
    with pytest.raises(ConfigError, match=r"farthing.toml:3: models.smol.path: .*No such file"):
        build_models(config)


def test_file_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match=r"toml:3: models.smol.path: .*is no GGUF file"):
        build_models(load(configured(tmp_path, "model.gguf")))


def test_draft_is_missing(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    config = load(configured(tmp_path, "model.gguf", 'draft = "none.gguf"'))
    with pytest.raises(ConfigError, match=r"toml:7: models.smol.draft: .*No such file"):
        build_models(config)


def test_extra_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match=r"models.smol.kind: .*pip install 'farthing\[llama\]'"):
        build_models(load(configured(tmp_path, "model.gguf")))


def test_damaged_file(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ConfigError, match=r"llama\.cpp cannot load"):
        build_models(load(configured(tmp_path, "model.gguf")))


def test_packages_without_a_model() -> None:
    assert packaged("pytest") is None
    assert packaged("no-such-package") is None
