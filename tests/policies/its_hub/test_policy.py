"""Algorithms of its_hub as policies: their answers, and that every call is the operation's."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from its_hub.api import AbstractScalingAlgorithm, AbstractScalingResult, ChatMessage
from ttc_worlds import Scripted, answered, chains, operation, tiny

from farthing.core.errors import CapError, ParamError, UpstreamError
from farthing.core.money import Cost
from farthing.core.request import Message, Request
from farthing.core.response import Response
from farthing.policies import from_params
from farthing.policies.its_hub.policy import ALGORITHMS
from farthing.policies.registry import models_of

EXACT = {"kind": "exact"}
STEPS = {"max_steps": 8, "step_token": " ", "temperature": 1.0}
SEARCHES: dict[str, dict[str, Any]] = {
    "particle-filtering": {"sg": STEPS},
    "entropic-particle-filtering": {"sg": {**STEPS, "include_stop_str_in_output": True}},
    "particle-gibbs": {"sg": STEPS, "num_iterations": 2},
    "beam-search": {"sg": STEPS, "beam_width": 2},
}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def policy(algorithm: str, model: str = "m", **params: Any) -> Any:
    return from_params("its-hub", {"model": model, "algorithm": algorithm, **params})


def right(params: dict[str, Any], count: int, steps: int = 3) -> int:
    """How many chains a policy of the smallest model solves."""
    solved = 0
    for request, value in chains(count, steps):
        told = answered(from_params("its-hub", params), small(), request)
        solved += told.samples[0].answer == value
    return solved


def small() -> Any:
    return operation(tiny("small"))


def test_self_consistency_gives_the_commonest_answer() -> None:
    model = Scripted("m", ["so 1", "it is 2", "2", "3", "hence 2"])
    op = operation(model)
    told = answered(policy("self-consistency", budget=5), op, Request.ask("?", seed=7))
    assert told.samples[0].answer == "2"
    assert told.samples[0].columns["signal"] == 3 / 5
    assert [one.seed for one in model.asked] == [7, 8, 9, 10, 11]
    assert {one.temperature for one in model.asked} == {1.0}
    assert {row.node for row in op.ledger.attempts} == {"its-hub/answer"}
    assert op.spent == Cost(5 * 10 * 10 + (2 + 3 + 1 + 1 + 2) * 40)


def test_it_votes_as_our_vote_does_on_the_same_samples() -> None:
    """Where one answer leads: ties are broken at random there."""
    compared = 0
    vote = from_params("vote", {"model": "tiny-small", "samples": 8, "stop": "none"})
    for request, _ in chains(60, steps=3):
        theirs, ours = operation(tiny("small")), operation(tiny("small"))
        told = answered(policy("self-consistency", "tiny-small"), theirs, request)
        expected = answered(vote, ours, request)
        assert theirs.spent == ours.spent
        assert theirs.attempts[0].response is not None
        votes = Counter(one.answer for one in theirs.attempts[0].response.samples)
        leaders = [count for _, count in votes.most_common(2)]
        if len(leaders) == 1 or leaders[0] > leaders[1]:
            compared += 1
            assert told.samples[0].answer == expected.samples[0].answer
            assert told.samples[0].columns["signal"] == expected.samples[0].columns["signal"]
    assert compared > 40


def test_texts_that_no_answer_can_be_read_from_are_votes_of_their_own() -> None:
    told = answered(
        policy("self-consistency", budget=3), operation(Scripted("m", ["x", "y", "x "]))
    )
    assert told.text.strip() == "x"
    assert told.samples[0].columns["signal"] == 2 / 3


def test_a_model_that_gives_several_is_called_once() -> None:
    op = small()
    answered(policy("self-consistency", "tiny-small"), op, chains(1)[0][0])
    (attempt,) = op.attempts
    assert attempt.request.n == 8


def test_adaptive_votes_stop_early_and_what_they_break_off_is_booked() -> None:
    op = operation(Scripted("m", ["4"]))
    answered(policy("adaptive-self-consistency"), op)
    assert len(op.attempts) == 2
    op = operation(Scripted("m", ["4"], seconds=[0, 0, 0, 0, 0, 30, 30, 30]))
    told = answered(policy("beta-self-consistency"), op)
    assert told.samples[0].answer == "4"
    assert Counter(one.status for one in op.attempts) == {"ok": 5, "cancelled": 3}
    assert len(op.ledger.attempts) == 8


def test_best_of_n_takes_what_the_reward_likes() -> None:
    assert right({"model": "tiny-small", "algorithm": "best-of-n", "reward": EXACT}, 40) >= 36
    judge = Scripted("judge", lambda one: "9" if "two" in one.prompt else "3")
    op = operation(Scripted("m", ["one 1", "two 2", "two 2", "three 3"]), judge)
    best = policy("best-of-n", budget=4, reward={"kind": "model", "model": "judge"})
    assert models_of(best) == ("judge", "m")
    told = answered(best, op)
    assert (told.text, told.samples[0].columns["signal"]) == ("two 2", 0.9)
    assert [one.kind for one in op.ledger.attempts] == ["sample"] * 4 + ["judge"] * 3
    assert op.ledger.attempts[-1].node == "its-hub/answer/reward"


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_searches_beat_a_vote_with_an_exact_reward(algorithm: str) -> None:
    params = {"algorithm": algorithm, "options": SEARCHES[algorithm], "reward": EXACT}
    assert right({"model": "tiny-small", **params}, 40) >= 36


def test_a_vote_solves_fewer() -> None:
    assert right({"model": "tiny-small", "algorithm": "self-consistency"}, 40) < 32


def test_steps_go_on_from_the_assistants_message_and_end_when_nothing_comes() -> None:
    def text(request: Request) -> str:
        last = request.messages[-1]
        written = last.text.split() if last.role == "assistant" else []
        return ["1", "2", "3", ""][len(written)]

    model = Scripted("m", text)
    search = policy(
        "particle-filtering",
        budget=1,
        options={"sg": {**STEPS, "include_stop_str_in_output": True}},
        reward={"kind": "model", "model": "judge"},
        fields={"continue_final_message": True},
    )
    op = operation(model, Scripted("judge", ["5"]))
    told = answered(search, op, Request.ask("count", seed=0))
    assert (told.text, told.samples[0].answer) == ("1 2 3 ", "3")
    assert [one.messages[1:] for one in model.asked[:3]] == [
        (), (Message("assistant", "1 "),), (Message("assistant", "1 2 "),),
    ]  # fmt: skip
    assert {one.extra["stop"] for one in model.asked} == {" "}
    assert "continue_final_message" not in model.asked[0].extra
    assert model.asked[1].extra["continue_final_message"] is True


def test_plans_run_another_algorithm_of_theirs() -> None:
    def text(request: Request) -> str:
        return "1. add\n2. guess" if "create a plan" in request.prompt else "it is 5"

    model = Scripted("m", text, window=1000)
    base = {"algorithm": "self-consistency"}
    op = operation(model)
    told = answered(policy("planning", budget=5, options={"base_algorithm": base}), op)
    assert told.samples[0].answer == "5"
    assert len(op.attempts) == 5


def test_conversations_keep_what_its_hub_does_not_know() -> None:
    messages = (
        Message("system", "Count.", {"name": "boss"}),
        Message("user", [{"type": "text", "text": "1, 2,"}]),
        Message("assistant", None, {"tool_calls": [{"id": "a"}]}),
        Message("tool", "3", {"tool_call_id": "a"}),
    )
    model = Scripted("m", ["4"])
    answered(policy("self-consistency", budget=2), operation(model), Request(messages))
    assert [one.messages for one in model.asked] == [messages] * 2


def test_calls_of_tools_are_votes() -> None:
    model = Scripted("m", [""])
    calls = iter("abb")

    async def complete(request: Request) -> Response:
        model.asked.append(request)
        told = await Scripted.complete(Scripted("m", [""]), request)
        function = {"name": next(calls), "arguments": "{}"}
        call = {"id": "x", "type": "function", "function": function}
        return replace(told, samples=(replace(told.samples[0], fields={"tool_calls": [call]}),))

    model.complete = complete  # type: ignore[method-assign]
    request = Request.ask("?", extra={"tools": TOOLS, "tool_choice": "auto", "user": "u"})
    told = answered(policy("self-consistency", budget=3), operation(model), request)
    assert told.samples[0].tool_calls[0]["function"]["name"] == "b"
    assert told.samples[0].columns["signal"] == 2 / 3
    assert model.asked[0].extra == {"tools": TOOLS, "tool_choice": "auto", "user": "u"}


class TestSpending:
    def test_the_best_so_far_stands_when_it_is_used_up(self) -> None:
        words = ["1", "2 2", "2", "3", "4", "5", "6", "7"]
        op = operation(Scripted("m", words, window=None))
        told = answered(policy("self-consistency", spending={"tokens": 4}), op)
        assert (told.samples[0].answer, op.stopped, len(op.attempts)) == ("2", "cap", 3)

    @pytest.mark.parametrize("algorithm", ["adaptive-self-consistency", "beta-self-consistency"])
    def test_an_algorithm_that_cannot_go_on_leaves_its_votes(self, algorithm: str) -> None:
        op = operation(Scripted("m", ["1", "2", "3", "2", "5"], window=None), cap=Cost(600))
        told = answered(policy(algorithm), op)
        assert (told.samples[0].answer, op.stopped, len(op.attempts)) == ("2", "cap", 5)

    def test_what_the_reward_liked_stands(self) -> None:
        judge = Scripted("judge", ["2", "8", "1", "9"])
        op = operation(Scripted("m", ["1", "2", "3", "4"]), judge, cap=Cost(4 * 140 + 2 * 140))
        reward = {"kind": "model", "model": "judge"}
        told = answered(policy("best-of-n", budget=4, reward=reward), op)
        assert (told.text, told.samples[0].columns["signal"], op.stopped) == ("2", 0.8, "cap")
        op = operation(Scripted("m", ["1", "2", "3", "4"]), judge, cap=Cost(4 * 140))
        told = answered(policy("best-of-n", budget=4, reward=reward), op)
        assert (told.text, told.samples[0].columns["signal"], op.stopped) == ("1", None, "cap")

    def test_a_search_leaves_its_best_beginning(self) -> None:
        [(request, _)] = chains(1)
        params = {"options": {"sg": STEPS}, "reward": EXACT}
        op = small()
        told = answered(
            policy("particle-filtering", "tiny-small", **params, spending={"tokens": 40}),
            op,
            request,
        )
        assert op.stopped == "cap"
        assert told.samples[0].finish_reason == "length"
        assert told.samples[0].columns["signal"] == 1.0

    def test_nothing_is_answered_where_there_is_room_for_nothing(self) -> None:
        with pytest.raises(CapError):
            answered(policy("self-consistency"), operation(Scripted("m", ["1"]), cap=Cost(0)))

    def test_seconds_break_calls_off(self) -> None:
        model = Scripted("m", ["1", "1", "2"], seconds=[0.0, 0.0, 30.0])
        op = operation(model)
        told = answered(policy("self-consistency", budget=3, spending={"seconds": 0.3}), op)
        assert (told.samples[0].answer, op.stopped) == ("1", "cap")
        assert [one.status for one in op.attempts] == ["ok", "ok", "cancelled"]

    def test_no_operation_exceeds_its_budget_by_more_than_its_dearest_call(self) -> None:
        rng = random.Random(0)
        exceeded = Counter[str]()
        texts = [" ".join([str(rng.randrange(3))] * rng.randrange(1, 4)) for _ in range(97)]
        model, judge = Scripted("m", texts), Scripted("judge", ["5", "1", "9"], window=400)
        reward = {"kind": "model", "model": "judge"}
        policies = [
            policy(name, budget=4, reward=reward if name == "best-of-n" else None)
            for name in list(ALGORITHMS)[:4]
        ]
        for number in range(400):
            one, budget = policies[number % 4], Cost(rng.randrange(1, 2000))
            capped = bool(number // 4 % 2)
            op = operation(model, judge, cap=budget if capped else None)
            if not capped:
                told = {**one.get_params(), "spending": {"usd": str(budget)}}
                one = from_params("its-hub", told)
            answered(one, op, Request.ask("?", seed=number, max_tokens=3))
            dearest = max(attempt.cost or Cost(0) for attempt in op.attempts)
            assert op.spent - budget < dearest
            exceeded[one.algorithm] += op.spent > budget
        assert len(exceeded) == 4
        assert min(exceeded.values()) > 10


def test_a_sample_that_fails_is_left_out_and_all_that_fail_raise() -> None:
    def text(request: Request) -> str:
        if request.seed == 1 or "never" in request.prompt:
            raise UpstreamError("no", model="m", kind="status", status=500)
        return "1"

    for algorithm in list(ALGORITHMS)[:3]:
        op = operation(Scripted("m", text))
        assert answered(policy(algorithm, budget=3), op).samples[0].answer == "1"
        with pytest.raises(UpstreamError):
            answered(policy(algorithm), operation(Scripted("m", text)), Request.ask("never"))


class First(AbstractScalingAlgorithm):
    """An algorithm of a user's own: asks for one answer."""

    def __init__(self, ending: str = "") -> None:
        self.ending = ending

    async def ainfer(self, lm: Any, prompt_or_messages: Any, budget: int, **told: Any) -> Any:
        message = ChatMessage("user", prompt_or_messages + self.ending)
        answer = await lm.agenerate([message], max_completion_tokens=budget)
        return One(answer)


class One(AbstractScalingResult):
    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    @property
    def the_one(self) -> dict[str, Any]:
        return self.answer


def test_an_algorithm_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_algorithms", sys.modules[__name__])
    model = Scripted("m", ["7"])
    own = policy("own_algorithms:First", budget=5, options={"ending": "!"})
    told = answered(own, operation(model))
    assert (told.samples[0].answer, told.samples[0].columns["signal"]) == ("7", None)
    assert (model.asked[0].prompt, model.asked[0].max_tokens) == ("?!", 5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"algorithm": "vote"}, "algorithm 'vote' is not known; known: self-consistency, "),
        ({"algorithm": "builtins:dict"}, "'builtins:dict' is no AbstractScalingAlgorithm"),
        ({"algorithm": "nowhere:X"}, "'nowhere:X' cannot be imported"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"options": {"tool_votes": "x"}}, "self-consistency has no 'tool_votes'; known: consist"),
        ({"options": {"tool_vote": "x"}}, "options: tool_vote must be one of"),
        ({"options": ["x"]}, "options is a table"),
        ({"options": {"orchestrator": "x"}}, "orchestrator is made of the operation"),
        ({"options": {"consistency_space_projection_func": "no:where"}}, "cannot be imported"),
        ({"algorithm": "best-of-n"}, "best-of-n needs a reward"),
        ({"algorithm": "best-of-n", "reward": {"kind": "x"}}, "no reward is called 'x'"),
        ({"algorithm": "planning"}, "base_algorithm is a table of algorithm and options"),
        ({"algorithm": "beam-search", "reward": EXACT}, "sg is a table: max_steps, and step_token"),
        (
            {"algorithm": "beam-search", "reward": EXACT, "options": {"sg": {"max_steps": 2}}},
            "sg: Either step_token or tokens_per_step",
        ),
        (
            {"algorithm": "beam-search", "reward": EXACT, "options": {"sg": STEPS}},
            "missing 1 required positional argument: 'beam_width'",
        ),
        (
            {
                "algorithm": "beam-search",
                "reward": EXACT,
                "budget": 3,
                "options": SEARCHES["beam-search"],
            },
            "budget must be a multiple of beam_width, 2, not 3",
        ),
        (
            {
                "algorithm": "beam-search",
                "reward": EXACT,
                "options": {"sg": STEPS, "beam_width": 0},
            },
            "budget must be a multiple of beam_width, 0, not 8",
        ),
        ({"spending": {"dollars": 1}}, "unknown key 'dollars'"),
    ],
)
def test_wrong_parameters_are_told(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamError) as caught:
        policy(params.pop("algorithm", "self-consistency"), **params)
    assert message in str(caught.value)


def test_its_parameters_come_back() -> None:
    one = policy(
        "beam-search", budget=4, options=SEARCHES["beam-search"], reward=EXACT,
        fields={"x": True}, temperature=None, spending={"usd": "0.1"},
    )  # fmt: skip
    assert from_params("its-hub", one.get_params()) == one
    assert one.get_params()["spending"] == {"usd": "0.1"}


def test_without_the_package_it_says_what_to_install() -> None:
    code = """\
import sys
sys.modules["its_hub"] = sys.modules["its_hub.api"] = None
from farthing.policies import from_params
from farthing.core.errors import ParamError
try:
    from_params("its-hub", {"model": "m", "algorithm": "self-consistency"})
except ParamError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "its-hub is not installed: pip install 'farthing[its-hub]'" in run.stdout


def test_its_hub_is_imported_only_where_it_is_asked_for() -> None:
    code = "import sys, farthing.policies; print('its_hub' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
