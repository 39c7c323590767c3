"""The choice of model, samples and stop rule: as served, best within the budget, and certified."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import farthing.cli.plan_compute  # noqa: F401
from farthing.budgets.operation import Operation
from farthing.cli._app import app
from farthing.core.errors import CalibrationError, InfeasibleError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.cost.prices import PriceBook
from farthing.models.draw import draw
from farthing.models.recorded import RecordedModel
from farthing.models.recording import Recording, from_table
from farthing.plan.compute_choice import STOPS, Option, _knapsack, choose, options, play
from farthing.plan.file import load_plan
from farthing.policies.decisions import rightness


def made(questions: int = 400, samples: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """Easy questions that a cheap model gets right, hard ones on which its votes help."""
    rng, rows = np.random.default_rng(seed), []
    for question in range(questions):
        task = "easy" if question % 2 else "hard"
        for model, count, cost in (("cheap", samples, 0.001), ("dear", 1, 0.01)):
            chance = {"easy": 0.97, "hard": 0.6}[task] if model == "cheap" else 0.95
            for sample in range(count):
                right = bool(rng.random() < chance)
                rows.append({
                    "question": f"{task}{question}", "task": task, "model": model,
                    "sample": sample, "answer": "yes" if right else f"no{rng.integers(5)}",
                    "correct": float(right), "cost_usd": cost, "input_tokens": 0,
                    "output_tokens": round(cost * 1000),
                })  # fmt: skip
    return rows


def recording(**settings: Any) -> Recording:
    return from_table(pa.Table.from_pylist(made(**settings)), "made.jsonl")


class TestPlay:
    @pytest.mark.parametrize("stop", STOPS)
    def test_does_what_the_served_policy_does(self, stop: Any) -> None:
        drawn = draw(recording(questions=60), ["cheap", "dear"], 8, 3)
        option = Option("cheap", 8, stop)
        did = play(drawn, rightness(drawn)[0], option)
        models = {"cheap": RecordedModel(drawn, "cheap")}

        async def serve() -> None:
            for place, question in enumerate(drawn.recording.questions):
                models["cheap"] = RecordedModel(drawn, "cheap")
                operation = Operation(dict(models), prices=PriceBook())
                request = Request.ask("?", question=question)
                response = await option.policy().answer(request, operation)
                assert response.samples[0].correct == did.right[place]
                assert operation.spent.pico == did.cost[place]

        asyncio.run(serve())


class TestKnapsack:
    @pytest.mark.parametrize("seed", range(20))
    def test_is_the_best_there_is(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        shares = rng.dirichlet(np.ones(3)).tolist()
        told = [[(float(c), float(q)) for c, q in rng.random((5, 2))] for _ in range(3)]
        budget = float(rng.uniform(0.3, 0.8))
        best = -1.0
        for places in itertools.product(range(5), repeat=3):
            cost, quality = (
                sum(s * told[k][p][i] for k, (s, p) in enumerate(zip(shares, places, strict=True)))
                for i in (0, 1)
            )
            if cost <= budget:
                best = max(best, quality)
        found = _knapsack(shares, told, budget)
        if best < 0:
            assert found is None
            return
        assert found is not None
        cost = sum(s * told[k][p][0] for k, (s, p) in enumerate(zip(shares, found, strict=True)))
        quality = sum(s * told[k][p][1] for k, (s, p) in enumerate(zip(shares, found, strict=True)))
        assert cost <= budget * (1 + 1e-9)
        assert quality == pytest.approx(best, abs=0.01)


class TestChoose:
    def test_spends_where_it_helps(self) -> None:
        found = choose(recording(), Cost.from_usd("0.004"), samples=8)
        easy, hard = found.classes
        assert (easy.name, hard.name) == ("easy", "hard")
        assert easy.samples < hard.samples or hard.option.model == "dear"
        assert found.within
        cheap = next(quality for name, quality, _ in found.singles if name == "cheap")
        assert found.quality_interval[0] > cheap

    def test_says_where_one_answer_is_enough(self) -> None:
        assert choose(recording(), Cost.from_usd("0.004"), samples=8).enough is None
        rows = [{**row, "correct": 1.0, "answer": "yes"} for row in made()]
        same = from_table(pa.Table.from_pylist(rows), "same.jsonl")
        assert choose(same, Cost.from_usd("0.02"), samples=8).enough == "cheap"

    def test_certificates_hold(self) -> None:
        broken = trials = 0
        for seed in range(30):
            found = choose(recording(seed=seed), Cost.from_usd("0.004"), samples=8, seed=seed)
            fresh = draw(recording(questions=2000, seed=1000 + seed), ["cheap", "dear"], 8, 0)
            task = np.array([name[:4] for name in fresh.recording.table["task"].take(
                pa.array(fresh.rows[0][:, 0])).to_pylist()])  # fmt: skip
            for one in found.classes:
                did = play(fresh, rightness(fresh)[fresh.index(one.option.model)], one.option)
                certificate = one.plan.certificate
                assert certificate is not None
                rate = (did.cost[task == one.name] > certificate.budget.pico).mean()
                broken, trials = broken + (rate > certificate.alpha + 0.02), trials + 1
        assert broken <= 0.1 * trials

    def test_too_small_a_budget_is_told(self) -> None:
        with pytest.raises(InfeasibleError, match=r"the cheapest options cost 0\.001"):
            choose(recording(), Cost.from_usd("0.0005"), samples=8)

    def test_too_few_questions_are_told(self) -> None:
        with pytest.raises(CalibrationError, match="are needed") as caught:
            choose(recording(questions=40), Cost.from_usd("0.004"), samples=8)
        assert caught.value.needed > caught.value.given

    def test_every_size_and_rule_takes_part(self) -> None:
        drawn = draw(recording(questions=20, samples=6), ["cheap", "dear"], 6, 0)
        found = options(drawn)
        assert {one.samples for one in found if one.model == "cheap"} == {1, 2, 4, 6}
        assert [one for one in found if one.model == "dear"] == [Option("dear", 1)]
        assert len(found) == 1 + 3 * len(STOPS) + 1


class TestCommand:
    def test_writes_plans_that_load(self, tmp_path: Path) -> None:
        path = tmp_path / "r.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in made()))
        asked = ["plan-compute", str(path), "--budget", "0.004", "--samples", "8"]
        told = CliRunner().invoke(app, [*asked, "--json", "--out", str(tmp_path)])
        assert told.exit_code == 0, told.output
        found = json.loads(told.stdout)
        assert [one["task"] for one in found["classes"]] == ["easy", "hard"]
        assert found["saturation"]["cheap"][0]["law"] == "one chance"
        for one in found["classes"]:
            plan = load_plan(tmp_path / f"compute-{one['task']}.toml")
            assert plan.certificate is not None
            assert plan.models == (one["option"]["model"],)
        shown = CliRunner().invoke(app, asked)
        assert shown.exit_code == 0, shown.output
        assert "Together" in shown.output
