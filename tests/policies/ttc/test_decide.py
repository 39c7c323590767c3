"""Votes decided on all questions at once: as the served policy decides them one by one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ttc_worlds import PRICES

from farthing.budgets import Operation
from farthing.core.request import Request
from farthing.models.draw import Draw, draw
from farthing.models.recorded import RecordedModel
from farthing.models.recording import from_table
from farthing.policies.ttc.course import course, numbered
from farthing.policies.ttc.short import Short
from farthing.policies.ttc.stops import stop_rule, stopped
from farthing.policies.ttc.vote import SelfConsistency
from farthing.signals.vote import Vote

RULES = [
    ("none", None), ("exact", None), ("window", 2), ("window", 4), ("beta", 0.95), ("beta", 0.7),
    ("doubling", 1), ("doubling", 3), ("error", 0.05), ("error", 0.4),
]  # fmt: skip


def made(seed: int, samples: int, *, logprobs: bool = False) -> Draw:
    """Answers of many kinds: alike, split, few, none; prompts and answers that cost."""
    rng, rows = np.random.default_rng(seed), []
    for question in range(12):
        chances = rng.dirichlet(np.full(int(rng.integers(1, 6)), rng.choice([0.2, 1.0, 8.0])))
        absent = rng.choice([0.0, 0.3, 1.0], p=[0.6, 0.35, 0.05])
        for sample in range(samples):
            answer = int(rng.choice(len(chances), p=chances))
            tokens = int(rng.integers(1, 90))
            rows.append({
                "question": f"q{question}", "model": "m", "sample": sample,
                "answer": None if rng.random() < absent and (question or sample) else f"a{answer}",
                "correct": float(answer == 0), "input_tokens": 40 + question,
                "output_tokens": tokens, "cost_usd": (3 * (40 + question) + 7 * tokens) / 1e9,
                "mean_logprob": -float(rng.random())
                if logprobs and (question % 3 or rng.random() < 0.9) else None,
            })  # fmt: skip
    schema = {"mean_logprob": pa.float64(), "answer": pa.string()}
    table = pa.Table.from_pylist(rows)
    for name, kind in schema.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].cast(kind))
    return draw(from_table(table, "made"), ["m"], samples, seed)


def equal_to_served(policy: SelfConsistency, drawn: Draw) -> None:
    """Cost, calls and answer of each question, by the policy itself and by its twin."""
    did = policy.decide(drawn)

    async def serve() -> None:
        for place, question in enumerate(drawn.recording.questions):
            operation = Operation({"m": RecordedModel(drawn, "m")}, prices=PRICES)
            told = (await policy.answer(Request.ask("?", question=question), operation)).samples[0]
            code = int(drawn.answers[0][place, did.place[place]])
            names = drawn.recording.table["answer"]
            row = int(drawn.rows[0][place, did.place[place]])
            assert told.answer == (None if code < 0 else names[row].as_py())
            assert told.output_tokens == drawn.column("output_tokens", 0)[place, did.place[place]]
            assert operation.spent.pico == did.cost[place]
            assert len(operation.attempts) == did.calls[place]

    asyncio.run(serve())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RULES), st.integers(1, 20), st.integers(1, 20), st.integers(0, 999))
def test_a_rule_is_the_served_policy(
    rule: tuple[Any, float | None], samples: int, have: int, seed: int
) -> None:
    """With fewer samples recorded than are asked for, too: they come again."""
    policy, drawn = SelfConsistency("m", samples, *rule), made(seed, have)
    equal_to_served(replace(policy, sampling="n"), drawn)
    equal_to_served(replace(policy, sampling="calls"), drawn)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 999))
def test_the_first_to_finish_are_the_served_policy(
    samples: int, finished: int, have: int, seed: int
) -> None:
    policy, drawn = Short("m", max(samples, finished), finished), made(seed, have)
    did = policy.decide(drawn)

    async def serve() -> None:
        for place, question in enumerate(drawn.recording.questions):
            operation = Operation({"m": RecordedModel(drawn, "m")}, prices=PRICES)
            told = await policy.answer(Request.ask("?", question=question), operation)
            await operation.idle()
            row = int(drawn.rows[0][place, did.place[place]])
            assert told.samples[0].answer == drawn.recording.table["answer"][row].as_py()
            assert operation.spent.pico == did.cost[place]
            assert len(operation.attempts) == did.calls[place]

    asyncio.run(serve())


@pytest.mark.parametrize("rule", [("none", None), ("window", 3), ("doubling", 2)])
@pytest.mark.parametrize("seed", range(5))
def test_weighted_votes_are_the_served_policy(rule: tuple[Any, float | None], seed: int) -> None:
    policy = SelfConsistency("m", 9, *rule, weighted=True, sampling="n")
    equal_to_served(policy, made(seed, 9, logprobs=True))
    equal_to_served(policy, made(seed, 9))


def test_the_course_is_that_of_each_vote() -> None:
    rng = np.random.default_rng(0)
    answers = np.where(rng.random((300, 14)) < 0.2, -1, 1000 * rng.integers(0, 4, (300, 14)))
    told = course(answers)
    for number, row in enumerate(answers.tolist()):
        vote = Vote(14)
        for cast, code in enumerate(row, 1):
            vote.add(None if code < 0 else str(code))
            counts = [*sorted(vote.counts.values(), reverse=True), 0, 0]
            assert [told.lead[cast, number], told.second[cast, number]] == counts[:2]
            assert told.certain[cast, number] == vote.winner_certain()
            leader = row[told.place[cast, number]]
            assert vote.winner in (None, str(leader))


def test_numbers_of_answers_are_those_of_each_vote() -> None:
    told = numbered(np.array([[70, 9, -1, 70], [-1, -1, -1, -1], [5, 4, 3, 2]]))
    assert told.tolist() == [[1, 0, -1, 1], [-1, -1, -1, -1], [3, 2, 1, 0]]


@pytest.mark.parametrize("error", [0.05, 0.2])
def test_the_stated_error_rate_holds_on_many_votes_at_once(error: float) -> None:
    """A close vote in 20,000 random orders: the share that stop with another winner."""
    answers = np.repeat([0, 1], [33, 31])
    orders = np.random.default_rng(0).permuted(np.tile(answers, (20_000, 1)), axis=1)
    did = stopped(stop_rule("error", error), course(orders))
    winner = orders[np.arange(len(orders)), did.place]
    slack = 3 * (error * (1 - error) / len(orders)) ** 0.5
    assert 0.2 * error < (winner != 0).mean() <= error + slack
