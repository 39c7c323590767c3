"""Search over steps and sharpened distributions on the smallest tiny model, by the reward.

    python benchmarks/step_search.py [--problems 300] [--rewards exact,noisy-0.1,noisy-0.3,learnt]

Chains of one to six steps at temperature 1, the same for all. Each row is a policy: what share it
solves with each reward, with its 95 % interval, and the tokens that it generates. Rows with as many
tokens are to be compared. The second table is of what draws from sharpened distributions, without a
reward. A quarter of an hour for 300 problems on a loaded machine of two cores.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from _common import environment, markdown

from farthing.budgets import Operation
from farthing.core.request import Request
from farthing.core.response import Response
from farthing.cost import PriceBook
from farthing.models import tiny
from farthing.policies.ttc.astar import AStar
from farthing.policies.ttc.bavt import BAVT
from farthing.policies.ttc.beam import Beam
from farthing.policies.ttc.best_of_n import BestOfN
from farthing.policies.ttc.particles import Particles
from farthing.policies.ttc.power_mcmc import PowerMCMC
from farthing.policies.ttc.power_scalable import PowerScalable
from farthing.policies.ttc.power_smc import PowerSMC
from farthing.policies.ttc.steps import Steps
from farthing.policies.ttc.treebon import TreeBoN
from farthing.risk.binomial import interval
from farthing.signals import reader
from farthing.signals.steps import ExactSteps, LearntSteps, NoisySteps

MODEL, SEED = "tiny-small", 5
REWARDS = {
    "exact": ExactSteps(),
    "noisy-0.1": NoisySteps(0.1),
    "noisy-0.3": NoisySteps(0.3),
    "learnt": LearntSteps(),
}


@dataclass(frozen=True)
class Plain:
    """One answer."""

    temperature: float

    async def answer(self, request: Request, operation: Operation) -> Response:
        asked = replace(request, temperature=self.temperature)
        return await operation.call(MODEL, asked, node="plain")


def searches(reward: Any) -> dict[str, Any]:
    """The policies of the first table, by their names."""
    told: dict[str, Any] = {"model": MODEL, "reward": reward, "steps": Steps(tokens=1)}
    segments = {**told, "steps": Steps(tokens=2)}
    return {
        **{f"best of {n}": BestOfN(MODEL, reward, n) for n in (1, 2, 4, 8, 16)},
        **{f"particles {n}": Particles(particles=n, **told) for n in (2, 4, 8)},
        "particles 8, vote": Particles(particles=8, choose="vote", **told),
        "beam 2 x 2": Beam(width=2, expand=2, **told),
        "beam 4 x 2": Beam(width=4, expand=2, **told),
        "beam 4 x 2, 2 groups": Beam(width=4, expand=2, groups=2, **told),
        "astar 2, once": AStar(expand=2, again=0.0, **told),
        "astar 4, once": AStar(expand=4, again=0.0, **told),
        **{f"astar {n}": AStar(expand=n, **told) for n in (1, 2, 4)},
        "astar 1, again 0.5": AStar(expand=1, again=0.5, **told),
        "astar 2, again 0.5": AStar(expand=2, again=0.5, **told),
        "bavt 2": BAVT(**told),
        "treebon 4": TreeBoN(samples=4, **segments),
        "treebon 8": TreeBoN(samples=8, **segments),
    }


def samplers() -> dict[str, Any]:
    """The policies of the second table, by their names."""
    return {
        "greedy": Plain(0.0),
        "temperature 1": Plain(1.0),
        "temperature 1/4": Plain(0.25),
        "power-mcmc, 10 moves": PowerMCMC(model=MODEL, moves=10),
        "power-mcmc, 30 moves": PowerMCMC(model=MODEL, moves=30),
        "power-smc 16": PowerSMC(model=MODEL, particles=16, ramp=2),
        "power-smc 16, vote": PowerSMC(model=MODEL, particles=16, ramp=2, choose="vote"),
        "power-scalable, sure 0.95": PowerScalable(model=MODEL, sure=0.95),
    }


async def measured(policy: Any, chains: list[str], models: dict[str, Any]) -> tuple[int, float]:
    """How many chains it solves, and the tokens that it generates for one."""
    right = tokens = 0
    prices, read = PriceBook(), reader("last-number")
    for seed, chain in enumerate(chains):
        operation = Operation(models, prices=prices, reader=read)
        response = await policy.answer(Request.ask(tiny.prompt(chain), seed=seed), operation)
        right += bool(tiny.check(chain, response.text))
        tokens += operation.usage.output_tokens if operation.usage else 0
    return right, tokens / len(chains)


def told(policy: Any, chains: list[str], models: dict[str, Any]) -> str:
    """What a cell of the tables says."""
    right, tokens = asyncio.run(measured(policy, chains, models))
    low, high = interval(right, len(chains), 0.95)
    return f"{right / len(chains):.3f} ({low:.3f} to {high:.3f}), {tokens:.1f} tokens"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--rewards", default=",".join(REWARDS))
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    chains = [
        tiny.problem(rng, int(rng.integers(1, tiny.MAX_STEPS + 1)))
        for _ in range(arguments.problems)
    ]
    models = {MODEL: tiny.load("small")}
    print(environment())
    rewards = arguments.rewards.split(",")
    tables = [searches(REWARDS[name]) for name in rewards]
    rows = [[n, *(told(t[n], chains, models) for t in tables)] for n in tables[0]]
    print(markdown(["policy", *rewards], rows))
    print()
    rows = [[name, told(policy, chains, models)] for name, policy in samplers().items()]
    print(markdown(["policy", "solved"], rows))


if __name__ == "__main__":
    main()
