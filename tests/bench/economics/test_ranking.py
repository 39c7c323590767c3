"""The ranking with weights, and what changing them does."""

from __future__ import annotations

import pytest

from farthing.bench.economics.cost_of_pass import Figure, Standing
from farthing.bench.economics.ranking import parse_weights, ranking
from farthing.bench.economics.study import Entry
from farthing.core.errors import DataError

NONE = Figure(None)


def standing(model: str, passed: float | None, cost: float | None, first: float | None = None):
    entry = Entry(model, 10, 10, first_pass=first)
    return Standing(entry, Figure(passed), Figure(cost), NONE, NONE, None, None)


def test_by_hand():
    models = [standing("a", 0.9, 100.0), standing("b", 0.7, 10.0), standing("c", 0.5, 1.0)]
    found = ranking(models, weights={"quality": 3, "cost": 1})
    assert found.weights == {"quality": 0.75, "cost": 0.25}
    assert [(one.model, one.score) for one in found.models] == [
        ("a", pytest.approx(0.75)),
        ("b", pytest.approx(0.5)),
        ("c", pytest.approx(0.25)),
    ]
    # b is halfway between the two on a log scale: by half and half all three are equal.
    assert {one.model: one.first for one in found.models} == pytest.approx(
        {"a": 0.5, "b": 0.0, "c": 0.5}, abs=0.012
    )


def test_the_gain_of_a_second_try():
    models = [standing("a", 0.9, 2.0, 0.2), standing("b", 0.9, 2.0, 0.8)]
    found = ranking(models)
    assert found.gain_of == "a second try"
    assert [one.model for one in found.models] == ["a", "b"]
    assert found.models[0].criteria["gain"] == 1.0


def test_a_gain_that_one_lacks_takes_no_part():
    models = [standing("a", 0.9, 2.0, 0.2), standing("b", 0.8, 2.0)]
    assert set(ranking(models).weights) == {"quality", "cost"}
    with pytest.raises(DataError, match="gain is not known"):
        ranking(models, weights={"gain": 1.0})


def test_unknown_and_free_models_are_left_out():
    models = [standing("a", 0.9, 2.0), standing("b", None, 2.0), standing("c", 0.1, 0.0)]
    found = ranking(models)
    assert found.left_out == ("b", "c")
    assert ranking(models[1:]).models == ()


@pytest.mark.parametrize("text", ["speed=1", "quality", "quality=-1", "cost=0", "cost=1,cost=2"])
def test_weights_that_cannot_be(text):
    with pytest.raises(DataError, match="weights"):
        parse_weights(text)


def test_weights():
    assert parse_weights("quality=2, cost=1") == {"quality": 2.0, "cost": 1.0}
