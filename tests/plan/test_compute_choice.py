"""The choice of model, samples and stop rule: as served, best within the budget, and certified."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import farthing.cli.plan_compute  # noqa: F401
from farthing.budgets.operation import Operation
from farthing.cli._app import app, run
from farthing.core.errors import CalibrationError, DataError, InfeasibleError, PlanError
from farthing.core.money import Cost
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Chunk, Response, Sample
from farthing.cost.prices import PriceBook
from farthing.gateway.plan_checks import check_policy
from farthing.models.draw import draw
from farthing.models.recorded import RecordedModel
from farthing.models.recording import Recording, from_table
from farthing.plan.compute_choice import _knapsack, choose
from farthing.plan.compute_options import STOPS, Option, efforts, options, play
from farthing.plan.file import load_plan, save_plan
from farthing.policies import from_params
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

    @pytest.mark.parametrize("sampling", ["calls", "n"])
    def test_prompts_are_paid_once_where_a_vote_is_one_call(self, sampling: Any) -> None:
        rng = np.random.default_rng(0)
        rows = made(60)
        for row in rows:
            row |= {"input_tokens": 500, "output_tokens": int(rng.integers(1, 40))}
            row["cost_usd"] = (500 + 2 * row["output_tokens"]) / 1e6
        drawn = draw(from_table(pa.Table.from_pylist(rows), "made"), ["cheap"], 8, 0)
        option = Option("cheap", 8, "none", sampling=sampling)
        did = play(drawn, rightness(drawn)[0], option)
        prompts = {"calls": 8, "n": 1}[sampling]
        written = drawn.column("output_tokens", 0).sum(axis=1)
        assert did.cost.tolist() == [int(500e6 * prompts + 2e6 * w) for w in written]
        assert set(did.taken.tolist()) == {8}
        policy = option.policy()
        assert from_params("vote", policy.get_params()) == policy
        model = RecordedModel(drawn, "cheap")
        check_policy("", policy, {"cheap": model})
        model.card = replace(model.card, n=False)
        if sampling == "n":
            with pytest.raises(PlanError, match="in one call, which it cannot give"):
                check_policy("", policy, {"cheap": model})


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
        fresh = draw(recording(questions=4000, seed=1000), ["cheap", "dear"], 8, 0)
        rows = pa.array(fresh.rows[0][:, 0])
        task = np.array(fresh.recording.table["task"].take(rows).to_pylist())
        broken = trials = 0
        for seed in range(30):
            found = choose(recording(seed=seed), Cost.from_usd("0.004"), samples=8, seed=seed)
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

    def test_questions_that_cost_more_than_all_that_chose_take_more(self) -> None:
        rows = made(80)
        for place, row in enumerate(rows):
            row["cost_usd"] *= 1 + place / 1e6  # no two cost the same
        with pytest.raises(
            CalibrationError, match=r"[1-9] of them above all that chose it"
        ) as told:
            choose(from_table(pa.Table.from_pylist(rows), "made"), Cost.from_usd("0.02"), samples=1)
        assert told.value.needed > told.value.given

    def test_every_size_and_rule_takes_part(self) -> None:
        drawn = draw(recording(questions=20, samples=6), ["cheap", "dear"], 6, 0)
        found = options(drawn)
        assert {one.samples for one in found if one.model == "cheap"} == {1, 2, 4, 6}
        assert [one for one in found if one.model == "dear"] == [Option("dear", 1)]
        assert len(found) == 1 + 3 * len(STOPS) + 1


def at_efforts(questions: int = 400, column: str = "effort") -> list[dict[str, Any]]:
    """One model asked with little and with much effort, which helps where questions are long."""
    rng, rows = np.random.default_rng(1), []
    for question in range(questions):
        long = bool(question % 2)
        for level, cost, chance in (("low", 0.001, 0.3 if long else 0.96), ("high", 0.01, 0.97)):
            for sample in range(2):
                right = bool(rng.random() < chance)
                rows.append({
                    "question": f"q{question}", "task": "one", "kind": "long" if long else "short",
                    "model": f"thinker-{level}", "base_model": "thinker", "sample": sample,
                    column: {"low": 2048, "high": 8192}[level] if column == "tokens" else level,
                    "answer": str(int(right)), "correct": float(right), "cost_usd": cost,
                    "dial": cost * 10, "input_tokens": 0,
                    "output_tokens": 700 if level == "low" else 7000,
                })  # fmt: skip
    return rows


class Thinker:
    """Notes what it is asked with."""

    def __init__(self) -> None:
        self.card, self.asked = ModelCard("thinker"), list[Request]()

    async def complete(self, request: Request) -> Response:
        self.asked.append(request)
        return Response("thinker", (Sample("1", read=True, answer="1"),), cost=Cost(1))

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        yield Chunk((await self.complete(request)).text)


def sent(policy: Any) -> Request:
    """What a policy asks its model."""
    model = Thinker()
    operation = Operation({"thinker": model}, prices=PriceBook())
    asyncio.run(policy.answer(Request.ask("?"), operation))
    return model.asked[0]


class TestEffort:
    def test_much_is_spent_where_it_helps_and_the_plan_asks_for_it(self, tmp_path: Path) -> None:
        told = from_table(pa.Table.from_pylist(at_efforts()), "made")
        found = choose(
            told, Cost.from_usd("0.006"), by="kind", samples=2,
            efforts=efforts(told, told.models, "effort"),
        )  # fmt: skip
        long, short = found.classes
        assert (long.name, long.option.model) == ("long", "thinker-high")
        assert (short.name, short.option.model) == ("short", "thinker-low")
        for one, level, tokens in ((long, "high", 14000), (short, "low", 1400)):
            save_plan(one.plan, tmp_path / f"{level}.toml")
            plan = load_plan(tmp_path / f"{level}.toml")
            assert plan.models == ("thinker",)
            asked = sent(plan.policy)
            assert asked.extra["reasoning_effort"] == level
            assert asked.max_tokens is not None
            assert asked.max_tokens >= tokens

    @pytest.mark.parametrize("samples", [1, 2])
    def test_tokens_of_thought_are_sent_as_they_were(self, samples: int, tmp_path: Path) -> None:
        told = from_table(pa.Table.from_pylist(at_efforts(40, "tokens")), "made")
        found = efforts(told, told.models, "tokens", by="thinking")
        for name, tokens in (("thinker-low", 2048), ("thinker-high", 8192)):
            policy = Option(name, samples, effort=found[name]).policy()
            again = from_params(policy.kind, policy.get_params())  # type: ignore[attr-defined]
            for one in (policy, again):
                assert sent(one).extra["thinking"] == {"type": "enabled", "budget_tokens": tokens}

    def test_efforts_that_are_wrong(self) -> None:
        told = from_table(pa.Table.from_pylist(at_efforts(4, "tokens")), "made")
        with pytest.raises(DataError, match="from 2048 to 8192; an effort is 0 to 1, or tokens"):
            efforts(told, told.models, "tokens")
        with pytest.raises(DataError, match="would both be 'thinker' asked with"):
            efforts(told, told.models, "dial")
        with pytest.raises(DataError, match="no column 'effort'"):
            efforts(told, told.models, "effort")
        with pytest.raises(DataError, match="'kind' of model 'thinker-high' has 2 values"):
            efforts(told, told.models, "kind")


def test_a_vote_is_served_at_the_clients_temperature_unless_the_recording_has_one(
    tmp_path: Path,
) -> None:
    table = pa.Table.from_pylist(at_efforts())
    for said, sent_with in ((None, 0.3), ("0.5", 0.5)):
        known = None if said is None else {"farthing.temperature": said}
        told = from_table(table.replace_schema_metadata(known), "made")
        found = choose(told, Cost.from_usd("0.02"), models=["thinker-low"], samples=2)
        policy = Option("thinker", 2).policy(None if said is None else float(said))
        plan = replace(found.classes[0].plan, policy=policy, models=("thinker",))
        save_plan(plan, tmp_path / "plan.toml")
        again = load_plan(tmp_path / "plan.toml").policy
        model = Thinker()
        operation = Operation({"thinker": model}, prices=PriceBook())
        asyncio.run(again.answer(Request.ask("?", temperature=0.3), operation))
        assert {one.temperature for one in model.asked} == {sent_with}


class TestClasses:
    def test_any_column_makes_them(self) -> None:
        told = from_table(pa.Table.from_pylist(at_efforts()), "made")
        assert [one.name for one in choose(told, Cost.from_usd("0.01")).classes] == [""]
        classes = choose(told, Cost.from_usd("0.01"), by="kind").classes
        assert [(one.name, one.questions > 80) for one in classes] == [
            ("long", True), ("short", True),
        ]  # fmt: skip

    def test_what_is_only_known_of_an_answer_makes_none(self) -> None:
        told = from_table(pa.Table.from_pylist(at_efforts(20)), "made")
        with pytest.raises(DataError, match=r"column 'output_tokens' is null or not the same"):
            choose(told, Cost.from_usd("0.01"), by="output_tokens")
        with pytest.raises(DataError, match="no column 'sort'"):
            choose(told, Cost.from_usd("0.01"), by="sort")


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

    def test_plans_ask_as_they_are_told_to(self, tmp_path: Path) -> None:
        path = tmp_path / "r.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in made(200)))
        asked = ["plan-compute", str(path), "--budget", "0.1", "--models", "cheap"]
        asked += ["--samples", "8", "--sampling", "n", "--temperature", "0.5"]
        asked += ["--out", str(tmp_path)]
        told = CliRunner().invoke(app, asked)
        assert told.exit_code == 0, told.output
        params = load_plan(tmp_path / "compute-hard.toml").policy.get_params()
        assert (params["sampling"], params["temperature"]) == ("n", 0.5)

    @pytest.mark.parametrize(
        ("options", "code", "message"),
        [
            (["--budget", "0.0001"], 3, "the cheapest options cost 0.001"),
            (["--budget", "0"], 1, "budget must be above 0 USD, not 0"),
            (["--budget", "much"], 1, "'much' is not an amount"),
            (["--budget", "1", "--alpha", "2"], 1, "alpha must be between 0 and 1, not 2.0"),
            (["--budget", "1", "--delta", "0"], 1, "delta must be between 0 and 1, not 0.0"),
            (["--budget", "1", "--gain", "2"], 1, "least_gain must be between 0 and 1"),
            (["--budget", "1", "--models", "gpt"], 1, "no rows of model 'gpt'; it has cheap, dear"),
            (["--budget", "1", "--by", "sort"], 1, "no column 'sort'"),
            (["--budget", "1", "--effort", "task"], 1, "--family names another one"),
            (["--budget", "1", "--out", "nowhere"], 1, "nowhere: is no folder"),
        ],
    )
    def test_mistakes_are_told(
        self, options: list[str], code: int, message: str, tmp_path: Path, capsys: Any
    ) -> None:
        path = tmp_path / "r.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in made(200)))
        asked = ["plan-compute", str(path), *options]
        assert run(lambda: app(asked, standalone_mode=False)) == code
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"cost_usd": None}, "column 'cost_usd' is null in all rows, want a number"),
            ({"correct": None}, "correctness is not known of all answers"),
            ({"answer": None}, "has no readable answer to any question"),
        ],
    )
    def test_what_a_recording_lacks_is_told(
        self, changes: dict[str, Any], message: str, tmp_path: Path, capsys: Any
    ) -> None:
        path = tmp_path / "r.jsonl"
        path.write_text("".join(json.dumps({**row, **changes}) + "\n" for row in made(40)))
        asked = ["plan-compute", str(path), "--budget", "1"]
        assert run(lambda: app(asked, standalone_mode=False)) == 1
        assert message in capsys.readouterr().err

    def test_one_sample_a_question_leaves_no_votes(self, tmp_path: Path) -> None:
        path = tmp_path / "r.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in made(samples=1)))
        shown = CliRunner().invoke(app, ["plan-compute", str(path), "--budget", "0.004"])
        assert shown.exit_code == 0, shown.output
        assert "no votes were among the choices" in shown.output
