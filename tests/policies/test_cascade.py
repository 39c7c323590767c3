"""The cascade against a model whose answers are given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.budgets.operation import Operation
from farthing.core.errors import CapError, PlanError, UpstreamError
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.cost.prices import PriceBook
from farthing.ledger import MemoryLedger
from farthing.policies import Cascade, Single, Stage, from_params


class Scripted:
    """Gives its answers one after the other; remembers what it was asked."""

    def __init__(self, name: str, *answers: str | None, logprob: float | None = None) -> None:
        self.card = ModelCard(name)
        self.answers = list(answers)
        self.logprob = logprob
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Response:
        self.asked.append(request)
        samples = tuple(
            Sample(a or "", a, read=True, mean_logprob=self.logprob, min_logprob=self.logprob)
            for a in (self.answers.pop(0) for _ in range(request.n))
        )
        return Response(self.card.name, samples, cost=Cost(10))

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        raise NotImplementedError


async def answer(policy, *models, cap=None, **settings):
    operation = Operation({m.card.name: m for m in models}, prices=PriceBook(), cap=cap)
    response = await policy.answer(Request.ask("?", **settings), operation)
    return response, operation


def cascade(*stages: Stage, **settings) -> Cascade:
    return Cascade(stages, **settings)


async def test_agreement_accepts_without_the_strong_model():
    small, large = Scripted("s", *"aaaaa"), Scripted("l", "b")
    response, operation = await answer(cascade(Stage("s", 5, 0.8), Stage("l")), small, large)
    assert (response.model, response.samples[0].answer) == ("s", "a")
    # Four equal answers out of five decide; the fifth is never bought.
    assert len(small.asked) == 4
    assert not large.asked
    assert operation.spent == Cost(40)


async def test_disagreement_stops_early_and_passes_up():
    small, large = Scripted("s", *"abcde"), Scripted("l", "b")
    response, _ = await answer(cascade(Stage("s", 5, 0.8), Stage("l")), small, large)
    assert response.model == "l"
    assert len(small.asked) == 3  # after a, b, c no answer can reach four of five


async def test_last_stage_stops_when_its_winner_is_certain():
    large = Scripted("l", *"bbbxx")
    response, _ = await answer(cascade(Stage("l", 5)), large)
    assert response.samples[0].answer == "b"
    assert len(large.asked) == 3


async def test_skipped_stage_is_not_called():
    small, large = Scripted("s"), Scripted("l", "b")
    response, _ = await answer(cascade(Stage("s", 5, "skip"), Stage("l")), small, large)
    assert response.model == "l"
    assert not small.asked


async def test_pooled_agreement_counts_earlier_models():
    one, two = Scripted("1", *"aab"), Scripted("2", *"aab")
    large = Scripted("l", "z")
    policy = cascade(
        Stage("1", 3, 1.0), Stage("2", 3, 4 / 6), Stage("l"), signal="pooled-agreement"
    )
    response, _ = await answer(policy, one, two, large)
    assert (response.model, response.samples[0].answer) == ("2", "a")
    assert response.samples[0].columns["signal"] == 4 / 6


async def test_log_probability_decides():
    sure, unsure = Scripted("s", "a", logprob=-0.1), Scripted("s", "a", logprob=-3.0)
    for small, by in ((sure, "s"), (unsure, "l")):
        policy = cascade(Stage("s", 1, -1.0), Stage("l"), signal="min_logprob")
        response, _ = await answer(policy, small, Scripted("l", "b"))
        assert response.model == by


async def test_unknown_log_probability_is_never_accepted():
    policy = cascade(Stage("s", 1, -1e9), Stage("l"), signal="mean_logprob")
    response, _ = await answer(policy, Scripted("s", "a"), Scripted("l", "b"))
    assert response.model == "l"


async def test_n_sampling_is_one_call():
    small, large = Scripted("s", *"aaaaa"), Scripted("l", "b")
    policy = cascade(Stage("s", 5, 0.8), Stage("l"), sampling="n", temperature=0.7)
    await answer(policy, small, large)
    assert [(r.n, r.temperature) for r in small.asked] == [(5, 0.7)]


async def test_seeded_samples_differ_by_their_number():
    small = Scripted("s", *"abc")
    await answer(cascade(Stage("s", 3)), small, seed=7)
    assert sorted(r.seed for r in small.asked) == [7, 8, 9]


async def test_null_answers_are_accepted_only_by_the_last():
    small, large = Scripted("s", None, None, None), Scripted("l", None)
    response, _ = await answer(cascade(Stage("s", 3, 0.3), Stage("l")), small, large)
    assert (response.model, response.samples[0].answer) == ("l", None)


@pytest.mark.parametrize(
    ("cap", "model", "text", "asked"),
    [
        (30, "s", "b", 3),  # the majority of the samples had, though five were wanted
        (50, "s", "b", 5),  # the first stage is done and rejected; the second is refused
        (60, "l", "x", 6),  # what the last stage has, however little
        (80, "l", "y", 8),
    ],
)
async def test_a_cap_ends_it_with_the_best_there_is(cap, model, text, asked):
    small, large = Scripted("s", *"abbcc"), Scripted("l", *"xyyxx")
    policy = cascade(Stage("s", 5, 0.9), Stage("l", 5), signal="given")
    response, operation = await answer(policy, small, large, cap=Cost(cap))
    assert (response.model, response.text) == (model, text)
    assert response.samples[0].columns["signal"] is None
    assert (operation.stopped, len(operation.attempts)) == ("cap", asked)
    assert len(small.asked) + len(large.asked) == asked


async def test_a_vote_that_its_last_samples_decide_is_not_stopped():
    small = Scripted("s", *"aaa")
    response, operation = await answer(cascade(Stage("s", 3, 0.6), Stage("l")), small, cap=Cost(20))
    assert (response.text, operation.stopped) == ("a", None)
    assert response.samples[0].columns["signal"] == 2 / 3


async def test_a_cap_keeps_the_samples_that_are_under_way():
    gate = asyncio.Event()

    class Slow(Scripted):
        async def complete(self, request: Request) -> Response:
            if self.asked:
                await gate.wait()
            return await super().complete(request)

    small, ledger = Slow("s", *"aba"), MemoryLedger()
    operation = Operation({"s": small}, prices=PriceBook(), cap=Cost(15), ledger=ledger)
    asking = asyncio.create_task(cascade(Stage("s", 5)).answer(Request.ask("?"), operation))
    await asyncio.sleep(0.01)
    assert not asking.done()
    gate.set()
    response = await asking
    assert (response.text, operation.stopped) == ("a", "cap")
    assert [row.status for row in ledger.attempts] == ["ok"] * 3
    await operation.finish("ok", response)
    assert (ledger.outcomes[0].stopped, ledger.outcomes[0].signal) == ("cap", None)


ANSWERS = st.lists(st.sampled_from("ab"), min_size=4, max_size=4)


@given(ANSWERS, ANSWERS, st.integers(1, 100))
def test_whatever_the_cap_is_the_answer_is_one_that_was_paid_for(first, second, cap):
    policy = cascade(Stage("s", 4, 0.8), Stage("l", 4))

    def run(cap):
        models = Scripted("s", *first), Scripted("l", *second)
        return asyncio.run(answer(policy, *models, cap=cap))

    free, unbound = run(None)
    got, bound = run(Cost(cap))
    assert bound.spent <= unbound.spent
    assert bound.spent < Cost(cap + 10)  # the last call can exceed it
    if bound.stopped is None:
        assert (got, bound.spent) == (free, unbound.spent)
    else:
        assert Cost(cap) <= bound.spent < unbound.spent
        had = [a.response.text for a in bound.attempts if a.model == got.model]
        assert had.count(got.text) * 2 >= len(had)
        assert got.model == bound.attempts[-1].model


async def test_a_signal_that_the_cap_refuses_leaves_the_answer():
    policy = Cascade((Stage("s", 1, 0.5), Stage("l")), signal="judged", signal_attempt=True)
    models = Scripted("s", "a"), Scripted("s#judged", "-"), Scripted("l", "b")
    response, operation = await answer(policy, *models, cap=Cost(10))
    assert (response.model, response.text, operation.stopped) == ("s", "a", "cap")
    _, operation = await answer(policy, Scripted("s", "a"), *models[1:])
    assert [attempt.kind for attempt in operation.attempts] == ["sample", "judge", "sample"]


@pytest.mark.parametrize("policy", [cascade(Stage("s", 5)), cascade(Stage("s")), Single("s")])
async def test_a_cap_that_leaves_no_answer_is_an_error(policy):
    operation = Operation({"s": Scripted("s", "a")}, prices=PriceBook(), cap=Cost(0))
    with pytest.raises(CapError, match="0 attempts"):
        await policy.answer(Request.ask("?"), operation)
    assert operation.stopped is None


async def test_a_failing_sample_fails_as_itself():
    class Down(Scripted):
        async def complete(self, request: Request) -> Response:
            raise UpstreamError("down", model="s", kind="unreachable")

    operation = Operation({"s": Down("s"), "l": Scripted("l", "b")}, prices=PriceBook())
    with pytest.raises(UpstreamError, match="down"):
        await cascade(Stage("s", 5, 0.8), Stage("l")).answer(Request.ask("?"), operation)
    assert [attempt.status for attempt in operation.attempts] == ["failed"] * 2


def test_parameters_round_trip():
    policy = cascade(Stage("s", 5, 0.8), Stage("m", 2, "skip"), Stage("l"), temperature=0.5)
    assert from_params("cascade", policy.get_params()) == policy
    assert from_params("single", Single("s").get_params()) == Single("s")


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("poll", {}, "no policy is called 'poll'"),
        ("cascade", {"stages": []}, "last stage"),
        ("cascade", {"stages": [{"model": "a", "accept": 0.5}]}, "last stage"),
        ("cascade", {"stages": [{"model": "a", "samples": 0}]}, "at least 1"),
        ("cascade", {"stages": [{"model": "a", "accept": "maybe"}]}, "'always' or 'skip'"),
        ("cascade", {"stages": [{"model": "a"}], "sampling": "x"}, "'calls' or 'n'"),
        ("cascade", {"stages": [{"modle": "a"}]}, "modle"),
        ("single", {}, "model"),
    ],
)
def test_wrong_parameters_are_refused(kind, params, message):
    with pytest.raises(PlanError, match=message):
        from_params(kind, params)
