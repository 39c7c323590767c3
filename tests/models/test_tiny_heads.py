"""What the tiny models say of their own workings: it changes nothing, and is about right."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from farthing.bench.compute.remembered import Called, Remembered, Session
from farthing.bench.compute.worlds import passes
from farthing.core.errors import RequestError
from farthing.core.request import Message, Request
from farthing.core.response import Response
from farthing.models import tiny
from farthing.models.tiny._heads import FILE, LENGTHS, Heads, Totals
from farthing.models.tiny.model import WEIGHTS
from farthing.signals.introspection import introspections

CHAIN = "3+4*2-5"
HEADS = {"heads": True}


@pytest.fixture(scope="module", params=tiny.TINY_SIZES)
def model(request: pytest.FixtureRequest) -> tiny.TinyModel:
    return tiny.load(request.param)


def asked(model: Any, request: Request) -> Response:
    return asyncio.run(model.complete(request))


def ask(text: str = CHAIN, **settings: Any) -> Request:
    return Request.ask(tiny.prompt(text), extra=HEADS, **settings)


def said(response: Response) -> list[np.ndarray]:
    """Of each sample: `enough`, then `joint` row after row, for each token."""
    return [
        np.array([[one["enough"], *one["joint"][0], *one["joint"][1]] for one in told])
        for told in (sample.fields["heads"] for sample in response.samples)
    ]


def test_the_shipped_heads_are_those_of_the_manifest() -> None:
    manifest = json.loads((WEIGHTS / "HEADS.json").read_text())
    for size in tiny.TINY_SIZES:
        told = manifest["sizes"][size]
        assert hashlib.sha256((WEIGHTS / size / FILE).read_bytes()).hexdigest() == told["sha256"]
        assert tiny.load(size).heads.flops == told["flops"]


class TestNothingElseChanges:
    @pytest.mark.parametrize("heat", [0.0, 1.0])
    def test_answers_are_the_same_bit_for_bit(self, model: tiny.TinyModel, heat: float) -> None:
        for seed in range(10):
            request = ask(n=3, temperature=heat, seed=seed, logprobs=True)
            with_heads = asked(model, request)
            without = asked(model, replace(request, extra={}))
            assert tuple(replace(s, fields={}) for s in with_heads.samples) == without.samples
            assert with_heads.usage == without.usage

    def test_logits_are_the_same_bit_for_bit(self, model: tiny.TinyModel) -> None:
        sequences = [model.encode(CHAIN) + model.encode_working(f"7 {d}") for d in range(10)]
        stream: list[Any] = []
        assert np.array_equal(model.read_all(sequences), model.read_all(sequences, stream=stream))
        assert [part.shape for part in stream] == [(10, model.shape.width)] * 3

    def test_they_are_shown_only_where_asked_for(self, model: tiny.TinyModel) -> None:
        request = ask(seed=1)
        assert not asked(model, replace(request, extra={"heads": False})).samples[0].fields
        assert introspections(asked(model, replace(request, extra={})).samples[0]) is None

    def test_anything_but_a_truth_value_is_refused(self, model: tiny.TinyModel) -> None:
        with pytest.raises(RequestError, match="heads must be true or false, not 3"):
            asked(model, replace(ask(), extra={"heads": 3}))


class TestWhatIsShown:
    def test_probabilities_of_every_token(self, model: tiny.TinyModel) -> None:
        response = asked(model, ask(n=8, temperature=1.0, seed=2))
        for sample, told in zip(response.samples, said(response), strict=True):
            assert len(told) == sample.output_tokens
            assert told.min() >= 0
            assert told.max() <= 1
            assert told[:, 1:].sum(1) == pytest.approx(1, abs=1e-5)
            assert told[-1, 1] + told[-1, 1 + LENGTHS] > 0.99  # nothing follows the end token

    def test_a_working_step_by_step_is_told_as_at_once(self, model: tiny.TinyModel) -> None:
        request = ask(temperature=1.0, seed=3)
        whole = said(asked(model, request))[0]
        for fresh in (model, tiny.load(model.size)):
            text, parts = "", []
            for _ in range(len(whole)):
                messages = request.messages
                if text:
                    messages = (*messages, Message("assistant", text))
                step = asked(fresh, replace(request, messages=messages, max_tokens=1))
                parts.append(said(step)[0])
                text += step.text
            assert np.concatenate(parts) == pytest.approx(whole, abs=1e-5)

    def test_a_foreign_beginning_is_read_from_its_start(self, model: tiny.TinyModel) -> None:
        begun = replace(
            ask(temperature=0.0),
            messages=(Message("user", tiny.prompt(CHAIN)), Message("assistant", "7 3")),
        )
        fresh = tiny.load(model.size)
        first = asked(fresh, begun)
        assert first.usage is not None
        assert first.usage.cache_read == 0
        assert said(first)[0] == pytest.approx(said(asked(fresh, begun))[0], abs=1e-6)
        session = asked(Session(Remembered(fresh)), begun)
        assert session.usage == first.usage
        assert said(session)[0] == pytest.approx(said(first)[0], abs=1e-5)

    def test_remembered_models_say_the_same(self, model: tiny.TinyModel) -> None:
        session = Session(Remembered(model))
        for heat in (0.0, 0.7, 1.0):
            request = ask("3+4*2-5*7", n=4, temperature=heat, seed=5)
            here, there = asked(model, request), asked(session, request)
            for one, other in zip(said(here), said(there), strict=True):
                assert one == pytest.approx(other, abs=1e-5)

    def test_what_is_remembered_of_workings_is_bounded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("farthing.models.tiny._heads._TOTALS", 2)
        totals = Totals()
        for token in range(3):
            totals.note((token,), (-1.0, -1.0))
        assert totals.get((0,)) is None
        assert totals.get((2,)) == (-1.0, -1.0)


class TestCost:
    def test_flops_are_those_of_its_matrices(self, model: tiny.TinyModel) -> None:
        inputs = 3 * model.shape.width + 4
        hidden = model.heads.width
        assert model.heads.flops == 2 * inputs * hidden + 2 * hidden * (1 + 2 * LENGTHS)
        more = model.flops_per_token(9, heads=True) - model.flops_per_token(9)
        assert more == model.heads.flops < 0.15 * model.flops_per_token()

    def test_passes_count_them_for_each_token_that_is_chosen(self, model: tiny.TinyModel) -> None:
        def flops(heads: int) -> int:
            call = Called(read=9, held=0, rows=[3, 2, 1], output=9, heads=heads)
            return sum(done for done, _ in passes(model, call))

        assert flops(3) - flops(0) == (3 + 3 + 2 + 1) * model.heads.flops


@pytest.fixture(scope="module")
def places(model: tiny.TinyModel) -> dict[str, np.ndarray]:
    """What is said and what is so, token after token, of four workings of each chain.

    The chains are drawn here: 600 of each length from three steps.
    """
    rng = np.random.default_rng(77)
    rows: list[tuple[float, ...]] = []
    for steps in (3, 4, 5, 6):
        for number in range(600):
            chain = tiny.problem(rng, steps)
            response = asked(model, ask(chain, n=4, temperature=1.0, seed=number))
            right = [bool(tiny.check(chain, sample.text)) for sample in response.samples]
            for place, sample in enumerate(response.samples):
                others = right[:place] + right[place + 1 :]
                bettered = 0.0 if right[place] else sum(others) / len(others)
                told = introspections(sample)
                assert told is not None
                for at, says in enumerate(told):
                    left = len(told) - 1 - at
                    rows.append(
                        (says.likely, right[place], says.enough, 1 - bettered, says.remaining,
                         left, sample.mean_logprob or 0.0)
                    )  # fmt: skip
    names = ("likely", "right", "enough", "stays", "remaining", "left", "logprob")
    return dict(zip(names, np.array(rows).T, strict=True))


class TestCalibration:
    @pytest.mark.parametrize(("said", "so"), [("likely", "right"), ("enough", "stays")])
    def test_probabilities_are_kept(
        self, places: dict[str, np.ndarray], said: str, so: str
    ) -> None:
        """In tenths of the places, by what is said, within 0.08 on average."""
        order = np.argsort(places[said])
        parts = np.array_split(order, 10)
        off = [abs(places[said][part].mean() - places[so][part].mean()) for part in parts]
        assert np.mean(off) < 0.08

    def test_they_tell_right_from_wrong(self, places: dict[str, np.ndarray]) -> None:
        """At the end no worse than the mean log-probability, by the Brier score above a share."""
        ended = places["left"] == 0
        right, likely = places["right"][ended], places["likely"][ended]
        assert ((likely - right) ** 2).mean() < 0.9 * right.var()
        assert auroc(likely, right) > auroc(places["logprob"][ended], right) - 0.01

    def test_lengths_are_about_right(self, places: dict[str, np.ndarray]) -> None:
        going = places["left"] > 0
        left = places["left"][going]
        off = np.abs(places["remaining"][going] - left).mean()
        assert off < 0.8 * np.abs(left - left.mean()).mean()


def auroc(score: np.ndarray, right: np.ndarray) -> float:
    ranks = np.argsort(np.argsort(score)) + 1
    wins = ranks[right > 0].sum() - right.sum() * (right.sum() + 1) / 2
    return float(wins / (right.sum() * (1 - right).sum()))


def test_heads_are_loaded_on_first_use() -> None:
    fresh = tiny.load("small")
    asked(fresh, Request.ask(tiny.prompt(CHAIN)))
    assert "heads" not in vars(fresh)
    asked(fresh, ask())
    assert isinstance(vars(fresh)["heads"], Heads)
