"""The steps of `farthing demo`: real commands, a real gateway, the official client."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from farthing.core.errors import FarthingError
from farthing.core.money import Cost
from farthing.models.tiny import MAX_STEPS, check, problem, prompt
from farthing.risk.binomial import interval
from farthing.risk.frontier import random_mix

MODELS = ("small", "mid", "large")
PLAN = "thrifty"
CONFIG = """\
[gateway]
port = 0
answer = "last-number"

[ledger]
path = "farthing.db"

[models.small]
kind = "tiny"
size = "small"

[models.mid]
kind = "tiny"
size = "mid"

[models.large]
kind = "tiny"
size = "large"
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one model or plan did with the fresh questions (counted)."""

    name: str
    questions: int
    correct: int
    cost_usd_mean: float
    over_budget: int

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.questions


@dataclass(frozen=True, slots=True)
class Outcome:
    """Before and after: each model alone, and the plan, on the same fresh questions."""

    asked: list[Asked]
    budget: float
    alpha: float

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "budget_usd": self.budget,
            "alpha": self.alpha,
            "results": [
                {
                    "name": row.name,
                    "questions": row.questions,
                    "quality": row.accuracy,
                    "cost_usd_mean": row.cost_usd_mean,
                    "violation_rate": row.over_budget / row.questions,
                    "violation_rate_interval": interval(row.over_budget, row.questions),
                }
                for row in self.asked
            ],
        }

    def table(self) -> Table:
        """For people."""
        table = Table(
            title=f"\nFresh questions (counted); at most {self.alpha:.0%} may cost more than "
            f"{Cost.from_float(self.budget)} USD",
            title_justify="left",
            box=None,
        )
        for column in ("", "accuracy", "USD per 1M", "vs large", "over budget [95%]"):
            table.add_column(escape(column), justify="right" if column else "left", no_wrap=True)
        large = next(row for row in self.asked if row.name == MODELS[-1])
        for row in self.asked:
            low, high = interval(row.over_budget, row.questions)
            table.add_row(
                f"[bold]plan {row.name}[/]" if row.name not in MODELS else f"always {row.name}",
                f"{row.accuracy:.1%}",
                f"{row.cost_usd_mean * 1e6:.2f}",
                f"{row.cost_usd_mean / large.cost_usd_mean - 1:+.0%}",
                f"{row.over_budget / row.questions:.1%} [dim]\\[{low:.0%}, {high:.0%}][/]",
            )
        *models, plan = self.asked
        mixed = random_mix(
            [row.cost_usd_mean for row in models],
            [row.accuracy for row in models],
            plan.cost_usd_mean,
        )
        if mixed is not None:
            table.add_row(
                "random mix",
                f"{mixed:.1%}",
                f"{plan.cost_usd_mean * 1e6:.2f}",
                f"{plan.cost_usd_mean / large.cost_usd_mean - 1:+.0%}",
            )
        return table


class Demo:
    """Runs the main job in `directory` and tells `console` every command of it."""

    def __init__(
        self,
        directory: Path,
        questions: int,
        budget: str,
        alpha: float,
        seed: int,
        console: Console,
    ) -> None:
        self.directory, self.budget, self.alpha, self.console = directory, budget, alpha, console
        rng = np.random.default_rng(seed)
        drawn: dict[str, None] = {}
        while len(drawn) < 2 * questions:
            drawn[prompt(problem(rng, int(rng.integers(1, MAX_STEPS + 1))))] = None
        both = list(drawn)
        order = rng.permutation(len(both))
        self.recorded = [both[i] for i in order[:questions]]
        self.fresh = [both[i] for i in order[questions:]]

    def run(self) -> Outcome:
        """All steps; FarthingError when one of them fails."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for old in (*self.directory.glob("farthing.db*"), *self.directory.glob("plan.toml")):
            old.unlink()
        (self.directory / "farthing.toml").write_text(CONFIG)
        self.console.print(
            f"Working in {self.directory}; three real language models, 1 to 6 steps "
            "of arithmetic modulo 10."
        )
        self.console.rule("1. Record: today's traffic, each question to each model", align="left")
        with self._gateway() as url:
            asyncio.run(self._ask(url, self.recorded, MODELS))
        self._command("export", "--out", "recording.parquet")
        self.console.rule("2. Plan: no labels needed", align="left")
        self._command(
            "plan", "recording.parquet", "--models", ",".join(MODELS), "--samples", "1",
            "--signal", "min_logprob", "--budget", self.budget, "--alpha", str(self.alpha),
            "--name", PLAN, "--out", "plan.toml",
        )  # fmt: skip
        self.console.rule("3. Serve the plan, and ask fresh questions", align="left")
        with self._gateway("--plan", "plan.toml") as url:
            answers = asyncio.run(self._ask(url, self.fresh, (*MODELS, PLAN)))
        self.console.rule("4. Report", align="left")
        self._command("report", "--by", "plan")
        return Outcome(
            [self._judge(name, answers[name]) for name in (*MODELS, PLAN)],
            float(self.budget),
            self.alpha,
        )

    def _judge(self, name: str, answers: list[tuple[str, str, float]]) -> Asked:
        return Asked(
            name,
            len(answers),
            sum(bool(check(question, text)) for question, text, _ in answers),
            sum(cost for *_, cost in answers) / len(answers),
            sum(cost > float(self.budget) for *_, cost in answers),
        )

    async def _ask(
        self, url: str, questions: list[str], models: tuple[str, ...]
    ) -> dict[str, list[tuple[str, str, float]]]:
        """Question, answer and cost in USD of every question put to every model."""
        from openai import AsyncOpenAI, OpenAIError

        answers: dict[str, list[tuple[str, str, float]]] = {model: [] for model in models}
        gate = asyncio.Semaphore(8)
        self.console.print(
            f"  [dim]client.chat.completions.create(model=..., messages=[...], temperature=0)  "
            f"# {len(questions)} questions x {', '.join(models)}[/]"
        )
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            with Progress(console=self.console, transient=True) as bar:
                task = bar.add_task("asking", total=len(questions) * len(models))

                async def one(model: str, question: str) -> None:
                    async with gate:
                        raw = await client.chat.completions.with_raw_response.create(
                            model=model,
                            messages=[{"role": "user", "content": question}],
                            temperature=0,
                        )
                    text = raw.parse().choices[0].message.content or ""
                    cost = float(raw.headers["x-farthing-cost-usd"])
                    answers[model].append((question, text, cost))
                    bar.advance(task)

                try:
                    async with asyncio.TaskGroup() as group:
                        for question in questions:
                            for model in models:
                                group.create_task(one(model, question))
                except* OpenAIError as errors:
                    refusal = errors.exceptions[0]
                    raise FarthingError(f"the gateway refused: {refusal}") from refusal
        return answers

    def _command(self, *arguments: str) -> None:
        """Run a command of Farthing in the demo's directory and show it."""
        self._say(arguments)
        done = subprocess.run(
            [sys.executable, "-m", "farthing", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            env=self._environment(),
            check=False,
        )
        self.console.print(done.stdout, end="", markup=False, soft_wrap=True)
        if done.returncode:
            raise FarthingError(f"farthing {arguments[0]} failed: {done.stderr.strip()}")

    @contextmanager
    def _gateway(self, *arguments: str) -> Iterator[str]:
        """A running `farthing serve`; its address."""
        command = ("serve", "--config", "farthing.toml", *arguments)
        self._say(command)
        process = subprocess.Popen(
            [sys.executable, "-m", "farthing", *command],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment(),
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = next((word for word in line.split() if word.startswith("http://")), None)
            if url is None:
                raise FarthingError(f"the gateway did not start: {line.strip() or 'no output'}")
            yield url.rstrip("/.,;:")
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _say(self, arguments: tuple[str, ...]) -> None:
        self.console.print(f"[bold]$ farthing {shlex.join(arguments)}[/]", soft_wrap=True)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "COLUMNS": str(self.console.width)}
