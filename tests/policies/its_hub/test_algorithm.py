"""Policies as algorithms of its_hub: the same answers, and what they cost where it is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import its_hub
import pytest
from its_hub.api import AbstractLanguageModel, ChatMessage, GenerationUsage
from ttc_worlds import RATES, Scripted, answered, chains, operation, tiny

from farthing.core.errors import CapError, PlanError, UpstreamError
from farthing.core.money import Cost
from farthing.core.request import Message, Request
from farthing.policies import from_params
from farthing.policies.its_hub.algorithm import PolicyAlgorithm, PolicyResult
from farthing.policies.its_hub.messages import to_answer, to_ours

TOOLS = [{"type": "function", "function": {"name": "f"}}]


class Language(AbstractLanguageModel):
    """Texts in their order; a token a word, told or not."""

    def __init__(self, texts: list[str], told: bool = True) -> None:
        self.texts, self.told = texts, told
        self.asked: list[tuple[list[ChatMessage], dict[str, Any]]] = []

    async def agenerate(self, messages: Any, stop: Any = None, **settings: Any) -> Any:
        raise AssertionError("agenerate_single is there")

    async def agenerate_single(self, messages: Any, stop: Any = None, **settings: Any) -> Any:
        usage = settings.pop("usage_accumulator")
        self.asked.append((messages, {"stop": stop, **settings}))
        text = self.texts[(len(self.asked) - 1) % len(self.texts)]
        if self.told:
            usage.add(10, len(text.split()))
        return {"role": "assistant", "content": text}


class Tiny(AbstractLanguageModel):
    """A tiny model, seeded by the number of the call; only the older way of asking it."""

    def __init__(self, model: Any, seed: int) -> None:
        self.model, self.seed = model, seed

    async def agenerate(self, messages: Any, stop: Any = None, temperature: Any = None) -> Any:
        request = Request(to_ours(messages), temperature=temperature, seed=self.seed)
        self.seed += 1
        return to_answer((await self.model.complete(request)).samples[0])


def told(algorithm: PolicyAlgorithm, lm: Any, prompt: Any = "?", budget: int = 5) -> PolicyResult:
    return algorithm.infer(lm, prompt, budget, return_response_only=False)


class Single:
    """A tiny model that gives one sample a call, as its_hub's language models do."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.card = Scripted("tiny-small", []).card

    async def complete(self, request: Request) -> Any:
        return await self.model.complete(request)


def test_our_vote_through_its_interface_is_our_vote() -> None:
    algorithm = PolicyAlgorithm("vote", {"stop": "exact"}, answer="last-number")
    assert isinstance(algorithm, its_hub.AbstractScalingAlgorithm)
    vote = from_params("vote", {"model": "tiny-small", "samples": 7, "stop": "exact"})
    fewer = 0
    for request, _ in chains(30, steps=3):
        assert request.seed is not None
        op = operation(Single(tiny("small")))
        expected = answered(vote, op, request).samples[0]
        result = told(algorithm, Tiny(tiny("small"), request.seed), request.prompt, budget=7)
        assert result.the_one == {"role": "assistant", "content": expected.text}
        assert (result.answer, result.signal) == (expected.answer, expected.columns["signal"])
        assert result.calls == len(op.attempts)
        assert (result.usage, result.cost) == (None, None)
        fewer += result.calls < 7
    assert fewer > 5


def test_the_budget_is_the_number_of_samples_and_usage_is_what_the_model_tells() -> None:
    lm = Language(["1", "2", "so 2", "3", "2"])
    algorithm = PolicyAlgorithm("vote", {"stop": "none"}, answer="last-number", rates=RATES)
    result = told(algorithm, lm)
    assert (result.answer, result.signal, result.calls) == ("2", 0.6, 5)
    assert result.usage == GenerationUsage(50, 6, 5)
    assert result.cost == Cost(50 * 10 + 6 * 40)
    assert algorithm.infer(lm, "?", 1) == {"role": "assistant", "content": "1"}
    assert lm.asked[-1] == ([ChatMessage("user", "?")], {"stop": None, "temperature": 1.0})


def test_what_is_not_told_is_not_known() -> None:
    silent = Language(["1"], told=False)
    result = told(PolicyAlgorithm("vote", rates=RATES), silent)
    assert (result.usage, result.cost) == (None, None)
    result = told(PolicyAlgorithm("vote"), Language(["1"]))
    assert result.usage is not None
    assert result.cost is None


def test_a_spending_ends_it_too() -> None:
    params = {"stop": "none", "spending": {"tokens": 2}}
    result = told(PolicyAlgorithm("vote", params), Language(["1"]))
    assert (result.calls, result.stopped) == (2, "cap")
    dollars = {"stop": "none", "spending": {"usd": "1"}}
    result = told(PolicyAlgorithm("vote", dollars), Language(["1"], told=False))
    assert (result.calls, result.stopped) == (1, "cap")
    none = PolicyAlgorithm("vote", {"spending": {"seconds": 1e-9}})
    with pytest.raises(CapError):
        told(none, Language(["1"]))


def test_other_policies_and_models_of_their_own() -> None:
    judge = Scripted("judge", lambda one: "9" if "two" in one.prompt else "3")
    lm = Language(["one", "two", "three"])
    params = {"reward": {"kind": "model", "model": "judge"}}
    best = PolicyAlgorithm("best_of_n", params, models={"judge": judge}, rates=RATES)
    result = told(best, lm, budget=3)
    assert (result.the_one["content"], result.calls, len(lm.asked)) == ("two", 6, 3)
    assert result.cost is not None
    assert told(PolicyAlgorithm("short"), lm, budget=2).answer is not None
    vote = {"kind": "vote", "model": "lm", "samples": 2, "stop": "none"}
    chain = PolicyAlgorithm("chain", {"links": [{"ask": vote}, {"ask": "lm"}]})
    assert told(chain, Language(["1"]), budget=9).calls == 2
    rounds = PolicyAlgorithm("refine", counts="rounds")
    assert told(rounds, Language(["1", "wrong", "2", "wrong", "3"]), budget=1).calls == 3
    theirs = {"algorithm": "self-consistency"}
    again = PolicyAlgorithm("its-hub", theirs, answer="last-number", counts="budget")
    assert told(again, Language(["1", "2", "2"]), budget=3).answer == "2"


def test_it_takes_conversations_and_tools() -> None:
    lm = Language(["1"])
    messages = [
        ChatMessage("system", "Count."),
        ChatMessage("assistant", None, tool_calls=[{"id": "a"}]),
        ChatMessage("tool", "3", tool_call_id="a"),
    ]
    assert to_ours(messages)[1:] == (
        Message("assistant", None, {"tool_calls": [{"id": "a"}]}),
        Message("tool", "3", {"tool_call_id": "a"}),
    )
    algorithm = PolicyAlgorithm("vote")
    asyncio.run(algorithm.ainfer(lm, messages, 1, tools=TOOLS, tool_choice="auto"))
    assert lm.asked[0][0] == messages
    assert lm.asked[0][1]["tools"] == TOOLS
    assert lm.asked[0][1]["tool_choice"] == "auto"


def test_calls_of_tools_come_back() -> None:
    class Calling(Language):
        async def agenerate_single(self, messages: Any, stop: Any = None, **told: Any) -> Any:
            function = {"name": "f", "arguments": "{}"}
            return {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}

    one = PolicyAlgorithm("vote").infer(Calling([]), "?", 2)
    assert one["tool_calls"][0]["function"]["name"] == "f"


def test_a_language_model_that_fails_is_an_upstream_that_fails() -> None:
    class Failing(Language):
        async def agenerate_single(self, messages: Any, stop: Any = None, **told: Any) -> Any:
            raise its_hub.api.RateLimitError("slow down", 429)

    with pytest.raises(UpstreamError, match="RateLimitError: slow down") as caught:
        told(PolicyAlgorithm("vote"), Failing([]))
    assert (caught.value.status, caught.value.model) == (429, "lm")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PolicyAlgorithm("votes"), "no policy is called 'votes'"),
        (lambda: PolicyAlgorithm("vote", {"stops": 1}), "unknown parameter 'stops'"),
        (lambda: PolicyAlgorithm("vote", counts="rounds"), "'vote' has no parameter 'rounds'"),
        (lambda: PolicyAlgorithm("best_of_n"), "missing parameter 'reward'"),
    ],
)
def test_what_is_wrong_is_told_at_once(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make()
