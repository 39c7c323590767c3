"""The likeliest tokens that a tiny model shows at each place."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from farthing.core.errors import RequestError
from farthing.core.request import Message, Request
from farthing.core.response import Sample
from farthing.models import tiny

SMALL = tiny.load("small")


def ask(prefix: str = "", **fields: Any) -> tuple[Sample, ...]:
    request = Request.ask("3 + 4 * 2 - 5 =", **fields)
    if prefix:
        messages = (*request.messages, Message("assistant", prefix))
        request = Request(messages, **fields)
    return asyncio.run(SMALL.complete(request)).samples


def test_each_place_shows_the_whole_distribution_of_its_token() -> None:
    for sample in ask(n=3, temperature=1.5, seed=4, logprobs=True, extra={"top_logprobs": 17}):
        assert sample.tokens is not None
        assert sample.top is not None
        assert len(sample.top) == len(sample.tokens)
        for token, place in zip(sample.tokens, sample.top, strict=True):
            logprobs = [logprob for _, logprob in place]
            assert sum(map(math.exp, logprobs)) == pytest.approx(1.0)
            assert logprobs == sorted(logprobs, reverse=True)
            assert token in place


def test_the_first_is_what_a_greedy_answer_takes_in_its_spelling() -> None:
    [sample] = ask(prefix="7", logprobs=True, extra={"top_logprobs": 1})
    assert sample.top is not None
    assert sample.top == tuple((token,) for token in sample.tokens or ())
    assert sample.top[0][0][0].startswith(" ")


def test_they_are_those_of_the_logits() -> None:
    [sample] = ask(max_tokens=1, logprobs=True, extra={"top_logprobs": 3})
    logits = SMALL.start(SMALL.encode("3 + 4 * 2 - 5 =")).logits
    assert logits is not None
    assert sample.top is not None
    logprobs = logits - np.log(np.exp(logits.astype(float)).sum())
    expected = np.sort(logprobs)[::-1][:3]
    assert [logprob for _, logprob in sample.top[0]] == pytest.approx(expected, abs=1e-5)


def test_none_are_shown_unasked_and_too_many_are_refused() -> None:
    assert ask(logprobs=True)[0].top is None
    assert ask(extra={"top_logprobs": 5})[0].top is None
    with pytest.raises(RequestError, match="top_logprobs must be 0 to 20, not 21"):
        ask(logprobs=True, extra={"top_logprobs": 21})
