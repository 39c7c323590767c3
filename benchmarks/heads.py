"""Policies that the tiny models' own heads guide, beside greedy answers and votes, at their cost.

    python benchmarks/heads.py [--problems 1000] [--models small,mid,large]

The same chains of one to six steps for all rows; a row is a policy: what share it solves with its
95 % interval, tokens, FLOPs and cost a question, and how far it is above the mix of single greedy
answers of two models that costs as much, with the interval by resampling of the questions.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

import numpy as np
from _common import environment, markdown

from farthing.bench.compute.worlds import Source, TinyWorld, world
from farthing.policies.single import Single
from farthing.policies.ttc.chain import Chain, Link
from farthing.policies.ttc.self_evaluated import SelfEvaluated
from farthing.policies.ttc.vote import SelfConsistency
from farthing.policies.ttc.zip_rc import ZipRC

SEED = 41
NEVER = 2.0


def policies(model: str, unit: float) -> dict[str, Any]:
    """The rows, by their names; `unit` is the dollars of a greedy answer."""
    told: dict[str, Any] = {"model": model}
    rows: dict[str, Any] = {"greedy": Single(model)}
    rows |= {f"vote of {n}": SelfConsistency(model, samples=n, stop="none") for n in (4, 8, 16)}
    rows |= {
        f"best of {n} by `enough`": SelfEvaluated(
            samples=n, width=n, accept=NEVER, anneal=False, **told
        )
        for n in (4, 8, 16)
    }
    rows |= {
        f"best of {n} by `enough`, annealed": SelfEvaluated(samples=n, accept=NEVER, **told)
        for n in (2, 4, 8, 16)
    }
    rows |= {
        f"self-evaluation, accept {accept}": SelfEvaluated(samples=16, accept=accept, **told)
        for accept in (0.7, 0.8, 0.85, 0.9, 0.95)
    }
    rows |= {
        f"self-evaluation, accept {accept}, not annealed": SelfEvaluated(
            samples=16, accept=accept, anneal=False, **told
        )
        for accept in (0.8, 0.9)
    }
    rows |= {
        f"self-evaluation, accept {accept}, prune {prune}, {width} wide": SelfEvaluated(
            samples=16, accept=accept, prune=prune, width=width, **told
        )
        for accept in (0.8, 0.9)
        for prune, width in ((0.8, 1), (0.8, 4))
    }
    rows |= {
        f"zip-rc, worth {worth}, discern {discern}{'' if greedy else ', no greedy'}": ZipRC(
            samples=16, value_usd=f"{worth * unit:.12f}", discern=discern, greedy=greedy, **told
        )
        for worth, discern, greedy in (
            (4, 1.0, True),
            (4, 1.0, False),
            (4, 0.3, True),
            (16, 1.0, True),
            (16, 1.0, False),
            (16, 0.3, True),
        )
    }
    if model != "tiny-large":
        rows |= {
            f"chain: greedy if likely >= {accept}, else tiny-large": Chain(
                links=(Link(one_greedy(model), accept), Link("tiny-large"))
            )
            for accept in (0.5, 0.7, 0.9, 0.97)
        }
    return rows


def one_greedy(model: str) -> ZipRC:
    """A greedy answer in one call, with the probability of its being right."""
    return ZipRC(model=model, samples=1, start=1, tokens=16, value_usd="1")


def run(found: TinyWorld, model: str, policy: Any) -> np.ndarray:
    """Right, tokens, FLOPs and dollars of each question, shape (questions, 4)."""

    async def ask() -> np.ndarray:
        rows = []
        for question in range(found.questions):
            found.prepare(model, question)
            begun = found.begin(question, 0, None)
            response = await policy.answer(begun.request, begun.operation)
            await begun.operation.idle()
            spent = begun.spent(response)
            rows.append((spent.right, spent.output, spent.flops, spent.usd))
        return np.array(rows)

    return asyncio.run(ask())


def mixed(singles: list[np.ndarray], usd: float) -> np.ndarray:
    """What the mix of two neighbouring models that costs `usd` solves of each question."""
    costs = [one[:, 3].mean() for one in singles]
    for place in range(len(singles) - 1):
        low, high = costs[place], costs[place + 1]
        if usd <= high or place == len(singles) - 2:
            share = min(max((usd - low) / (high - low), 0.0), 1.0)
            return (1 - share) * singles[place][:, 0] + share * singles[place + 1][:, 0]
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--models", default="small,mid,large")
    parser.add_argument("--only", default="", help="rows whose names have this in them")
    arguments = parser.parse_args()
    found = world(Source(problems=arguments.problems, seed=SEED))
    assert isinstance(found, TinyWorld)
    singles = [run(found, model, Single(model)) for model in found.models]
    rng = np.random.default_rng(0)
    drawn = rng.integers(found.questions, size=(1000, found.questions))
    print(environment())
    for size in arguments.models.split(","):
        model = f"tiny-{size}"
        unit = float(singles[found.models.index(model)][:, 3].mean())
        rows = []
        for name, policy in policies(model, unit).items():
            if arguments.only not in name:
                continue
            began = time.perf_counter()
            told = run(found, model, policy)
            apart = told[:, 0] - mixed(singles, float(told[:, 3].mean()))
            low, high = np.percentile(apart[drawn].mean(1), (2.5, 97.5))
            error = 1.96 * told[:, 0].std() / len(told) ** 0.5
            rows.append(
                [
                    name, f"{told[:, 0].mean():.3f} ± {error:.3f}", f"{told[:, 1].mean():.1f}",
                    f"{told[:, 2].mean():.3g}", f"{told[:, 3].mean() / unit:.2f}",
                    f"{told[:, 3].sum() / told[:, 0].sum():.3g}",
                    f"{apart.mean():+.3f} ({low:+.3f} to {high:+.3f})",
                    f"{time.perf_counter() - began:.0f} s",
                ]
            )  # fmt: skip
            print(*rows[-1], sep="; ", file=sys.stderr, flush=True)
        heads = ["policy", "right", "tokens", "FLOPs", "greedy answers", "USD a right answer",
                 "over single models", "took"]  # fmt: skip
        print(f"\n{model}\n" + markdown(heads, rows))


if __name__ == "__main__":
    main()
