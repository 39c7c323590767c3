"""Policies in which models see answers: when they stop, what they cost, and who is asked what."""

from __future__ import annotations

from typing import Any

import pytest
from ttc_worlds import Scripted, answered, operation

from farthing.core.errors import CapError, ParamError, RequestError, UpstreamError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.policies import from_params
from farthing.policies.registry import models_of, policies_in
from farthing.policies.ttc.brainstorm import Brainstorm
from farthing.policies.ttc.chain import Chain, Link
from farthing.policies.ttc.mixture_of_agents import MixtureOfAgents
from farthing.policies.ttc.refine import Refine
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.vote import SelfConsistency


def failing(name: str) -> Scripted:
    def text(request: Request) -> str:
        raise UpstreamError("no", model=name, kind="status", status=500)

    return Scripted(name, text)


def test_refining_stops_when_nothing_is_wrong() -> None:
    model = Scripted("m", ["it is 1", "it is 2"])
    critic = Scripted("critic", ["Wrong: count again.", "CORRECT"])
    op = operation(model, critic)
    assert answered(Refine("m", "critic", rounds=5), op).text == "it is 2"
    assert [(row.model, row.kind) for row in op.ledger.attempts] == [
        ("m", "sample"), ("critic", "judge"), ("m", "sample"), ("critic", "judge"),
    ]  # fmt: skip
    assert "it is 1" in model.asked[1].messages[-1].text
    assert "count again" in model.asked[1].messages[-1].text


@pytest.mark.parametrize(("unchanged", "answers"), [(True, 2), (False, 4)])
def test_refining_stops_when_the_answer_stays(unchanged: bool, answers: int) -> None:
    model = Scripted("m", ["it is 1", "so it is 1"])
    critic = Scripted("c", ["Wrong."])
    answered(Refine("m", "c", rounds=3, unchanged=unchanged), operation(model, critic))
    assert len(model.asked) == answers


def test_a_critique_has_a_limit_of_its_own() -> None:
    model, critic = Scripted("m", ["1"]), Scripted("c", ["CORRECT"])
    request = Request.ask("?", max_tokens=3)
    answered(Refine("m", "c", critic_tokens=70), operation(model, critic), request)
    assert (model.asked[0].max_tokens, critic.asked[0].max_tokens) == (3, 70)
    with pytest.raises(ValueError, match="critic_tokens must be at least 1"):
        Refine("m", critic_tokens=0)


def test_refining_ends_with_its_spending() -> None:
    model, critic = Scripted("m", ["1 1 1", "2 2 2", "3 3 3"]), Scripted("c", ["Wrong."])
    op = operation(model, critic)
    told = answered(Refine("m", "c", rounds=9, spending=Spending(tokens=5)), op)
    assert (told.text, op.stopped, len(op.attempts)) == ("2 2 2", "cap", 3)


def outgrown(most: int, code: str = "context_length_exceeded") -> Scripted:
    """A model that answers prompts of so many characters, and refuses longer ones."""

    def text(request: Request) -> str:
        if len(request.messages[-1].text) > most:
            raise RequestError("too long", param="messages", code=code)
        return "1"

    return Scripted("m", text)


def test_an_answer_stands_where_the_next_prompt_is_too_long() -> None:
    critic = Scripted("c", ["Wrong: " + "count again. " * 50])
    op = operation(outgrown(300), critic)
    assert answered(Refine("m", "c"), op).text == "1"
    assert op.stopped == "context"
    with pytest.raises(RequestError, match="too long"):
        answered(Refine("m", "c"), operation(outgrown(0), critic))
    with pytest.raises(RequestError, match="too long"):
        answered(Refine("m", "c"), operation(outgrown(300, "other"), critic))


def test_a_brainstorm_goes_on_until_all_agree() -> None:
    a, b = Scripted("a", ["one 1", "two 2"]), Scripted("b", ["two 2"])
    op = operation(a, b)
    told = answered(Brainstorm(("a", "b"), rounds=4), op)
    assert (told.samples[0].answer, told.samples[0].columns["signal"]) == ("2", 1.0)
    assert sorted(row.node for row in op.ledger.attempts) == [
        "brainstorm/0/0", "brainstorm/0/1", "brainstorm/1/0", "brainstorm/1/1",
    ]  # fmt: skip
    assert "[1] one 1\n\n[2] two 2" in a.asked[1].messages[-1].text
    assert a.asked[1].messages[0] == a.asked[0].messages[0]


def test_a_model_named_twice_answers_anew() -> None:
    model = Scripted("m", ["1", "1"])
    answered(Brainstorm(("m", "m")), operation(model), Request.ask("?", seed=7))
    assert [one.seed for one in model.asked] == [7, 8]


def test_a_brainstorm_votes_in_the_end() -> None:
    models = [Scripted(name, [text]) for name, text in zip("abc", "122", strict=True)]
    told = answered(Brainstorm(("a", "b", "c"), rounds=2), operation(*models))
    assert (told.model, told.samples[0].answer) == ("b", "2")
    op = operation(*models)
    answered(Brainstorm(("a", "b", "c"), rounds=2, agree=0.6), op)
    assert len(op.attempts) == 3


def test_who_fails_is_left_out_unless_all_do() -> None:
    told = answered(Brainstorm(("a", "b")), operation(failing("a"), Scripted("b", ["2"])))
    assert told.samples[0].answer == "2"
    with pytest.raises(UpstreamError):
        answered(Brainstorm(("a", "b")), operation(failing("a"), failing("b")))


def test_members_are_asked_one_by_one_under_dollars_that_may_not_do() -> None:
    models = [Scripted(name, ["1 2 3"]) for name in "abc"]
    op = operation(*models)
    answered(Brainstorm(("a", "b", "c"), spending=Spending(usd="0.0000000003")), op)
    assert [row.model for row in op.ledger.attempts] == ["a", "b"]
    with pytest.raises(CapError):
        answered(Brainstorm(("a", "b", "c")), operation(*models, cap=Cost(0)))


def test_a_mixture_puts_proposals_together_layer_upon_layer() -> None:
    a, b, chief = Scripted("a", ["1", "2"]), Scripted("b", ["3", "4"]), Scripted("chief", ["9"])
    op = operation(a, b, chief)
    assert answered(MixtureOfAgents(("a", "b"), "chief", layers=2), op).text == "9"
    assert "[1] 1\n\n[2] 3" in a.asked[1].messages[-1].text
    assert "[1] 2\n\n[2] 4" in chief.asked[0].messages[-1].text
    assert len(op.attempts) == 5


def test_a_mixture_that_is_cut_short_answers_with_a_proposal() -> None:
    op = operation(Scripted("a", ["1"]), Scripted("chief", ["9"]), cap=Cost(100))
    assert answered(MixtureOfAgents(("a",), "chief"), op).text == "1"
    assert op.stopped == "cap"


CHAIN: dict[str, Any] = {
    "links": [
        {"ask": {"kind": "vote", "model": "a", "samples": 3, "stop": "none"}, "accept": 0.9},
        {"ask": {"kind": "vote", "model": "b", "samples": 2}, "accept": 0.5},
    ]
}


@pytest.mark.parametrize(("texts", "answer", "calls"), [("111", "1", 3), ("112", "7", 5)])
def test_a_cascade_of_votes(texts: str, answer: str, calls: int) -> None:
    op = operation(Scripted("a", list(texts)), Scripted("b", ["7"]))
    policy = from_params("chain", CHAIN)
    assert answered(policy, op).samples[0].answer == answer
    nodes = {row.node for row in op.ledger.attempts}
    assert nodes == ({"chain/0/vote"} if calls == 3 else {"chain/0/vote", "chain/1/vote"})
    assert models_of(policy) == ("a", "b")
    assert [part.kind for part in policies_in(policy)] == ["chain", "vote", "vote"]


def test_a_link_without_a_signal_is_passed_up_and_spending_ends_a_chain() -> None:
    a, b = Scripted("a", ["1"]), Scripted("b", ["2"])
    policy = Chain((Link("a"), Link("b")))
    assert answered(policy, operation(a, b)).text == "2"
    op = operation(a, b)
    policy = Chain((Link("a"), Link("b")), Spending(tokens=1))
    assert (answered(policy, op).text, op.stopped) == ("1", "cap")


@pytest.mark.parametrize(
    ("kind", "params", "place"),
    [
        ("chain", {"links": [{"ask": {"kind": "vot"}}]}, ("links", "[0]", "ask", "kind")),
        ("chain", {"links": [{"accept": 1}]}, ()),
        ("brainstorm", {"members": ["a", {"kind": "vote"}]}, ("members", "[1]")),
        ("brainstorm", {"members": "ab"}, ()),
        ("mixture_of_agents", {"proposers": ["a"], "aggregator": 3}, ("aggregator",)),
    ],
)
def test_where_a_table_is_wrong(kind: str, params: dict[str, Any], place: tuple[str, ...]) -> None:
    with pytest.raises(ParamError) as caught:
        from_params(kind, params)
    assert caught.value.place == place


@pytest.mark.parametrize(
    "policy",
    [
        Refine("m", "c", spending=Spending(seconds=2.0)),
        Brainstorm(("a", SelfConsistency("b", 3)), agree=0.5),
        MixtureOfAgents(("a", SelfConsistency("b")), SelfConsistency("c"), 2),
        Chain((Link(SelfConsistency("a"), 0.5), Link("b")), Spending(usd="1")),
    ],
)
def test_parameters_come_back(policy: Any) -> None:
    assert from_params(policy.kind, policy.get_params()) == policy
