"""The planner's tables equal the policy object, row by row."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import recordings
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.budgets.operation import Operation
from farthing.core.errors import DataError
from farthing.core.request import Request
from farthing.cost.prices import PriceBook
from farthing.models.draw import cost_column, draw
from farthing.plan.evaluate import apply
from farthing.plan.outcomes import Outcomes
from farthing.plan.replay import recorded_models
from farthing.policies.cascade import VOTING, Cascade, Stage

SIGNALS = ("agreement", "pooled-agreement", "mean_logprob", "min_logprob", "conf_raw")


async def by_policy(drawn, outcomes, models, thresholds):
    signal = outcomes.signal
    attempt = signal not in VOTING and cost_column(drawn.recording, signal) is not None
    accepts = dict(zip(models, [*thresholds, "always"], strict=True))
    stages = tuple(
        Stage(name, drawn.samples[i], accepts.get(i, "skip" if i < models[-1] else "always"))
        for i, name in enumerate(drawn.models)
    )
    cascade = Cascade(stages, signal, outcomes.sampling, signal_attempt=attempt)
    available = recorded_models(drawn)
    rows = []
    for question in drawn.recording.questions:
        operation = Operation(available, prices=PriceBook())
        response = await cascade.answer(Request.ask("?", question=question), operation)
        sample = response.samples[0]
        rows.append((operation.spent.pico, sample.answer, sample.correct, response.model))
    return rows


@settings(max_examples=60, deadline=None)
@given(data=st.data())
async def test_tables_equal_the_policy(data):
    signal = data.draw(st.sampled_from(SIGNALS))
    samples = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    recording = recordings.recording(12, 3, 4, data.draw(st.integers(0, 99)), null=0.2)
    drawn = draw(recording, ["m0", "m1", "m2"], samples, seed=data.draw(st.integers(0, 9)))
    sampling = data.draw(st.sampled_from(["calls", "n"]))
    outcomes = Outcomes(drawn, signal, sampling)
    models = data.draw(st.sampled_from([(2,), (0, 2), (1, 2), (0, 1), (0, 1, 2)]))
    gates = outcomes.sequence(models).gates
    thresholds = tuple(float(data.draw(st.sampled_from(list(g.thresholds)))) for g in gates)
    fast = apply(outcomes, models, thresholds)
    slow = await by_policy(drawn, outcomes, models, thresholds)
    strongest = await by_policy(drawn, outcomes, (2,), ())
    for place, (cost, answer, correct, model) in enumerate(slow):
        assert fast.cost[place] == cost
        assert fast.correct[place] == correct
        assert drawn.models[fast.answered[place]] == model
        assert fast.regret[place] == (answer != strongest[place][1])


def test_n_sampling_bills_the_prompt_once():
    drawn = draw(recordings.recording(10), ["m0", "m1"], 5)
    calls, once = (Outcomes(drawn, "agreement", s).end(0).cost for s in ("calls", "n"))
    table = drawn.recording.table.to_pylist()
    for question in range(10):
        rows = [table[row] for row in drawn.rows[0][question]]
        output = sum(row["output_tokens"] for row in rows)
        assert once[question] == (rows[0]["input_tokens"] + 4 * output) * 10**5
    assert (once != calls).any()


def test_n_sampling_needs_costs_that_follow_from_tokens():
    table = recordings.table(10)
    column = table.schema.get_field_index("cost_usd")
    noisy = np.random.default_rng(0).random(table.num_rows)
    drawn = draw(
        recordings.from_table(table.set_column(column, "cost_usd", [noisy])), ["m0", "m1"], 5
    )
    with pytest.raises(DataError, match="do not follow from its token counts"):
        Outcomes(drawn, "agreement", "n").sequence((0, 1))


def test_unknown_column_and_column_of_nulls_are_refused():
    drawn = draw(recordings.recording(10), ["m0", "m1"], 1)
    with pytest.raises(DataError, match="no column 'confidence'"):
        Outcomes(drawn, "confidence")
    with pytest.raises(DataError, match="want a number"):
        Outcomes(drawn, "answer")


def test_large_votes_are_counted_in_parts(monkeypatch):
    from farthing.plan import outcomes as module

    drawn = draw(recordings.recording(30), ["m0", "m1"], 5)
    whole = module._Votes(drawn.answers[0])
    rows = [module._course(drawn.answers[0][i : i + 7]) for i in range(0, 30, 7)]
    for table, parts in zip(
        (whole.lead, whole.leader, whole.certain), zip(*rows, strict=True), strict=True
    ):
        assert (table == np.concatenate(parts)).all()


def test_all_subsets_are_sequences():
    from farthing.plan.search import sequences

    assert len(sequences(5)) == 31
    assert all(list(s) == sorted(s) for s in sequences(5))
    assert len(set(itertools.chain(sequences(4)))) == 15
