"""Texts as vectors."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from farthing.core.errors import ExtraError, ParamError
from farthing.signals import encoder, wordllama
from farthing.signals.encoder import ENCODERS, Encoder, best, encoder_from_params, learn_encoder
from farthing.signals.tfidf import Tfidf

EMBEDDINGS = find_spec("wordllama") is not None and find_spec("tokenizers") is not None
KINDS = [
    "tfidf",
    pytest.param(
        "wordllama", marks=pytest.mark.skipif(not EMBEDDINGS, reason="needs the extra embeddings")
    ),
]
SUMS = [f"Add the numbers {i} and {i * 7 % 91}. How large is their sum?" for i in range(30)]
CITIES = [f"Which country has the city number {i} as its capital?" for i in range(30)]
TEXTS = [*SUMS, *CITIES]


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_have_unit_length_and_do_not_depend_on_company(kind: str) -> None:
    made, vectors = learn_encoder(TEXTS, kind)
    assert np.allclose((vectors**2).sum(axis=1), 1.0)
    alone = np.vstack([made.encode([text]) for text in TEXTS])
    assert np.array_equal(alone, vectors)


@pytest.mark.parametrize("kind", KINDS)
def test_like_texts_are_near(kind: str) -> None:
    made, _ = learn_encoder(TEXTS, kind)
    one, other, apart = made.encode(
        ["Add the numbers 400 and 500.", "How large is the sum?", "Name the capital of a country"]
    )
    assert one @ other > one @ apart + 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_survives_being_written_down(kind: str) -> None:
    made, vectors = learn_encoder(TEXTS, kind)
    params = json.loads(json.dumps(made.get_params(), default=lambda value: value.tolist()))
    again = encoder_from_params({"kind": kind, **params})
    assert np.array_equal(again.encode(TEXTS), vectors)


@pytest.mark.parametrize("texts", [["", ""], ["a"], ["same words"] * 5, ["\ud800 ?", "é ü"]])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_little_use(kind: str, texts: list[str]) -> None:
    made: Encoder = ENCODERS[kind].fit(texts)
    vectors = made.encode([*texts, "", "new"])
    assert len(vectors) == len(texts) + 2
    assert np.isfinite(vectors).all()
    assert made.encode([]).shape == (0, vectors.shape[1])


@pytest.mark.parametrize("kind", KINDS)
def test_of_long_texts_both_ends_are_read(kind: str) -> None:
    made, _ = learn_encoder(TEXTS, kind)
    begin, end, middle = SUMS[0] * 400, CITIES[0] * 400, "sum " * 10_000
    vectors = made.encode([begin + end, begin + middle + end, begin + middle])
    assert vectors[0] @ vectors[1] > 0.99
    assert vectors[0] @ vectors[2] < 0.95


def test_learns_once_from_the_same_texts() -> None:
    first, vectors = learn_encoder(TEXTS, "tfidf", seed=3)
    again, same = learn_encoder(list(TEXTS), "tfidf", seed=3)
    assert again is first
    assert same is vectors
    assert learn_encoder(TEXTS[:-1], "tfidf", seed=3)[0] is not first
    assert learn_encoder(TEXTS, "tfidf", seed=4)[0] is not first


def test_keeps_as_many_vectors_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    made, vectors = learn_encoder(TEXTS, "tfidf", seed=5)
    monkeypatch.setattr(encoder, "KEPT_BYTES", vectors.nbytes + vectors.nbytes // 2)
    half = encoder.vectors_of(made, TEXTS[:30])
    assert encoder.vectors_of(made, TEXTS) is vectors
    assert encoder.vectors_of(made, TEXTS[:30]) is half
    other = encoder.vectors_of(made, TEXTS[1:])
    assert encoder.vectors_of(made, TEXTS[1:]) is other
    again = encoder.vectors_of(made, TEXTS)
    assert again is not vectors
    assert np.array_equal(again, vectors)


def test_learns_from_some_of_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[int] = []

    class Counted(Tfidf):
        @classmethod
        def fit(cls, texts: Any, *, seed: int = 0) -> Any:
            learnt.append(len(texts))
            return Tfidf.fit(texts, seed=seed)

    monkeypatch.setattr(encoder, "LEARNT_FROM", 20)
    monkeypatch.setitem(ENCODERS, "tfidf", Counted)
    _, vectors = learn_encoder(TEXTS, "tfidf", seed=99)
    assert learnt == [20]
    assert len(vectors) == len(TEXTS)


def test_the_best_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "find_spec", lambda name: object())
    assert best(encoder.ENOUGH - 1) == "wordllama"
    assert best(encoder.ENOUGH) == "tfidf"
    monkeypatch.setattr(encoder, "find_spec", lambda name: None)
    assert best(encoder.ENOUGH - 1) == "tfidf"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wordllama._wordllama.cache_clear()
    monkeypatch.setattr(wordllama, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "tokenizers", type(sys)("tokenizers"))
    monkeypatch.setattr(sys.modules["tokenizers"], "Tokenizer", object, raising=False)
    with pytest.raises(ExtraError, match=r"wordllama is not installed.*farthing\[embeddings\]"):
        learn_encoder(TEXTS, "wordllama", seed=98)
    with pytest.raises(ParamError, match=r"farthing\[embeddings\]"):
        encoder_from_params({"kind": "wordllama", "mean": [0.0], "components": [[1.0]]})


def test_mistakes_are_named() -> None:
    with pytest.raises(ParamError, match="no encoder is called 'bert'; known: tfidf, wordllama"):
        learn_encoder(TEXTS, "bert")
    with pytest.raises(ParamError, match="known: tfidf, wordllama"):
        encoder_from_params({"idf": [1.0]})
    with pytest.raises(ParamError, match="encoder 'tfidf' cannot be built"):
        encoder_from_params({"kind": "tfidf", "idf": [1.0]})


@pytest.mark.parametrize("kind", KINDS)
def test_is_light_and_offline(kind: str) -> None:
    code = f"""
import socket, sys
def refuse(*args, **kwargs): raise AssertionError("the network")
socket.socket.connect = socket.getaddrinfo = refuse
from farthing.signals.encoder import learn_encoder
print(learn_encoder(["one thing", "another thing", "a third"], {kind!r})[1].shape[0])
print([name for name in ("sklearn", "torch", "wordllama", "requests") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["3", "[]"]
