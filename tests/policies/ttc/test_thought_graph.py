"""Graphs of thoughts: what is done next, and what taking apart is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ttc_worlds import Scripted, answered, chains, operation, tiny

from farthing.core.errors import ParamError
from farthing.core.request import Request
from farthing.models.tiny import prompt, solve
from farthing.policies import from_params
from farthing.policies.registry import models_of
from farthing.policies.ttc.graph_actions import Actions
from farthing.policies.ttc.graph_learning import Trial, fit
from farthing.policies.ttc.spending import Spending
from farthing.policies.ttc.splitting import filled, halves, lines
from farthing.policies.ttc.thought_graph import Thought, ThoughtGraph
from farthing.policies.ttc.vote import SelfConsistency

HALVES = "farthing.policies.ttc.splitting:halves"


def test_chains_are_taken_apart_into_chains_of_the_same_value() -> None:
    for request, value in chains(30, steps=5):
        first, second = halves(request.prompt)
        whole = filled(second, [str(solve(first)[-1])])
        assert whole is not None
        assert str(solve(whole)[-1]) == value
    assert halves(prompt("3+4")) == []


def test_questions_and_answers_are_put_together() -> None:
    assert lines("- one?\n\n* two {1}?\n") == ["one?", "two {1}?"]
    assert lines("SIMPLE") == []
    assert filled("{1} and {2}, {1}", ["a", "b"]) == "a and b, a"
    assert filled("{1}", [None]) is None


def test_the_rule_splits_what_is_unsure_and_refines_what_cannot_be_split() -> None:
    policy = ThoughtGraph("m", levels=1)
    thought = Thought(Request.ask("?"), 0)
    assert policy.able(thought) == ["solve"]
    thought.rounds = 1
    assert policy.able(thought) == ["split", "refine", "stop"]
    thought.parts = ["a", "b"]
    assert policy.able(thought)[0] == "merge"
    thought.parts = []
    assert policy.able(thought)[0] == "refine"
    thought.rounds = 2
    assert policy.able(thought) == ["stop"]
    assert policy.able(Thought(Request.ask("?"), 1, parts=None, rounds=1))[0] == "refine"


def test_parts_are_asked_in_order_with_answers_put_in() -> None:
    told = {"whole?": "1", "first?": "4", "then 4?": "9"}
    splits = "first?\nthen {1}?"
    model = Scripted(
        "m",
        lambda request: splits if "simpler" in request.prompt else told[request.prompt],
    )
    policy = ThoughtGraph("m", samples=2, accept=1.0)
    op = operation(model)
    sure = answered(policy, op, Request.ask("whole?"))
    assert sure.samples[0].answer == "1"
    assert len(op.attempts) == 2
    seen = iter(["1", "2"])
    unsure = Scripted(
        "m",
        lambda request: (
            splits
            if "simpler" in request.prompt
            else next(seen)
            if request.prompt == "whole?"
            else told[request.prompt]
        ),
    )
    op = operation(unsure)
    merged = answered(policy, op, Request.ask("whole?"))
    assert merged.samples[0].answer == "9"
    assert merged.samples[0].columns["signal"] == 1.0
    assert [one.prompt for one in unsure.asked[3:]] == ["first?"] * 2 + ["then 4?"] * 2


@pytest.mark.parametrize(("says", "samples"), [("refine", 4), ("stop it", 2), ("what?", 2)])
def test_a_planner_picks_the_next_action(says: str, samples: int) -> None:
    answers = iter("12121212")
    model = Scripted("m", lambda request: next(answers))
    policy = ThoughtGraph("m", samples=2, planner="p", levels=1, splitter=f"{__name__}:none")
    op = operation(model, Scripted("p", [says, "stop"]))
    answered(policy, op)
    assert len(model.asked) == samples
    assert {a.kind for a in op.attempts if a.model == "p"} == {"judge"}
    assert models_of(policy) == ("p", "m")


def none(task: str) -> list[str]:
    return []


def test_taking_chains_apart_beats_a_vote_of_more_tokens() -> None:
    tried = chains(60, steps=6, seed=4)

    async def share(policy: Any) -> tuple[float, float]:
        right = tokens = 0
        for request, value in tried:
            op = operation(tiny("small"))
            response = await policy.answer(request, op)
            right += response.samples[0].answer == value
            tokens += op.usage.output_tokens if op.usage else 0
        return right / len(tried), tokens / len(tried)

    graph, spent = asyncio.run(share(ThoughtGraph("tiny-small", splitter=HALVES)))
    vote, more = asyncio.run(share(SelfConsistency("tiny-small", samples=16, stop="none")))
    assert more > spent
    assert graph > vote + 0.1


def test_an_eager_graph_takes_apart_what_it_has_not_solved() -> None:
    told = {"first?": "4", "then 4?": "9"}
    model = Scripted(
        "m",
        lambda request: (
            "first?\nthen {1}?" if "simpler" in request.prompt else told[request.prompt]
        ),
    )
    op = operation(model)
    merged = answered(ThoughtGraph("m", samples=2, levels=1, eager=True), op, Request.ask("whole?"))
    assert merged.samples[0].answer == "9"
    assert [one.prompt for one in model.asked[1:]] == ["first?"] * 2 + ["then 4?"] * 2
    simple = Scripted("m", ["7"])
    policy = ThoughtGraph("m", samples=2, eager=True, splitter=f"{__name__}:none")
    assert answered(policy, operation(simple)).samples[0].answer == "7"
    assert len(simple.asked) == 2


def trials(count: int, steps: int) -> Iterator[Trial]:
    for request, value in chains(count, steps=steps, seed=3):
        yield (
            request,
            operation(tiny("small")),
            lambda told, value=value: float(told.samples[0].answer == value),
        )


def test_actions_are_learnt_from_what_they_came_to(tmp_path: Path) -> None:
    policy = ThoughtGraph("tiny-small", samples=1, splitter=HALVES)
    table = asyncio.run(fit(policy, trials(400, 6), price=0.001))
    few = [asyncio.run(fit(policy, trials(20, 6), price=0.001)) for _ in range(2)]
    assert few[0] == few[1]
    task = chains(1, steps=6)[0][0]
    unsolved = Thought(task, 0)
    learnt = table.returns[unsolved.state(0.0)]
    assert learnt["split"][0] > learnt["solve"][0] + 0.05
    table.save(tmp_path / "actions.json")
    played = replace(policy, actions=str(tmp_path / "actions.json"))
    assert from_params("thought-graph", played.get_params()) == played
    op = operation(tiny("small"))
    answered(played, op, task)
    assert all(attempt.request.prompt != task.prompt for attempt in op.attempts)
    assert Actions.load(tmp_path / "actions.json").best("never seen", ["merge", "stop"]) == "merge"


@pytest.mark.parametrize("told", ["", "{}", '{"returns": {"a": {"solve": 1}}}'])
def test_what_is_no_file_of_actions_is_refused(told: str, tmp_path: Path) -> None:
    path = tmp_path / "actions.json"
    path.write_text(told)
    with pytest.raises(ParamError, match=r"actions .* cannot be read"):
        from_params("thought-graph", {"model": "m", "actions": str(path)})
    with pytest.raises(ParamError, match="cannot be read"):
        from_params("thought-graph", {"model": "m", "actions": str(tmp_path / "none")})


def test_spending_and_parameters() -> None:
    policy = ThoughtGraph("tiny-small", splitter=HALVES, spending=Spending(tokens=10))
    assert from_params("thought-graph", policy.get_params()) == policy
    op = operation(tiny("small"))
    told = answered(policy, op, chains(1, steps=6)[0][0])
    assert told.text
    assert op.usage is not None
    assert op.usage.output_tokens < 10 + 32
    with pytest.raises(ParamError, match="splitter 'no:where' cannot be imported"):
        from_params("thought-graph", {"model": "m", "splitter": "no:where"})
