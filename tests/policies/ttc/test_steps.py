"""Going on from partial answers: what is called, what ends a step, and what may be spent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ttc_worlds import Scripted, operation, tiny

from farthing.core.errors import CapError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.steps import Piece, Steps, extend

CHAIN = Request.ask("3 + 4 * 2 - 5 =", temperature=1.0, seed=1)
TOKEN = Steps(tokens=1)


def go(
    op: Any, prefixes: list[str], steps: Steps, request: Request = CHAIN, **kept: Any
) -> list[Piece]:
    model = next(iter(op.models))
    return asyncio.run(extend(model, request, op, prefixes, steps, "n", **kept))


def test_equal_prefixes_are_one_call_and_pieces_keep_their_places() -> None:
    op = operation(tiny("small"))
    pieces = go(op, ["7", "", "7 4", "7", "7"], TOKEN)
    assert sorted(attempt.request.n for attempt in op.attempts) == [1, 1, 3]
    assert op.usage.output_tokens == 5
    for prefix, piece in zip(["7", "", "7 4", "7", "7"], pieces, strict=True):
        assert piece.text.startswith(" ") == bool(prefix and piece.text)
        assert piece.answer == (prefix + piece.text).split()[-1]


def test_a_model_that_gives_one_sample_a_call_is_called_for_each() -> None:
    op = operation(Scripted("m", ["a", "b", "c"]))
    assert sorted(piece.text for piece in go(op, ["x", "x", "x"], Steps())) == ["a\n", "b\n", "c\n"]
    assert [attempt.request.messages[-1].role for attempt in op.attempts] == ["assistant"] * 3
    assert [attempt.request.extra["stop"] for attempt in op.attempts] == ["\n"] * 3


@pytest.mark.parametrize(
    ("steps", "text", "finished", "added"),
    [
        (Steps(), "so 3", False, "so 3\n"),
        (Steps(), " ", True, " "),
        (Steps(end="####"), "#### 3", True, "#### 3\n"),
        (Steps(stop=""), "all of it", True, "all of it"),
        (Steps(tokens=5), "whole", True, "whole"),
    ],
)
def test_what_ends_a_step_and_an_answer(
    steps: Steps, text: str, finished: bool, added: str
) -> None:
    [piece] = go(operation(Scripted("m", [text])), ["so "], steps)
    assert (piece.finished, piece.text) == (finished, added)


def test_a_token_is_not_the_end_and_the_end_token_is() -> None:
    assert not go(operation(tiny("small")), ["7"], TOKEN)[0].finished
    ended = go(operation(tiny("large")), ["7 4 9"], TOKEN)[0]
    assert ended.finished
    assert ended.text == ""
    assert ended.answer == "9"


def test_a_prefix_that_fills_the_window_is_a_finished_answer() -> None:
    model = tiny("small")
    full = " ".join("7" * (model.shape.positions - len(model.encode("3+4*2-5"))))
    op = operation(model)
    pieces = go(op, [full, "7"], TOKEN)
    assert (pieces[0].text, pieces[0].finished, pieces[0].answer) == ("", True, "7")
    assert not pieces[1].finished


def test_fields_are_sent_with_a_prefix_alone() -> None:
    op = operation(Scripted("m", ["a"]))
    go(op, ["", "x"], Steps(fields={"continue_final_message": True}))
    assert [a.request.extra.get("continue_final_message") for a in op.attempts] == [None, True]


def test_seeded_steps_are_repeatable_and_differ_between_turns() -> None:
    hot = Request.ask("3 + 4 * 2 - 5 =", temperature=20.0, seed=1)

    def told(turn: int) -> list[str]:
        return [p.text for p in go(operation(tiny("small")), ["7"] * 20, TOKEN, hot, turn=turn)]

    assert told(1) == told(1)
    assert told(1) != told(2)
    assert len(set(told(1))) > 1


def test_no_more_than_one_sample_exceeds_what_may_be_spent() -> None:
    op = operation(tiny("small"))
    spending = Spending(tokens=5)
    with pytest.raises(CapError, match="used up: 5 tokens"):
        go(op, ["7", "7", "7", "7 4", "7 4", "1", "2", "3"], TOKEN, spending=spending)
    assert op.usage.output_tokens == 5


def test_no_more_than_one_sample_exceeds_the_cap() -> None:
    cap = Cost(100_000)
    op = operation(tiny("small"), cap=cap)
    with pytest.raises(CapError):
        go(op, ["7"] * 40, Steps(stop=""))
    dearest = max(attempt.cost for attempt in op.attempts if attempt.cost is not None)
    assert cap <= op.spent < cap + dearest


def test_params_hold_what_is_not_left_out() -> None:
    for steps in (Steps(), TOKEN, Steps(stop="", end="x", fields={"a": 1})):
        assert Steps.from_params(steps.get_params()) == steps
    assert Steps().get_params() == {}
    with pytest.raises(ValueError, match="tokens must be at least 1"):
        Steps(tokens=0)
