"""A thousand inferences under a meter, and `farthing measure`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from farthing.bench import measuring
from farthing.bench.measuring import Called
from farthing.cli import measure as _command  # noqa: F401 (registers itself)
from farthing.cli._app import app
from farthing.core.errors import DataError, UpstreamError
from farthing.core.money import Cost

CONFIG = '[models.mine]\nkind = "tiny"\nsize = "mid"\n'


class Meter:
    """A machine that draws 10 W idle and 60 W while it answers."""

    name = "made up"

    def __init__(self) -> None:
        self.busy = 0

    def watts(self) -> float:
        return 60.0 if self.busy else 10.0


async def slept(meter: Meter, prompt: str) -> Called:
    meter.busy += 1
    await asyncio.sleep(0.02)
    meter.busy -= 1
    if prompt == "fail":
        raise UpstreamError("down", model="m", kind="unreachable")
    return Called(10, 5, Cost(7))


def measured(monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    monkeypatch.setattr(measuring, "IDLE_S", 0.05)
    meter = Meter()
    prompts = options.pop("prompts", ["a", "b"])
    use = options.pop("metered", True)
    found = asyncio.run(
        measuring.measure(
            lambda prompt: slept(meter, prompt),
            prompts,
            20,
            meter=meter if use else None,
            every=0.002,
            **options,
        )
    )
    return measuring.as_json(found, grams_per_kwh=400.0)


@pytest.mark.parametrize("concurrency", [1, 5])
def test_joules_are_those_of_the_time_that_requests_ran(
    monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    told = measured(monkeypatch, concurrency=concurrency)
    assert (told["requests"], told["failed"], told["cost_usd"]) == (20, 0, "0.00000000014")
    assert (told["input_tokens"], told["output_tokens"]) == (200, 100)
    energy = told["energy"]
    assert energy["basis"] == "measured"
    assert energy["idle_watts"] == pytest.approx(10)
    assert energy["joules"] == pytest.approx(60 * told["wall_s"], rel=0.25)
    assert energy["joules_per_output_token"] == pytest.approx(energy["joules"] / 100)
    grams = energy["joules"] / 20 * 1000 / 3.6e6 * 400
    assert energy["grams_co2_per_1000_requests"] == pytest.approx(grams)


def test_without_a_meter_joules_are_unknown_or_modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = measured(monkeypatch, metered=False)["energy"]
    assert unknown["basis"] == "unknown"
    assert unknown["joules"] is unknown["grams_co2_per_1000_requests"] is None
    told = measured(monkeypatch, metered=False, watts=30.0)
    assert told["energy"]["basis"] == "modelled"
    assert told["energy"]["joules"] <= 30.0 * told["wall_s"] * 1.001


def test_failures_are_counted_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    told = measured(monkeypatch, prompts=["a", "fail"])
    assert (told["requests"], told["failed"]) == (10, 10)
    assert told["first_error"] == "down"
    none = measured(monkeypatch, prompts=["fail"])
    assert none["energy"]["joules"] is none["cost_usd"] is none["latency_s"] is None
    with pytest.raises(DataError):
        measured(monkeypatch, prompts=[])


def test_the_command_on_a_tiny_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farthing.cost.energy.find_meter", lambda: None)
    run = CliRunner().invoke
    told = json.loads(run(app, ["measure", "tiny-small", "-n", "30", "--json"]).output)
    assert told["requests"] == 30
    assert told["energy"]["basis"] == "unknown"
    assert float(told["cost_usd"]) > 0
    shown = run(app, ["measure", "tiny-small", "-n", "5", "--watts", "20"]).output
    assert "J an output token (modelled)" in shown
    assert run(app, ["measure", "gpt-5"]).exit_code == 2


def test_the_command_on_a_configured_model_books_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farthing.cost.energy.find_meter", lambda: None)
    monkeypatch.chdir(tmp_path)
    Path("farthing.toml").write_text(CONFIG)
    Path("p.jsonl").write_text('{"prompt": "3 + 4 ="}\n\n2 * 2 =\n')
    run = CliRunner().invoke
    asked = ["measure", "mine", "-n", "6", "--config", "farthing.toml", "--prompts", "p.jsonl"]
    done = run(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    from farthing.cli import report as _report  # noqa: F401

    booked = json.loads(run(app, ["report", "--json"]).output)
    assert json.dumps(told["cost_usd"]) in json.dumps(booked)
    wrong = run(app, [*asked[:-1], "none.jsonl"])
    assert isinstance(wrong.exception, DataError)
    Path("bad.jsonl").write_text('{"prompt": 5}\n')
    assert "bad.jsonl:1" in str(run(app, [*asked[:-1], "bad.jsonl"]).exception)
    Path("fail.txt").write_text("no chain here\n")
    assert "all 6 requests failed" in str(run(app, [*asked[:-1], "fail.txt"]).exception)
