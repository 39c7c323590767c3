"""Long documents cut down to the passages that matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.request import Message, Request
from farthing.policies.passages import GAP, Passages, cut, scores


@given(st.integers(0, 300), st.integers(1, 50), st.data())
def test_passages_cover_the_document(length: int, words: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, words - 1))
    document = " ".join(f"w{i}" for i in range(length))
    passages = [passage.split() for passage in cut(document, words, overlap)]
    assert all(len(passage) <= words for passage in passages)
    assert all(passage for passage in passages)
    joined = [w for i, p in enumerate(passages) for w in (p if not i else p[overlap:])]
    assert joined == document.split()


def test_scores_are_those_of_bm25() -> None:
    got = scores("red fox", ["the red fox", "the fox ran far away", "nothing here"])
    lengths, mean = np.array([3, 5, 2]), 10 / 3
    fox, red = np.log(1 + 1.5 / 2.5), np.log(1 + 2.5 / 1.5)
    part = 2.2 / (1 + 1.2 * (0.25 + 0.75 * lengths / mean))
    assert np.allclose(got, [(fox + red) * part[0], fox * part[1], 0.0])


def document(n: int = 1000, seed: int = 0) -> tuple[str, str]:
    rng = np.random.default_rng(seed)
    filler = [f"word{i}" for i in rng.integers(0, 200, n)]
    filler[700:700] = ["the", "vault", "code", "of", "Marbury", "is", "7319"]
    return " ".join(filler), "What is the vault code of Marbury?"


@pytest.mark.parametrize(
    "form", ["<document>{0}</document>\n{1}", "{1} <DOCUMENT>{0}</DOCUMENT>", "{0}\n\n{1}"]
)
def test_keeps_what_the_question_is_about(form: str) -> None:
    text, question = document()
    request = Request((Message("system", "be brief"), Message("user", form.format(text, question))))
    short = Passages("m", keep=2, words=60, overlap=10).shorten(request)
    told = short.messages[1].text
    assert "7319" in told
    assert question in told
    assert GAP in told
    assert len(told.split()) < 150
    assert short.messages[0] == request.messages[0]
    assert short.question_id() == request.question_id()


@pytest.mark.parametrize("text", ["no document at all", "short one\n\nand a question", ""])
def test_leaves_a_short_request_as_it_is(text: str) -> None:
    request = Request.ask(text)
    assert Passages("m").shorten(request) is request


def test_leaves_parts_that_are_not_text() -> None:
    parts = [{"type": "text", "text": "x " * 5000 + "\n\nWhat?"}]
    request = Request((Message("user", parts),))
    assert Passages("m").shorten(request) is request


@pytest.mark.parametrize("settings", [{"keep": 0}, {"words": 10, "overlap": 10}])
def test_refuses_what_makes_no_sense(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"keep|overlap"):
        Passages("m", **settings)
