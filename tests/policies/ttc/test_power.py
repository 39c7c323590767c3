"""Sharpened distributions: samplers draw from p ** alpha, which is no low temperature."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
from ttc_worlds import Scripted, answered, chains, operation, tiny

from farthing.core.errors import RequestError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.models.tiny import prompt
from farthing.policies import from_params
from farthing.policies.ttc.power_mcmc import PowerMCMC
from farthing.policies.ttc.power_scalable import PowerScalable, weighed
from farthing.policies.ttc.power_smc import PowerSMC
from farthing.policies.ttc.sharpened import normaliser
from farthing.policies.ttc.spending import Spending

CHAIN, ALPHA = "1-4*4", 4.0
MODEL = {"model": "tiny-small"}


@cache
def enumerated() -> tuple[dict[str, float], dict[str, float]]:
    """Of each answer p ** alpha, and its probability at temperature 1 / alpha; both sum to 1."""
    model = tiny("small")
    sharp: dict[str, float] = {}
    cold: dict[str, float] = {}

    def go(tokens: list[int], logp: float, logq: float) -> None:
        logits = model.start([*model.encode(CHAIN), *tokens]).logits
        assert logits is not None
        logprobs = logits.astype(float) - normaliser(logits.astype(float).tolist(), 1.0)
        for token, one in enumerate(logprobs):
            now = logp + float(one)
            if now < -12:
                continue
            then = logq + ALPHA * float(one) - normaliser(logprobs.tolist(), ALPHA)
            if token == model.eos:
                text = model.decode(tokens)
                sharp[text] = sharp.get(text, 0.0) + float(np.exp(ALPHA * now))
                cold[text] = cold.get(text, 0.0) + float(np.exp(then))
            else:
                go([*tokens, token], now, then)

    go([], 0.0, 0.0)
    whole = sum(sharp.values())
    return {text: p / whole for text, p in sharp.items()}, cold


def apart(told: dict[str, float], target: dict[str, float]) -> float:
    """Total variation distance."""
    return sum(abs(told.get(t, 0.0) - target.get(t, 0.0)) for t in {*told, *target}) / 2


def drawn(policy: Any, draws: int) -> tuple[dict[str, float], float, float]:
    """Shares of the answers, and tokens and the longest row of calls of a draw."""

    async def run() -> tuple[Counter[str], int, int]:
        counts: Counter[str] = Counter()
        tokens = calls = 0
        for seed in range(draws):
            op = operation(tiny("small"))
            response = await policy.answer(Request.ask(prompt(CHAIN), seed=seed), op)
            counts[response.text] += 1
            tokens += op.usage.output_tokens if op.usage else 0
            calls += len(op.attempts)
        return counts, tokens, calls

    counts, tokens, calls = asyncio.run(run())
    shares = {text: count / draws for text, count in counts.items()}
    return shares, tokens / draws, calls / draws


def test_the_target_is_far_from_a_low_temperature() -> None:
    sharp, cold = enumerated()
    assert apart(sharp, cold) > 0.4
    shares, _, _ = drawn(PowerMCMC(moves=0, **MODEL), 160)
    assert apart(shares, cold) < 0.1
    assert apart(shares, sharp) > 0.35


@pytest.mark.parametrize(
    "policy",
    [
        PowerMCMC(moves=12, proposal="plain", **MODEL),
        PowerSMC(particles=32, **MODEL),
        PowerSMC(particles=16, proposal="plain", **MODEL),
        PowerSMC(particles=16, proposal="plain", ramp=2, threshold=1.0, **MODEL),
        PowerScalable(**MODEL),
    ],
    ids=lambda policy: policy.kind,
)
def test_samplers_draw_from_the_sharpened_distribution(policy: Any) -> None:
    sharp, _ = enumerated()
    shares, _, _ = drawn(policy, 160)
    assert apart(shares, sharp) < 0.13


def test_moves_bring_the_chain_to_its_target() -> None:
    sharp, _ = enumerated()
    few, _, _ = drawn(PowerMCMC(moves=4, **MODEL), 120)
    many, _, _ = drawn(PowerMCMC(moves=40, **MODEL), 80)
    assert apart(many, sharp) < 0.17 < apart(few, sharp)


def test_blocks_have_the_same_target() -> None:
    sharp, _ = enumerated()
    shares, _, _ = drawn(PowerMCMC(moves=12, block=2, proposal="plain", **MODEL), 120)
    assert apart(shares, sharp) < 0.14


def test_particles_come_nearer_for_as_many_tokens_in_far_fewer_turns() -> None:
    sharp, _ = enumerated()
    smc, smc_tokens, _ = drawn(PowerSMC(particles=16, ramp=2, **MODEL), 120)
    chain, chain_tokens, calls = drawn(PowerMCMC(moves=22, **MODEL), 120)
    assert smc_tokens == pytest.approx(chain_tokens, rel=0.1)
    assert apart(smc, sharp) < apart(chain, sharp)
    assert calls == 23  # one after the other; particles take a turn a token, three


def test_a_vote_takes_the_answer_of_most_weight() -> None:
    op = operation(tiny("small"))
    told = answered(PowerSMC(choose="vote", **MODEL), op, Request.ask(prompt("3+4"), seed=1))
    assert told.samples[0].answer == "7"
    assert told.samples[0].columns["signal"] == pytest.approx(1.0, abs=0.2)


def test_sure_tokens_take_no_rollouts() -> None:
    _, all_tokens, _ = drawn(PowerScalable(**MODEL), 10)
    _, few_tokens, _ = drawn(PowerScalable(sure=0.9, **MODEL), 10)
    assert few_tokens < 0.8 * all_tokens


def test_the_jackknife_takes_out_bias() -> None:
    """Mean of weighed() over many noisy estimates of futures of 1 and 1, and of 3 and 1."""
    rng = np.random.default_rng(0)
    for worth in (1.0, 3.0):
        means = []
        for corrected in (True, False):
            total = np.zeros(2)
            for _ in range(4000):
                noise = rng.exponential(size=(2, 4)) * np.array([[worth], [1.0]])
                futures = np.log(noise)
                if not corrected:
                    futures = np.log(noise.mean(1, keepdims=True))
                total += weighed(np.zeros(2), futures)
            means.append(total[0] / 4000)
        right = worth / (1 + worth)
        assert abs(means[0] - right) <= abs(means[1] - right) + 0.006


@pytest.mark.parametrize("policy", [PowerMCMC(**MODEL), PowerSMC(**MODEL), PowerScalable(**MODEL)])
def test_spending_and_parameters(policy: Any) -> None:
    params = {**policy.get_params(), "spending": {"tokens": 9}}
    bound = from_params(policy.kind, params)
    assert bound.spending == Spending(tokens=9)
    op = operation(tiny("small"))
    told = answered(bound, op, Request.ask(prompt("1+2*3-4+5"), seed=0))
    assert told.text
    assert op.stopped == "cap"
    assert op.usage is not None
    assert op.usage.output_tokens <= 9 + 16


@pytest.mark.parametrize(
    "policy",
    [
        PowerMCMC(block=1, moves=3, **MODEL),
        PowerSMC(particles=6, **MODEL),
        PowerScalable(**MODEL),
        PowerScalable(horizon=1, **MODEL),
    ],
    ids=["mcmc", "smc", "scalable", "scalable-horizon"],
)
@pytest.mark.parametrize("cap", [400_000, 600_000])
def test_what_runs_short_is_a_whole_answer(policy: Any, cap: int) -> None:
    """Caps of two and three answers."""
    short = 0
    for request, _ in chains(12, steps=5, seed=8):
        op = operation(tiny("small"), cap=Cost(cap))
        told = answered(policy, op, request)
        assert told.samples[0].finish_reason == "stop"
        assert op.spent < Cost(cap + 160_000)
        short += op.stopped == "cap"
    assert short > 0


def test_rollouts_are_fewer_where_not_all_can_be_paid() -> None:
    made = {}
    request, _ = chains(1, steps=5, seed=8)[0]
    for cap in (None, Cost(1_000_000)):
        op = operation(tiny("small"), cap=cap)
        answered(PowerScalable(**MODEL), op, request)
        groups = [attempt.request.n for attempt in op.attempts if attempt.request.temperature == 1]
        made[cap] = max(groups)
    assert made[None] == 4
    assert 1 <= made[Cost(1_000_000)] < 4


def test_a_cap_below_a_token_gives_that_token() -> None:
    op = operation(tiny("small"), cap=Cost(1))
    told = answered(PowerScalable(**MODEL), op, Request.ask(prompt(CHAIN), seed=0))
    assert told.text
    assert (told.samples[0].finish_reason, op.stopped, len(op.attempts)) == ("length", "cap", 1)


def test_models_that_show_too_little_are_refused() -> None:
    with pytest.raises(RequestError, match="shows no log-probabilities"):
        answered(PowerSMC(model="m"), operation(Scripted("m", ["x"])))
    with pytest.raises(ValueError, match="alpha must be at least 1"):
        PowerSMC(model="m", alpha=0.5)
