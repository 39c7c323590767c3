"""Tiny models that go on from the beginning of a working, and what they still hold of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from farthing.core.errors import RequestError
from farthing.core.request import Message, Request
from farthing.core.response import Response
from farthing.core.usage import Usage
from farthing.models import tiny

CHAIN = "9*7-8+6*3-4"


def going_on(prefix: str, chain: str = CHAIN, **settings: Any) -> Request:
    asked = Request.ask(tiny.prompt(chain), **settings)
    return replace(asked, messages=(*asked.messages, Message("assistant", prefix)))


def answer(model: tiny.TinyModel, request: Request) -> Response:
    return asyncio.run(model.complete(request))


@pytest.fixture(scope="module", params=tiny.TINY_SIZES)
def model(request: pytest.FixtureRequest) -> tiny.TinyModel:
    return tiny.load(request.param)


class TestPrefix:
    def test_greedy_goes_on_as_if_it_had_not_stopped(self, model: tiny.TinyModel) -> None:
        whole = answer(model, Request.ask(tiny.prompt(CHAIN))).text
        for at in range(0, len(whole) + 1, 2):
            prefix = whole[: max(0, at - 1)]
            assert prefix + answer(model, going_on(prefix)).text == whole

    @given(seed=st.integers(0, 10**6), heat=st.sampled_from([0.5, 1.0, 2.0]))
    def test_step_by_step_is_at_once(self, model: tiny.TinyModel, seed: int, heat: float) -> None:
        at_once = answer(model, Request.ask(CHAIN, temperature=heat, seed=seed, max_tokens=8))
        text, count = "", 0
        while count < 8:
            request = going_on(text, temperature=heat, seed=seed, max_tokens=1)
            (sample,) = answer(model, request).samples
            text, count = text + sample.text, count + 1
            if sample.finish_reason == "stop":
                break
            assert sample.finish_reason == "length"
            assume(sample.text)  # padding shows nothing, so that no prefix can hold it
        assert text == at_once.text
        assert count == at_once.samples[0].output_tokens

    def test_continuations_are_as_likely_as_in_one_piece(self, model: tiny.TinyModel) -> None:
        whole = answer(model, Request.ask(CHAIN, logprobs=True)).samples[0]
        assert whole.tokens is not None
        for count in range(1, 5):
            prefix = "".join(text for text, _ in whole.tokens[:count])
            rest = answer(model, going_on(prefix, logprobs=True)).samples[0]
            assert rest.tokens is not None
            expected = [logprob for _, logprob in whole.tokens[count:]]
            assert [logprob for _, logprob in rest.tokens] == pytest.approx(expected, abs=1e-4)

    def test_a_space_is_not_doubled(self, model: tiny.TinyModel) -> None:
        assert answer(model, going_on("3 5")).text == " " + answer(model, going_on("3 5 ")).text

    @pytest.mark.parametrize(
        ("prefix", "told"), [("so 7", "'s' is in none"), ("7 " * 30, "leave no room")]
    )
    def test_what_cannot_be_continued_is_told(
        self, model: tiny.TinyModel, prefix: str, told: str
    ) -> None:
        with pytest.raises(RequestError, match=told):
            answer(model, going_on(prefix))


class TestHeld:
    def test_held_tokens_are_read_from_the_cache(self) -> None:
        model = tiny.load("small")
        prompt = len(model.encode(CHAIN))
        plain = answer(model, Request.ask(CHAIN, max_tokens=1)).usage
        assert plain == answer(model, Request.ask(CHAIN, max_tokens=1)).usage
        assert plain == Usage(input=prompt, output=1)
        first = answer(model, going_on("3", max_tokens=1, n=3, temperature=1.0))
        assert first.usage == Usage(input=1, cache_read=prompt, output=3)
        again = answer(model, going_on("3", max_tokens=1))
        assert again.usage == Usage(input=0, cache_read=prompt + 1, output=1)
        other = answer(model, going_on("3", chain="1+1", max_tokens=1))
        assert other.usage is not None
        assert other.usage.cache_read == 0

    def test_what_a_cut_sample_has_read_is_held(self) -> None:
        model = tiny.load("small")
        request = Request.ask(CHAIN, max_tokens=3, n=4, temperature=1.0, seed=1)
        prompt = len(model.encode(CHAIN))
        for sample in answer(model, request).samples:
            usage = answer(model, going_on(sample.text, max_tokens=1)).usage
            assert usage is not None
            assert usage.input_tokens == prompt + 3
            assert usage.cache_read >= prompt + 2

    def test_holding_changes_no_answer(self, model: tiny.TinyModel) -> None:
        request = going_on("3 5", temperature=1.0, seed=4, n=20, logprobs=True)
        cold, warm = answer(tiny.load(model.size), request), answer(model, request)
        warm = answer(model, request)
        for one, other in zip(cold.samples, warm.samples, strict=True):
            assert one.text == other.text
            assert one.mean_logprob == pytest.approx(other.mean_logprob, abs=1e-4)

    def test_a_tenth_of_the_price(self, model: tiny.TinyModel) -> None:
        rates = model.card.rates
        assert rates is not None
        assert rates.cache_read == round(rates.input / 10)

    def test_the_least_recently_used_makes_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("farthing.models.tiny.model._HELD_BYTES", 20_000)
        model = tiny.load("small")
        for a in range(10):
            for b in range(10):
                answer(model, Request.ask(f"{a}+{b}", max_tokens=1))
        recent = answer(model, going_on("8", chain="9+9", max_tokens=1)).usage
        assert recent is not None
        assert recent.cache_read == len(model.encode("9+9"))
        old = answer(model, going_on("0", chain="0+0", max_tokens=1)).usage
        assert old is not None
        assert old.cache_read == 0


class TestStop:
    def test_ends_before_the_stop(self, model: tiny.TinyModel) -> None:
        whole = answer(model, Request.ask(CHAIN))
        (sample,) = answer(model, Request.ask(CHAIN, extra={"stop": whole.text[1:5]})).samples
        assert sample.text == whole.text[:1]
        assert sample.finish_reason == "stop"
        assert sample.output_tokens == 3

    @pytest.mark.parametrize("stop", [" ", ["5 1", "9"], ["1", "2 2 2"], []])
    async def test_stream_tells_what_complete_tells(self, stop: Any) -> None:
        model = tiny.load("mid")
        request = Request.ask(CHAIN, n=40, temperature=3.0, seed=2, extra={"stop": stop})
        whole = await model.complete(request)
        chunks = [chunk async for chunk in model.stream(request)]
        for index, sample in enumerate(whole.samples):
            own = [chunk for chunk in chunks[:-1] if chunk.index == index]
            assert "".join(chunk.text for chunk in own) == sample.text
            assert own[-1].finish_reason == sample.finish_reason
            assert not any(s in sample.text for s in ([stop] if isinstance(stop, str) else stop))

    @pytest.mark.parametrize("stop", [7, [""], [1], {"a": 1}])
    def test_other_stops_are_refused(self, stop: Any) -> None:
        with pytest.raises(RequestError, match="stop must be"):
            answer(tiny.load("small"), Request.ask(CHAIN, extra={"stop": stop}))
