"""What each of the learnt cascades does that the others do not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from recordings import table

from farthing.core.errors import DataError
from farthing.models.draw import Draw, draw
from farthing.models.recording import Floats, from_table
from farthing.policies.automix import AutoMix, AutoMixPomdp
from farthing.policies.decisions import PRICES, rightness
from farthing.policies.frugal import Frugal
from farthing.policies.mixture import Mixture
from farthing.policies.modelswitch import ModelSwitch, consistency
from farthing.policies.scored import ScoredCascade, Step
from farthing.policies.tokens import Tokens
from farthing.signals.agreement import Agreement
from farthing.signals.column import Column
from farthing.signals.mixed import Mixed
from farthing.signals.seen import Seen


def replaced(made: pa.Table, name: str, values: object) -> pa.Table:
    return made.set_column(made.column_names.index(name), name, pa.array(values))


def halves(made: pa.Table, models: list[str], samples: int = 1) -> tuple[Draw, Draw]:
    drawn = draw(from_table(made), models, samples)
    order = np.random.default_rng(0).permutation(drawn.questions)
    half = drawn.questions // 2
    return drawn.select(np.sort(order[:half])), drawn.select(np.sort(order[half:]))


def gains(policies: list[ScoredCascade], other: Draw) -> list[float]:
    """For each price what its policy gains on questions that it has not seen."""
    right, unit = rightness(other), float(other.cost[-1].mean())
    memo: dict[object, object] = {}
    done = [policy.decide(other, memo) for policy in policies]
    return [
        float((told.take(right) - price * told.cost / unit).mean())
        for told, price in zip(done, PRICES, strict=True)
    ]


def seen(model: str, *answers: int) -> Seen:
    return Seen(model, ["?"], np.array([answers]))


def test_a_vote_weighs_consistency_and_priors() -> None:
    steps = (Step("a", 4, Agreement(), 1.0), Step("b", 4, Agreement(), 1.0), Step("c"))
    stages = [seen("a", 1, 1, 1, 2), seen("b", 3, 4, 5, 6), seen("c", 7)]
    assert consistency(stages[0])[0] == pytest.approx(1 - 0.5623 / np.log(4), abs=1e-4)
    assert consistency(stages[1])[0] == pytest.approx(0.01)
    votes = {
        (1.0, 1.0, 1.0): (2, 0),
        (9.0, 1.0, 1.0): (0, 0),
        (1.0, 99.0, 0.1): (0, 0),
    }
    for priors, chosen in votes.items():
        policy = ModelSwitch(steps, priors=dict(zip("abc", priors, strict=True)))
        step, place = policy.choose(stages)
        assert (step[0], place[0]) == chosen, priors
    step, place = ModelSwitch(steps, priors={"a": 9.0}).choose(stages[:2])
    assert (step[0], place[0]) == (1, 0), "a model that agrees with itself has the word"


def test_kinds_of_prompts_vote_together() -> None:
    steps = (
        Step("m/cot", 3, Mixed(), float("inf")),
        Step("m/pot", 3, Mixed(), 0.5),
        Step("strong"),
    )
    stages = [seen("m/cot", 1, 2, 2), seen("m/pot", 1, 1, 3), seen("strong", 4)]
    step, place = Mixture(steps).choose(stages[:2])
    assert (step[0], place[0]) == (0, 0)
    step, place = Mixture(steps).choose(stages)
    assert (step[0], place[0]) == (2, 0), "the strongest model's answer is its own"


def kinds(seed: int = 0) -> pa.Table:
    """The first two models are one model under two prompts, which err in ways of their own."""
    made = table(400, 3, 1, seed, answers=9, null=0.0)
    names = {"m0": "m/cot", "m1": "m/pot", "m2": "strong"}
    made = replaced(made, "model", [names[name] for name in made["model"].to_pylist()])
    cheap = [name != "strong" for name in made["model"].to_pylist()]
    rng = np.random.default_rng(seed)
    right = np.where(cheap, rng.random(len(cheap)) < 0.7, rng.random(len(cheap)) < 0.95)
    wrong = rng.integers(1, 9, len(cheap))
    made = replaced(made, "answer", np.where(right, 0, wrong).astype(str))
    made = replaced(made, "correct", right.astype(float))
    return replaced(made, "cost_usd", np.where(cheap, 1e-5, 1e-3))


@pytest.mark.parametrize("form", ["vote", "verify"])
def test_agreement_across_prompts_is_found(form: str) -> None:
    learn, other = halves(kinds(), ["m/cot", "m/pot", "strong"])
    rungs = Mixture.fit(learn, rightness(learn), form=form)
    rung = next(r for r, price in zip(rungs, PRICES, strict=True) if price < 0.3)
    assert [step.model for step in rung.steps] == ["m/cot", "m/pot", "strong"]
    told = rung.decide(other)
    assert told.take(rightness(other)).mean() > 0.93
    assert told.cost.mean() < 0.65 * other.cost[-1].mean()


def test_verification_that_is_mostly_wrong_is_of_use_to_beliefs_alone() -> None:
    made = table(600, 2, 1, 0)
    turned = -made["conf_raw"].to_numpy()
    learn, other = halves(replaced(made, "conf_raw", turned), ["m0", "m1"])
    right = rightness(learn)
    belief = gains(AutoMixPomdp.fit(learn, right), other)
    plain = gains(AutoMix.fit(learn, right), other)
    assert max(np.subtract(belief, plain)) > 0.02
    assert min(np.subtract(belief, plain)) > -0.01


class Guess(ScoredCascade):
    kind = "guess"


def test_scores_that_tell_nothing_do_little_harm() -> None:
    """Chains are many, and one of them always looks good on what it was fitted to."""
    signal = Column("conf_raw")
    lost = []
    for seed in range(8):
        made = table(300, 5, 1, seed, null=0.0)
        made = replaced(made, "conf_raw", np.random.default_rng(seed).normal(size=len(made)))
        learn, other = halves(made, [f"m{i}" for i in range(5)])

        def score(models: tuple[int, ...], learn: Draw = learn) -> Floats:
            return learn.column("conf_raw", models[-1])[:, 0]

        rungs = Guess.ladder(learn, rightness(learn), score, lambda models: signal)
        chosen = singles(learn).argmax(axis=0)
        alone = singles(other)[chosen, np.arange(len(PRICES))]
        lost.append(np.mean(alone - gains(list(rungs), other)))
    assert np.mean(lost) < 0.01


def singles(drawn: Draw) -> Floats:
    """What each model alone gains at each price, shape (models, prices)."""
    unit = float(drawn.cost[-1].mean())
    each = zip(rightness(drawn), drawn.cost, strict=True)
    means = [(float(right.mean()), float(cost.mean()) / unit) for right, cost in each]
    return np.array([[right - price * cost for price in PRICES] for right, cost in means])


def test_a_scorer_learns_from_questions_and_outputs() -> None:
    """Which questions the small model can answer, only the prompt tells, or only the output."""
    for column in ("prompt", "text"):
        made = table(500, 2, 1, 0)
        right = made["correct"].to_pylist()
        words = [("simple sum" if r else "hard knot") + f" {i}" for i, r in enumerate(right)]
        first = dict(zip(made["question"].to_pylist(), words, strict=True))
        told = [first[q] for q in made["question"].to_pylist()] if column == "prompt" else words
        if column == "prompt":
            made = replaced(made, "prompt", told)
        else:
            made = made.append_column("text", pa.array(told))
        learn, other = halves(made, ["m0", "m1"])
        with_text = gains(Frugal.fit(learn, rightness(learn)), other)
        assert max(with_text - singles(other).max(axis=0)) > 0.02, column


def test_what_a_recording_lacks() -> None:
    made = table(40, 2, 1).drop_columns(["conf_raw", "mean_logprob", "min_logprob"])
    drawn = draw(from_table(made, "here"), ["m0", "m1"], 1)
    right: list[Floats] = rightness(drawn)
    for kind in (AutoMix, AutoMixPomdp):
        with pytest.raises(DataError, match="here: no column 'conf_raw'"):
            kind.fit(drawn, right)
    with pytest.raises(DataError, match="here: no log-probabilities of tokens"):
        Tokens.fit(drawn, right)
    free = draw(from_table(table(40, 2, 1).drop_columns(["conf_cost_usd"])), ["m0", "m1"], 1)
    with pytest.raises(DataError, match="what 'conf_raw' cost is not recorded"):
        AutoMix.fit(free, rightness(free))
