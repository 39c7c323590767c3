"""Routers before the call, on questions of two kinds, and the bandit that learns live."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from farthing.budgets.operation import Operation
from farthing.core.errors import DataError, ParamError, UpstreamError
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.cost.prices import PriceBook
from farthing.models.draw import Draw, draw
from farthing.models.recording import from_table
from farthing.plan import Plan, replay_plan
from farthing.policies.bandit import Bandit
from farthing.policies.decisions import PRICES, rightness
from farthing.policies.nearest import Nearest
from farthing.policies.registry import LEARNT, from_params

KINDS = ["nearest", "clusters", "factors", "classifier", "bandit"]
MODELS = ("words", "sums", "dear")
WORDS = "Which word of this list means the same as"
SUMS = "What is the sum of these two numbers:"


def prompts(questions: int) -> list[str]:
    return [f"{SUMS if i % 2 else WORDS} {i} {i * 31 % 17}?" for i in range(questions)]


def kinds(questions: int = 200, seed: int = 0, skill: float = 0.95) -> Draw:
    """Words and sums by turns: one cheap model each, and a dear one that knows both."""
    rng = np.random.default_rng(seed)
    rows = []
    for question, prompt in enumerate(prompts(questions)):
        for place, model in enumerate(MODELS):
            knows = model == "dear" or (model == "sums") == bool(question % 2)
            right = rng.random() < (skill if knows else 0.1)
            rows.append(
                {
                    "question": f"q{question:04d}",
                    "task": "made-up",
                    "prompt": prompt,
                    "model": model,
                    "sample": 0,
                    "answer": "right" if right else f"wrong-{model}",
                    "correct": float(right),
                    "cost_usd": (0.001, 0.001, 0.1)[place],
                }
            )
    return draw(from_table(pa.Table.from_pylist(rows), "made-up"), MODELS, 1)


def halves() -> tuple[Draw, Draw]:
    drawn = kinds()
    return drawn.select(np.arange(100)), drawn.select(np.arange(100, 200))


def policy_of(kind: str, learn: Draw, price: float, **params: Any) -> Any:
    rungs = LEARNT[kind].fit(learn, rightness(learn))
    chosen = rungs[min(range(len(PRICES)), key=lambda rung: abs(PRICES[rung] - price))]
    return from_params(kind, {**chosen.get_params(), **params})


@pytest.mark.parametrize("kind", KINDS)
def test_sends_each_kind_to_the_cheap_model_that_knows_it(kind: str) -> None:
    learn, other = halves()
    decided = policy_of(kind, learn, 0.3).decide(other)
    assert np.mean(decided.model == np.arange(100) % 2) > 0.95
    assert decided.take(rightness(other)).mean() > 0.85
    assert decided.cost.mean() < 0.06 * other.cost[2].mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_asks_what_was_asked(kind: str) -> None:
    learn, other = halves()
    policy = policy_of(kind, learn, 0.3)
    done = replay_plan(Plan("p", policy, policy.asks), other.recording)
    decided = policy.decide(other)
    assert done.result.cost.tolist() == decided.cost.tolist()
    assert done.attempts == decided.calls.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_expects_the_mean_where_prompts_say_nothing(kind: str) -> None:
    learn, other = halves()
    shuffled = np.random.default_rng(5).permutation(100)
    right = [table[shuffled] for table in rightness(learn)]
    policy = LEARNT[kind].fit(learn, right)[-1]
    vectors = policy.encoder.encode([*other.recording.table["prompt"].to_pylist()])
    if kind == "bandit":
        expected = np.column_stack([vectors, np.ones(len(vectors))]) @ policy.means.T
    else:
        expected = policy.expects(vectors)
    means = np.array([table.mean() for table in right])
    assert np.abs(expected.mean(axis=0) - means).max() < 0.1
    assert expected.std(axis=0).max() < 0.15  # it is 0.43 where they say all


@pytest.mark.parametrize("kind", KINDS)
def test_questions_without_known_answers_are_left_out(kind: str) -> None:
    learn, other = halves()
    right = rightness(learn)
    right[0][::3] = np.nan
    decided = LEARNT[kind].fit(learn, right)[9].decide(other)
    assert decided.take(rightness(other)).mean() > 0.8
    with pytest.raises(DataError, match="of which it is known how right all models are; there are"):
        LEARNT[kind].fit(learn, [np.full_like(table, np.nan) for table in right])


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_can_be_named(kind: str) -> None:
    learn, _ = halves()
    fit: Any = LEARNT[kind].fit
    assert fit(learn, rightness(learn), encoder="tfidf")[0].encoder.kind == "tfidf"
    with pytest.raises(ParamError, match="no encoder is called 'bert'"):
        fit(learn, rightness(learn), encoder="bert")


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_that_do_not_fit_are_refused(kind: str) -> None:
    params = policy_of(kind, halves()[0], 0.3).get_params()
    with pytest.raises(ParamError, match="models and costs"):
        from_params(kind, {**params, "models": ["words"]})
    with pytest.raises(ParamError, match="no encoder is called 'bert'"):
        from_params(kind, {**params, "encoder": {"kind": "bert"}})
    with pytest.raises(ParamError, match="missing parameter 'price'"):
        from_params(kind, {name: value for name, value in params.items() if name != "price"})


def test_neighbours_that_are_equally_near_all_count() -> None:
    learn, _ = halves()
    router = policy_of("nearest", learn, 0.3, neighbours=1, shrink=0.0)
    same = np.tile(router.known[:1], (100, 1))
    everywhere = Nearest.from_params({**router.get_params(), "known": same})
    assert np.allclose(everywhere.expects(same[:1].astype(float)), router.right.mean(axis=0))


def test_blocks_of_prompts_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    learn, other = halves()
    nearest, bandit = policy_of("nearest", learn, 0.3), policy_of("bandit", learn, 0.3, probe=0.3)
    before = nearest.decide(other).model, bandit.decide(other)
    monkeypatch.setattr("farthing.policies.nearest.BLOCK", 7)
    monkeypatch.setattr("farthing.policies.bandit.BLOCK", 7)
    assert np.array_equal(nearest.decide(other).model, before[0])
    assert np.array_equal(bandit.decide(other).model, before[1].model)
    assert np.array_equal(bandit.decide(other).cost, before[1].cost)


class Fixed:
    """A model that gives one answer, at one price; or fails."""

    def __init__(self, name: str, answer: str, usd: str, fails: bool = False) -> None:
        self.card = ModelCard(name)
        self.answer_, self.usd, self.fails = answer, usd, fails

    async def complete(self, request: Request) -> Response:
        if self.fails:
            raise UpstreamError("away", model=self.card.name, kind="unreachable")
        sample = Sample(self.answer_, answer=self.answer_, read=True)
        return Response(self.card.name, (sample,), cost=Cost.from_usd(self.usd))


def models(words: str = "a", sums: str = "b", dear: str = "a", fails: bool = False) -> Any:
    return {
        "words": Fixed("words", words, "0.001"),
        "sums": Fixed("sums", sums, "0.001"),
        "dear": Fixed("dear", dear, "0.1", fails),
    }


async def ask(policy: Bandit, text: str, answers: Mapping[str, Any], **settings: Any) -> Operation:
    operation = Operation(answers, prices=PriceBook(), **settings)
    await policy.answer(Request.ask(text), operation)
    return operation


async def test_the_bandit_learns_from_probes_alone() -> None:
    learn, _ = halves()
    policy = policy_of("bandit", learn, 0.3, probe=1.0, spread=0.0)
    question = prompts(2)[0]
    asked = [await ask(policy, question, models(words="wrong")) for _ in range(40)]
    assert [attempt.model for attempt in asked[0].attempts] == ["words", "dear"]
    assert [attempt.kind for attempt in asked[0].attempts] == ["sample", "judge"]
    assert asked[0].attempts[1].node == "bandit/probe"
    assert [attempt.model for attempt in asked[-1].attempts] == ["dear"]
    silent = policy_of("bandit", learn, 0.3, probe=0.0)
    assert len((await ask(silent, question, models(words="wrong"))).attempts) == 1
    assert np.array_equal(silent.get_params()["means"], silent.means)


async def test_the_bandit_takes_up_a_model_that_has_become_good() -> None:
    learn, _ = halves()
    policy = policy_of("bandit", learn, 0.3, probe=1.0, spread=0.5, seed=1)
    first = [(await ask(policy, p, models("w", "a", "a"))).attempts[0].model for p in prompts(40)]
    later = [(await ask(policy, p, models("w", "a", "a"))).attempts[0].model for p in prompts(400)]
    assert first.count("words") >= 5
    assert later[-40:].count("words") <= 1


async def test_what_the_bandit_has_learnt_survives_being_written_down() -> None:
    learn, other = halves()
    policy = policy_of("bandit", learn, 0.3, probe=1.0)
    before = policy.decide(other).model
    for prompt in prompts(60):
        await ask(policy, prompt, models(words="wrong"))
    after = policy.decide(other)
    assert not np.array_equal(after.model, before)
    again = from_params("bandit", policy.get_params())
    assert isinstance(again, Bandit)
    assert np.array_equal(again.decide(other).model, after.model)


async def test_a_probe_that_fails_costs_no_answer() -> None:
    learn, _ = halves()
    policy = policy_of("bandit", learn, 0.3, probe=1.0, spread=0.0)
    question = prompts(2)[0]
    failed = await ask(policy, question, models(fails=True))
    assert [attempt.status for attempt in failed.attempts] == ["ok", "failed"]
    capped = await ask(policy, question, models(), cap=Cost.from_usd("0.001"))
    assert [attempt.model for attempt in capped.attempts] == ["words"]
    assert capped.stopped is None
    assert np.array_equal(policy.get_params()["means"], policy.means)


def test_updates_are_those_of_the_whole_regression() -> None:
    learn, _ = halves()
    policy = policy_of("bandit", learn, 0.3)
    rng = np.random.default_rng(0)
    vectors = np.column_stack([rng.normal(size=(30, policy.means.shape[1] - 1)), np.ones(30)])
    precision = np.linalg.inv(policy.covariances[0])
    pulled = precision @ policy.means[0]
    for vector in vectors:
        right = np.clip(vector @ policy.means[2], 0, 1)
        agrees = bool(rng.random() < 0.5)
        policy._knowledge.learn(vector, 0, 2, agrees)
        precision = precision + np.outer(vector, vector)
        pulled = pulled + vector * (right if agrees else 0.0)
    means, covariances = policy._knowledge.told()
    assert np.allclose(means[0], np.linalg.solve(precision, pulled), atol=1e-8)
    assert np.allclose(covariances[0], np.linalg.inv(precision), atol=1e-8)


def test_draws_are_those_of_drawn_weights() -> None:
    learn, other = halves()
    policy = policy_of("bandit", learn, 0.3, probe=0.4, spread=1.0)
    noise, probing = policy._noise([f"question {i}" for i in range(20_000)])
    assert abs(probing.mean() - 0.4) < 4 * np.sqrt(0.24 / 20_000)
    assert not noise[~probing].any()
    assert stats.kstest(noise[probing].ravel(), "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(noise[probing].T) - np.eye(3)).max() < 0.05
    vector = np.append(policy.encoder.encode(other.recording.table["prompt"].to_pylist()[:1]), 1.0)
    drawn = policy._knowledge.draw(np.tile(vector, (probing.sum(), 1)), noise[probing])
    weights = np.random.default_rng(0).multivariate_normal(
        policy.means[1], policy.covariances[1], size=20_000
    )
    assert stats.ks_2samp(drawn[:, 1], weights @ vector).pvalue > 0.001


def test_threads_may_share_the_bandit() -> None:
    learn, _ = halves()
    shared, alone = (policy_of("bandit", learn, 0.3)._knowledge for _ in range(2))
    width = shared.told()[0].shape[1]
    vectors = np.random.default_rng(0).normal(size=(2000, width)) / np.sqrt(width)
    for vector in vectors:
        alone.learn(vector, 0, 2, False)

    def work(part: int) -> None:
        for vector in vectors[part::4]:
            shared.learn(vector, 0, 2, False)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for told, expected in zip(shared.told(), alone.told(), strict=True):
        assert np.allclose(told, expected, atol=1e-9)
