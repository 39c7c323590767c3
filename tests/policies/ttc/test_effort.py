"""Thought and answer: what a model is asked, and that both budgets hold."""

from __future__ import annotations

from typing import Any

import pytest
from ttc_worlds import Scripted, answered, operation

from farthing.core.errors import ParamError, RequestError
from farthing.core.money import Cost
from farthing.core.request import Message, Request
from farthing.models._messages import messages_fields
from farthing.policies import from_params
from farthing.policies.ttc.concise import STYLES, Concise
from farthing.policies.ttc.effort import Effort


def asked(by: str, effort: float, request: Request | None = None, **more: Any) -> Request:
    model = Scripted("m", ["1"])
    policy = from_params("effort", {"model": "m", "effort": effort, "by": by, **more})
    answered(policy, operation(model), request)
    (one,) = model.asked
    return one


@pytest.mark.parametrize(
    ("effort", "level"), [(0, "low"), (0.3, "low"), (0.5, "medium"), (1, "high")]
)
def test_a_level_of_effort(effort: float, level: str) -> None:
    one = asked("effort", effort, thinking=1000, answer_tokens=100)
    assert one.extra == {"reasoning_effort": level}
    assert one.max_tokens == round(1000 * effort) + 100


def test_a_budget_of_thought_for_anthropic() -> None:
    one = asked("thinking", 0.5, Request.ask("?", temperature=0.2), thinking=4096)
    told = {"type": "enabled", "budget_tokens": 2048}
    assert (one.extra["thinking"], one.max_tokens, one.temperature) == (told, 3072, None)
    assert messages_fields(one, "claude", max_tokens=9)["thinking"] == told
    one = asked("thinking", 0.1, thinking=4096, answer_tokens=50)
    assert (one.extra["thinking"], one.max_tokens) == ({"type": "disabled"}, 50)


def test_a_budget_of_thought_in_the_template() -> None:
    request = Request.ask("?", extra={"chat_template_kwargs": {"x": 1}})
    told = asked("template", 0.25, request, thinking=400).extra["chat_template_kwargs"]
    assert told == {"x": 1, "enable_thinking": True, "thinking_budget": 100}


def test_thought_is_cut_off_at_its_budget_and_the_answer_keeps_its_own() -> None:
    model = Scripted("m", ["thought that has no end", "7"])
    op = operation(model)
    policy = Effort("m", 0.5, "forced", thinking=40, answer_tokens=9, fields={"go_on": True})
    told = answered(policy, op, Request.ask("?", max_tokens=500))
    assert (told.text, told.samples[0].columns["effort"]) == ("7", 0.5)
    think, answer = model.asked
    assert (think.max_tokens, think.extra) == (20, {"stop": ["</think>"]})
    assert (answer.max_tokens, answer.extra) == (9, {"go_on": True})
    last = answer.messages[-1]
    assert last == Message("assistant", "<think>\nthought that has no end</think>\n\n")
    assert [row.node for row in op.ledger.attempts] == ["effort/think", "effort/answer"]


def test_without_effort_it_answers_at_once() -> None:
    model = Scripted("m", ["7"])
    answered(Effort("m", 0, "forced"), operation(model))
    assert model.asked[0].messages[-1].text == "<think>\n</think>\n\n"


def test_the_cap_leaves_the_thought_as_the_answer() -> None:
    op = operation(Scripted("m", ["thought 5"]), cap=Cost(50))
    told = answered(Effort("m", 1.0, "forced"), op)
    assert (told.text, op.stopped) == ("thought 5", "cap")


def test_the_effort_can_be_chosen_for_each_request() -> None:
    policy = Effort("m", "ttc_effort:chosen", "effort", thinking=100, answer_tokens=1)
    model = Scripted("m", ["7"])
    answered(policy, operation(model), Request.ask("abcdef"))
    assert (model.asked[0].max_tokens, model.asked[0].extra["reasoning_effort"]) == (61, "medium")
    with pytest.raises(RequestError, match=r"chose an effort of 1\.1"):
        answered(policy, operation(model), Request.ask("abcdefghijk"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"effort": 1.5}, "effort is 0 to 1"),
        ({"effort": "ttc_effort:none"}, "cannot be imported"),
        ({"effort": "learnt"}, "no entry point 'learnt' of the group 'farthing.effort'"),
        ({"by": "force"}, "by is one of effort, thinking, template, forced"),
        ({"levels": []}, "levels is a list"),
        ({"thinking": 0}, "must be at least 1"),
    ],
)
def test_parameters_that_are_wrong(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamError, match=message):
        from_params("effort", {"model": "m", **params})


def test_parameters_come_back() -> None:
    policy = Effort("m", 0.2, "forced", levels=("a", "b"), fields={"x": True})
    assert from_params("effort", policy.get_params()) == policy


@pytest.mark.parametrize("style", ["draft", "In ten words."])
def test_a_model_is_asked_to_be_brief(style: str) -> None:
    model = Scripted("m", ["7"])
    request = Request((Message("system", "Be kind."), Message("user", "?")))
    answered(from_params("concise", {"model": "m", "style": style}), operation(model), request)
    roles = [(one.role, one.text) for one in model.asked[0].messages]
    told = STYLES.get(style, style)
    assert roles == [("system", "Be kind."), ("system", told), ("user", "?")]
    assert model.asked[0].question_id() == request.question_id()
    assert Concise("m").asked(Request.ask("?")).messages[0].role == "system"
