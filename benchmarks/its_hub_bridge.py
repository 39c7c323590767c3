"""its_hub's algorithms beside our policies of the same idea, on the smallest tiny model.

    python benchmarks/its_hub_bridge.py [--problems 300]

Chains of one to six steps at temperature 1, the same for all; a budget of 8. Each row is an
algorithm: what share it solves, with its 95 % interval, the tokens that it generates for a chain,
and their cost. Half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import numpy as np
from _common import environment, markdown

from farthing.budgets import Operation
from farthing.core.request import Request
from farthing.cost import PriceBook
from farthing.models import tiny
from farthing.policies import from_params
from farthing.risk.binomial import interval
from farthing.signals import reader

MODEL, SEED, SAMPLES = "tiny-small", 0, 8
EXACT = {"reward": {"kind": "exact"}}
SG = {"sg": {"max_steps": 8, "step_token": " ", "temperature": 1.0}}
STEPS = {"steps": {"tokens": 1}}

PAIRS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("self-consistency", {}, "vote", {"samples": SAMPLES, "stop": "none"}),
    ("adaptive-self-consistency", {}, "vote", {"samples": SAMPLES, "stop": "doubling"}),
    ("beta-self-consistency", {}, "vote", {"samples": SAMPLES, "stop": "beta"}),
    ("best-of-n", EXACT, "best_of_n", {"samples": SAMPLES, **EXACT}),
    (
        "beam-search",
        {"options": {**SG, "beam_width": 4}, **EXACT},
        "beam",
        {"width": 4, "expand": 2, **STEPS, **EXACT},
    ),
    (
        "particle-filtering",
        {"options": SG, **EXACT},
        "particles",
        {"particles": SAMPLES, **STEPS, **EXACT},
    ),
]


async def row(name: str, policy: Any, chains: list[str]) -> list[str]:
    """A row of the table."""
    right = tokens = pico = 0
    models, prices, read = {MODEL: tiny.load("small")}, PriceBook(), reader("last-number")
    for number, chain in enumerate(chains):
        operation = Operation(models, prices=prices, reader=read)
        request = Request.ask(tiny.prompt(chain), seed=1000 * number)
        response = await policy.answer(request, operation)
        right += response.samples[0].answer == str(tiny.solve(chain)[-1])
        tokens += operation.usage.output_tokens if operation.usage else 0
        pico += operation.spent.pico
    low, high = interval(right, len(chains), 0.95)
    share = f"{right / len(chains):.3f} ({low:.3f} to {high:.3f})"
    return [name, share, f"{tokens / len(chains):.1f}", f"{pico / len(chains) / 1e6:.2f}"]


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=300)
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    chains = [
        tiny.problem(rng, int(rng.integers(1, tiny.MAX_STEPS + 1)))
        for _ in range(arguments.problems)
    ]
    rows = []
    for algorithm, params, kind, own in PAIRS:
        told = {"model": MODEL, "algorithm": algorithm, "budget": SAMPLES, **params}
        theirs, ours = from_params("its-hub", told), from_params(kind, {"model": MODEL, **own})
        rows.append(await row(f"its_hub: {algorithm}", theirs, chains))
        label = f"{kind}, {own['stop']}" if "stop" in own else kind
        rows.append(await row(label, ours, chains))
    print(environment())
    print(markdown(["", "right", "tokens", "millionths of a dollar"], rows))


if __name__ == "__main__":
    asyncio.run(main())
