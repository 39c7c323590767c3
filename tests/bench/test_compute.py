"""Compute at request time: the remembered models bill as real ones do, and the table adds up."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import farthing.cli.bench_ttc  # noqa: F401
from farthing.bench.compute import figures, show
from farthing.bench.compute.arms import VOTE, arms
from farthing.bench.compute.judging import bench
from farthing.bench.compute.remembered import Called, Remembered, Session
from farthing.bench.compute.results import Bench
from farthing.bench.compute.worlds import Source, TinyWorld, needed, passes, world
from farthing.budgets.operation import Operation
from farthing.cli._app import app
from farthing.core.errors import ConfigError, DataError
from farthing.core.request import Message, Request
from farthing.cost.devices import find
from farthing.cost.prices import PriceBook
from farthing.models import tiny
from farthing.policies.ttc.registry import TTC

CHAIN = "9*7-8+6*3-4"
SMALL = Source(problems=30)


def requests(seed: int) -> list[Request]:
    """What a search would ask one after the other: prompts, steps, more samples of a prefix."""
    rng = np.random.default_rng(seed)
    made = [Request.ask(CHAIN, temperature=1.0, seed=seed, n=3, max_tokens=8)]
    for prefix in ("", "3", "3 5", "3 5", "3 5 1 4", "3 5 1 4 2 8"):
        asked = Request.ask(
            CHAIN, temperature=float(rng.choice([0.0, 0.7, 2.0])), seed=int(rng.integers(99)),
            n=int(rng.integers(1, 4)), max_tokens=int(rng.integers(1, 5)), logprobs=True,
            extra={"top_logprobs": 3},
        )  # fmt: skip
        if prefix:
            asked = replace(asked, messages=(*asked.messages, Message("assistant", prefix)))
        made.append(asked)
    return made


class TestRemembered:
    @pytest.mark.parametrize("seed", range(6))
    def test_answers_and_bills_as_the_model(self, seed: int) -> None:
        fresh = tiny.load("small")
        remembered = Remembered(fresh)
        remembered.prepare(CHAIN)
        session = Session(remembered)

        async def run() -> None:
            for request in requests(seed):
                one, other = await fresh.complete(request), await session.complete(request)
                assert [s.text for s in one.samples] == [s.text for s in other.samples]
                assert one.usage == other.usage
                for mine, theirs in zip(one.samples, other.samples, strict=True):
                    assert mine.finish_reason == theirs.finish_reason
                    assert mine.mean_logprob == pytest.approx(theirs.mean_logprob, abs=1e-4)
                    assert len(mine.top or ()) == len(theirs.top or ())

        asyncio.run(run())

    async def test_streams_what_it_completes(self) -> None:
        remembered = Remembered(tiny.load("small"))
        for request in requests(3):
            whole = await Session(remembered).complete(request)
            chunks = [chunk async for chunk in Session(remembered).stream(request)]
            for index, sample in enumerate(whole.samples):
                own = [chunk for chunk in chunks[:-1] if chunk.index == index]
                assert "".join(chunk.text for chunk in own) == sample.text
                assert own[-1].finish_reason == sample.finish_reason
            assert chunks[-1].usage == whole.usage

    async def test_a_stream_that_is_left_is_broken_off(self) -> None:
        session = Session(Remembered(tiny.load("small")))
        operation = Operation({"m": session}, prices=PriceBook())
        pieces = operation.stream("m", Request.ask(CHAIN, max_tokens=8), node="n")
        other = operation.stream("m", Request.ask(CHAIN, max_tokens=8), node="n")
        await asyncio.gather(anext(pieces), anext(other))
        await pieces.aclose()
        async for _ in other:
            pass
        await operation.idle()
        assert [call.cancelled for call in session.calls] == [True, False]
        assert 0 < session.calls[0].output < session.calls[1].output

    def test_a_broken_off_call_is_counted_as_far_as_it_came(self) -> None:
        session = Session(Remembered(tiny.load("small")))

        async def run() -> None:
            tasks = [
                asyncio.create_task(session.complete(Request.ask(chain, max_tokens=8)))
                for chain in ("1+1", CHAIN)
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(run())
        short, long = session.calls
        assert (short.cancelled, long.cancelled) == (False, True)
        assert 0 < long.output < 7


class TestWork:
    def test_passes_by_brute_force(self) -> None:
        model = tiny.load("mid")
        call = Called(read=9, held=4, rows=[3, 2])
        work = passes(model, call)
        each = model.flops_per_token
        assert [flops for flops, _ in work] == [
            each(5) + each(6) + each(7) + each(8) + each(9), 3 * each(10), 2 * each(11),
        ]  # fmt: skip
        state = model.start(model.encode(CHAIN)[:9])
        weights = 4 * model.shape.parameters
        assert [nbytes - weights for _, nbytes in work] == [
            state.nbytes, 3 * state.nbytes * 10 / 9, 2 * state.nbytes * 11 / 9,
        ]  # fmt: skip
        assert passes(model, Called(read=9, held=9)) == []

    def test_time_is_the_slower_of_products_and_bytes(self) -> None:
        device = find("h100-sxm")
        rate, _ = device.rate("fp32")
        compute, bandwidth = device.reached
        assert needed(device, rate * compute, 0) == pytest.approx(1)
        assert needed(device, 0, device.bandwidth * bandwidth) == pytest.approx(1)
        assert needed(device, rate, device.bandwidth) == pytest.approx(1 / min(compute, bandwidth))


@pytest.fixture(scope="module")
def done() -> Bench:
    return bench(SMALL, model="tiny-small", kinds=["particles", "vote"], budgets=(4, 16), seeds=2)


class TestBench:
    def test_every_policy_at_every_budget(self, done: Bench) -> None:
        names = [(one.name, one.budget) for one in done.judged]
        assert len(set(names)) == len(names)
        assert {budget for _, budget in names} == {4, 16}
        assert {"vote, plain", "vote, exact stop", "particles, exact reward"} <= {
            n for n, _ in names
        }
        assert [one.name for one in done.singles] == ["tiny-small", "tiny-mid", "tiny-large"]

    def test_budgets_hold_but_for_one_call(self, done: Bench) -> None:
        for one in done.judged:
            columns = one.asked.columns
            assert (columns["over"] < columns["largest"] + 1e-15).all(), one.name
            cap = (one.budget or 0) * done.unit
            assert (columns["usd"] <= cap + columns["over"] + 1e-12).all()

    def test_repeats(self, done: Bench) -> None:
        again = bench(SMALL, model="tiny-small", kinds=["vote"], budgets=(4,), seeds=2)
        for one in again.judged:
            (same,) = [x for x in done.judged if (x.name, x.budget) == (one.name, one.budget)]
            for name, values in one.asked.columns.items():
                np.testing.assert_array_equal(values, same.asked.columns[name])

    def test_a_greedy_answer_is_the_unit(self, done: Bench) -> None:
        model, found = tiny.load("small"), world(SMALL)
        assert isinstance(found, TinyWorld)
        rates, costs, right = model.card.rates, [], []
        assert rates is not None
        for chain in found.chains:
            response = asyncio.run(model.complete(Request.ask(chain, max_tokens=8)))
            assert response.usage is not None
            costs.append(rates.cost(response.usage).pico / 1e12)
            right.append(tiny.check(chain, response.text).correct)
        assert done.unit == pytest.approx(np.mean(costs))
        row = figures.rows(done)[0]
        assert row.quality == pytest.approx(np.mean(right))
        assert row.usd_per_right == pytest.approx(np.sum(costs) / np.sum(right))

    def test_exact_rewards_make_search_better_than_votes(self, done: Bench) -> None:
        found = {(row.name, row.budget): row for row in figures.rows(done)}
        search = found["particles, exact reward", 16]
        assert search.over_vote_interval is not None
        assert search.over_vote_interval[0] > 0
        assert search.gains
        assert found[VOTE, 16].over_vote is None

    def test_every_figure_lies_in_its_interval(self, done: Bench) -> None:
        for row in map(asdict, figures.rows(done)):
            for name, interval in row.items():
                if name.endswith("_interval") and interval is not None:
                    value = row[name.removesuffix("_interval")]
                    assert interval[0] <= value <= interval[1], (row["name"], name)

    def test_cancelled_tokens_are_a_share_of_all(self) -> None:
        few = Source(problems=40)
        found = bench(few, model="tiny-small", kinds=["short"], budgets=(16,), seeds=2)
        row = next(row for row in figures.rows(found) if row.name == "short-1@k")
        columns = next(one for one in found.judged if one.name == "short-1@k").asked.columns
        share = columns["cancelled"].sum() / columns["output"].sum()
        assert row.cancelled == pytest.approx(share)
        assert share > 0
        assert row.cancelled_interval is not None

    def test_table_and_plot(self, done: Bench, tmp_path: Path) -> None:
        from rich.console import Console

        console = Console(width=show.WIDTH, record=True, file=io.StringIO())
        console.print(show.table(done, figures.rows(done)))
        text = console.export_text()
        assert "…" not in text
        assert "particles, exact reward" in text
        assert "A right answer costs least from" in text
        show.plot(done, figures.rows(done), tmp_path / "plot.png")
        assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"

    def test_every_policy_that_takes_part_answers(self) -> None:
        few = Source(problems=5)
        found = bench(few, model="tiny-small", kinds=list(TTC), budgets=(2, 8), seeds=1)
        assert {one.name for one in found.judged} >= {"astar, exact reward", "zip-rc"}
        assert set(found.left_out) <= {
            "effort", "concise", "refine", "brainstorm", "mixture_of_agents", "its-hub"
        }  # fmt: skip
        assert {(one.name, one.asked.unanswered) for one in found.judged if one.budget == 8} == {
            (one.name, 0.0) for one in found.judged
        }

    def test_unknown_model(self) -> None:
        with pytest.raises(ConfigError, match="known: tiny-small"):
            bench(SMALL, model="gpt", kinds=["vote"])


class TestKept:
    def run(self, keep: Path, seeds: int = 1) -> Bench:
        source = Source(problems=10)
        return bench(
            source, model="tiny-small", kinds=["short", "vote"], budgets=(2, 4), seeds=seeds,
            keep=keep,
        )  # fmt: skip

    def test_goes_on_where_it_was_broken_off(self, tmp_path: Path) -> None:
        first = self.run(tmp_path)
        files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert len(files) == len({one.name for one in first.judged})
        lost = next(path for path in files if path.name.startswith("short"))
        lost.unlink()
        again = self.run(tmp_path)
        assert {path for path in files if path.stat().st_mtime_ns != files[path]} == {lost}
        for one, other in zip(first.judged, again.judged, strict=True):
            assert (one.name, one.budget) == (other.name, other.budget)
            assert one.asked.unanswered == other.asked.unanswered
            for name, values in one.asked.columns.items():
                np.testing.assert_array_equal(values, other.asked.columns[name])

    def test_other_settings_are_other_results(self, tmp_path: Path) -> None:
        count = len({one.name for one in self.run(tmp_path).judged})
        self.run(tmp_path, seeds=2)
        assert len(list(tmp_path.iterdir())) == 2 * count

    def test_a_folder_that_cannot_be_is_told_first(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match="file/kept: no folder to write to"):
            bench(SMALL, model="nobody", kinds=["vote"], keep=tmp_path / "file" / "kept")

    def test_a_file_that_is_none_is_named(self, tmp_path: Path) -> None:
        self.run(tmp_path)
        broken = next(tmp_path.iterdir())
        broken.write_bytes(b"PK\x03\x04")
        with pytest.raises(DataError, match=broken.name):
            self.run(tmp_path)


class TestArms:
    def test_every_policy_runs_or_says_why(self) -> None:
        found, left_out = arms(list(TTC), "tiny-small", steps=True)
        assert {arm.kind for arm in found} | {n.split(",")[0] for n in left_out} == set(TTC)
        assert all(left_out.values())

    def test_recorded_models_make_no_steps(self) -> None:
        found, left_out = arms(["beam", "vote", "thought-graph"], "m", steps=False)
        assert {arm.kind for arm in found} == {"vote"}
        assert "partial ones" in left_out["beam"]
        assert "partial ones" in left_out["thought-graph"]

    def test_a_chain_ends_with_a_stronger_model(self) -> None:
        found, left_out = arms(["chain"], "small", steps=False, stronger="large")
        assert [arm.policy(4).asks for arm in found] == [("small", "large")]
        assert not left_out
        assert arms(["chain"], "large", steps=False) == (
            [],
            {"chain": "there is no stronger model"},
        )


def recording(path: Path) -> Path:
    """Two models: `cheap` is right in 3 of 5 samples of every question, `dear` always."""
    rows = []
    for question in range(12):
        for model, count, cost in (("cheap", 5, 0.001), ("dear", 1, 0.01)):
            for sample in range(count):
                right = model == "dear" or sample < 3
                rows.append({
                    "question": f"q{question}", "model": model, "sample": sample,
                    "answer": "yes" if right else f"no{sample}", "correct": float(right),
                    "cost_usd": cost, "input_tokens": 5, "output_tokens": 4,
                })  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class TestCommand:
    def test_recording(self, tmp_path: Path) -> None:
        path = recording(tmp_path / "r.jsonl")
        found = CliRunner().invoke(
            app,
            ["bench", "ttc", "--recording", str(path), "--policies", "vote", "--budgets", "5",
             "--seeds", "1", "--jobs", "1", "--json"],
        )  # fmt: skip
        assert found.exit_code == 0, found.output
        told = json.loads(found.stdout)
        by_name = {row["name"]: row for row in told["rows"]}
        vote = by_name[VOTE]
        assert vote["quality"] == 1.0
        assert vote["usd"] == pytest.approx(0.005)
        assert by_name["vote, exact stop"]["usd"] < 0.005
        assert by_name["dear"]["usd_per_right"] == pytest.approx(0.01)
        assert vote["flops"] is None
        assert told["models"] == ["cheap", "dear"]

    def test_models_without_costs_are_left_out(self, tmp_path: Path) -> None:
        path = recording(tmp_path / "r.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        other = [
            {**row, "model": "free", "cost_usd": None} for row in rows if row["model"] == "dear"
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows + other))
        found = world(Source(recording=str(path)))
        assert found.models == ("cheap", "dear")
        assert "cost_usd of model 'free' is unknown" in found.left_out["free"]
        done = bench(
            Source(recording=str(path)), model="cheap", kinds=["vote"], budgets=(4,), seeds=1
        )
        assert "free" in done.left_out
        path.write_text("".join(json.dumps(row) + "\n" for row in other))
        with pytest.raises(DataError, match="no model can be judged"):
            world(Source(recording=str(path), seed=1))

    @pytest.mark.parametrize(
        ("option", "told"),
        [
            (["--policies", "magic"], "no policy is called 'magic'"),
            (["--budgets", "2,x"], "want whole numbers"),
            (["--plot", "plot.xyz"], "no plot is written"),
            (["--model", "gpt", "--problems", "10"], "there is no model 'gpt'"),
        ],
    )
    def test_mistakes_are_told(self, option: list[str], told: str) -> None:
        found = CliRunner().invoke(app, ["bench", "ttc", *option])
        assert found.exit_code != 0
        assert told in found.output + str(found.exception)
