"""A learnt choice of operations on graphs of thoughts beside fixed schedules, at equal tokens.

    python benchmarks/thought_graph.py [--trials 6000] [--problems 600] [--out actions.json]

Chains of one to six steps on the smallest tiny model, taken apart into halves. Schedules are
`thought-graph` with several numbers of samples, levels and refinements. What is learnt comes from
other chains, one table for each price of a token. It is compared with the best mixture of two
schedules of as many tokens, of those that are not `eager` and of all, chosen on the chains of the
comparison themselves: that favours the schedules. Intervals of 95 % are over chains, by resampling.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from tempfile import NamedTemporaryFile

import numpy as np
from _common import environment, markdown

from farthing.bench.compute.worlds import Source, TinyWorld
from farthing.core.response import Response
from farthing.policies.ttc.graph_actions import Actions
from farthing.policies.ttc.graph_learning import Trial, fit
from farthing.policies.ttc.thought_graph import ThoughtGraph

MODEL, HALVES = "tiny-small", "farthing.policies.ttc.splitting:halves"
SCHEDULES = [
    ThoughtGraph(MODEL, samples, 1.0, levels, refines, HALVES, eager)
    for samples, levels, refines, eager in product((1, 2, 3, 5), (1, 2, 3), (0, 1), (False, True))
]
PRICES, RESAMPLES = (0.0, 0.002), 1000


def trials(world: TinyWorld) -> Iterator[Trial]:
    """An operation on each chain."""
    for number in range(world.questions):
        begun = world.begin(number, 0, None)

        def right(response: Response, number: int = number) -> float:
            return float(response.samples[0].answer == world.answers[number])

        yield begun.request, begun.operation, right


async def tried(policy: ThoughtGraph, world: TinyWorld) -> np.ndarray:
    """Of each chain: whether the answer is right, and its tokens; shape (2, chains)."""
    told = []
    for request, operation, right in trials(world):
        response = await policy.answer(request, operation)
        usage = operation.usage
        told.append((right(response), usage.output_tokens if usage else 0))
    return np.array(told, float).T


def frontier(rights: np.ndarray, costs: np.ndarray, tokens: float) -> float:
    """The most right answers that a mixture of two policies reaches with so many tokens."""
    within = costs <= tokens
    x, a = costs[within][:, None], rights[within][:, None]
    y, b = costs[~within], rights[~within]
    mixed = a + (tokens - x) / (y - x) * (b - a)
    return float(max(a.max(initial=0.0), mixed.max(initial=0.0)))


def compared(learnt: np.ndarray, fixed: np.ndarray) -> tuple[float, list[float]]:
    """What schedules reach with as many tokens, and by how many points that is exceeded.

    The difference comes with the ends of its interval.
    """
    chains = learnt.shape[1]
    draws = np.random.default_rng(0).integers(chains, size=(RESAMPLES, chains))
    reached, gains = [], []
    for chosen in (np.arange(chains), *draws):
        right, tokens = learnt[:, chosen].mean(axis=1)
        rights, costs = fixed[:, :, chosen].mean(axis=2).T
        reached.append(frontier(rights, costs, tokens))
        gains.append(100 * (right - reached[-1]))
    return reached[0], [gains[0], *np.quantile(gains[1:], (0.025, 0.975))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=6000)
    parser.add_argument("--problems", type=int, default=600)
    parser.add_argument("--samples", default="1,2,3")
    parser.add_argument("--out", help="where the last table is written")
    given = parser.parse_args()
    print(environment(), flush=True)
    taught, held = (
        TinyWorld(Source(problems=count, seed=seed))
        for count, seed in ((given.trials, 1), (given.problems, 2))
    )
    fixed = np.array([asyncio.run(tried(policy, held)) for policy in SCHEDULES])
    table = Actions()
    rows: list[list[str]] = []
    for samples, price in product(map(int, given.samples.split(",")), PRICES):
        policy = replace(SCHEDULES[0], samples=samples, levels=3, refines=1)
        table = asyncio.run(fit(policy, trials(taught), price=price))
        with NamedTemporaryFile(suffix=".json") as file:
            table.save(file.name)
            learnt = asyncio.run(tried(replace(policy, actions=file.name), held))
        right, tokens = learnt.mean(axis=1)
        for name, some in (
            ("lazy", [not p.eager for p in SCHEDULES]),
            ("all", [True] * len(fixed)),
        ):
            reached, (gain, low, high) = compared(learnt, fixed[some])
            rows.append(
                [f"{samples}", f"{price:g}", f"{tokens:.1f}", f"{right:.3f}", name,
                 f"{reached:.3f}", f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"]
            )  # fmt: skip
    columns = ["samples", "price", "tokens", "right", "schedules", "reach", "points"]
    print(markdown(columns, rows))
    print()
    for policy, (right, tokens) in zip(SCHEDULES, fixed.mean(axis=2), strict=True):
        told = f"{policy.samples} samples, {policy.levels} levels, {policy.refines} refinements"
        print(f"{told}{', eager' if policy.eager else ''}: {right:.3f}, {tokens:.1f} tokens")
    if given.out:
        table.save(given.out)


if __name__ == "__main__":
    main()
