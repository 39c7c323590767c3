"""Plan files and recordings, served as the configuration says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web

from farthing.core.errors import ConfigError, PlanError
from farthing.core.money import Cost
from farthing.gateway.app import create_app
from farthing.gateway.build import open_service
from farthing.gateway.config import load
from farthing.ledger.engines import open_to_read
from farthing.plan import Certificate, Plan, save_plan
from farthing.policies import Cascade, Single, Stage

CONFIG = """\
[gateway]
answer = "last-number"
[models.weak]
kind = "recorded"
path = "recording.parquet"
model = "small@v1"
[models.strong]
kind = "recorded"
path = "recording.parquet"
model = "large@v1"
[models.live]
kind = "http"
base_url = "http://127.0.0.1:9/v1"
n = false
[models.claude]
kind = "http"
api = "anthropic"
base_url = "http://127.0.0.1:9/v1"
[plans]
files = ["plan.toml"]
"""
CASCADE = Cascade((Stage("weak", 3, 0.7), Stage("strong")))


def record(path: Path) -> None:
    rows = []
    for question, answers in (("q0", "777"), ("q1", "123")):
        for sample, answer in enumerate(answers):
            rows.append((question, "small@v1", sample, answer, 0.001))
        rows.append((question, "large@v1", 0, "9", 0.02))
    names = ("question", "model", "sample", "answer", "cost_usd")
    columns: dict[str, Any] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["task"] = ["digits"] * len(rows)
    columns["prompt"] = [f"prompt of {question}" for question in columns["question"]]
    columns["conf"] = [0.5] * len(rows)
    columns["input_tokens"] = [10] * len(rows)
    columns["output_tokens"] = [1] * len(rows)
    pq.write_table(pa.table(columns), path)


def plan(**changes: Any) -> Plan:
    certificate = Certificate("marginal", 0.1, None, Cost.from_usd("0.01"), 10, 10, 1)
    fields = {"name": "thrifty", "policy": CASCADE, "models": ("weak", "strong")}
    return Plan(**{**fields, "certificate": certificate, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record(tmp_path / "recording.parquet")
    save_plan(plan(), tmp_path / "plan.toml")
    (tmp_path / "farthing.toml").write_text(CONFIG)
    return tmp_path


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    service = open_service(load(folder / "farthing.toml"))
    runner = web.AppRunner(create_app(service), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(url) as http:
        yield http
    await runner.cleanup()
    await service.aclose(1)


async def ask(http: aiohttp.ClientSession, model: str, prompt: str, **headers: str) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    async with http.post("/v1/chat/completions", json=body, headers=headers) as response:
        return await response.json()


async def test_a_plan_over_a_recording(folder: Path) -> None:
    async with serving(folder) as http:
        sure = await ask(http, "thrifty", "prompt of q0")
        unsure = await ask(http, "thrifty", "anything", **{"x-farthing-question": "q1"})
        stranger = await ask(http, "thrifty", "a question that nobody asked")
    assert sure["choices"][0]["message"]["content"] == "7"
    assert sure["farthing"]["answered_by"] == "weak"
    assert sure["farthing"]["cost_usd"] == "0.003"
    assert unsure["choices"][0]["message"]["content"] == "9"
    assert unsure["farthing"]["answered_by"] == "strong"
    assert stranger["error"]["code"] == "question_not_recorded"
    with open_to_read(folder / "farthing.db").connect() as ledger:
        query = "select requested, plan, strongest, question from operations order by id"
        rows = ledger.exec_driver_sql(query).fetchall()
        assert rows[1] == ("thrifty", "thrifty", "strong", "q1")
        query = "select answered_by, budget_pico, alpha from outcomes order by finished_at"
        assert ledger.exec_driver_sql(query).fetchall()[:2] == [
            ("weak", 10**10, 0.1),
            ("strong", 10**10, 0.1),
        ]


async def test_a_recorded_model_by_itself(folder: Path) -> None:
    async with serving(folder) as http:
        answer = await ask(http, "strong", "prompt of q0")
    assert answer["choices"][0]["message"]["content"] == "9"
    assert answer["farthing"]["cost_usd"] == "0.02"
    assert json.dumps(answer["farthing"]["plan"]) == "null"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": ("weak", "gone", "strong")}, r"asks for gone.*\[models.gone\]"),
        ({"name": "two\nlines"}, "none that clients can send"),
        ({"policy": Cascade((Stage("weak", 1, 0.5), Stage("strong")), "conf", "n")}, None),
        (
            {
                "policy": Cascade((Stage("live", 1, 0.5), Stage("strong")), "conf"),
                "models": ("live", "strong"),
            },
            "column of a recording, which 'live'",
        ),
        (
            {
                "policy": Cascade((Stage("weak", 1, -0.5), Stage("claude")), "mean_logprob"),
                "models": ("weak", "claude"),
            },
            "'claude' cannot be asked as the plan does: 'logprobs'",
        ),
        (
            {
                "policy": Cascade((Stage("weak", 2, 1.0), Stage("claude")), temperature=1.5),
                "models": ("weak", "claude"),
            },
            "'claude' cannot be asked as the plan does: 'temperature'",
        ),
        (
            {
                "policy": Cascade((Stage("live", 2, 0.5), Stage("strong")), sampling="n"),
                "models": ("live", "strong"),
            },
            "2 samples of 'live' in one call",
        ),
        (
            {
                "policy": Cascade(CASCADE.stages, "conf", signal_attempt=True),
            },
            "column of a recording",
        ),
    ],
)
async def test_plans_that_do_not_fit_the_models(
    folder: Path, changes: dict[str, Any], says: str | None
) -> None:
    save_plan(plan(**changes), folder / "plan.toml")
    config = load(folder / "farthing.toml")
    if says is None:
        await open_service(config).aclose()
        return
    with pytest.raises(PlanError, match=says) as caught:
        open_service(config)
    assert "plan.toml" in str(caught.value)
    assert not (folder / "farthing.db").exists()


def test_a_plan_with_a_models_name(folder: Path) -> None:
    save_plan(plan(name="weak", policy=Single("strong"), models=("strong",)), folder / "plan.toml")
    with pytest.raises(ConfigError, match="name of another model") as caught:
        open_service(load(folder / "farthing.toml"))
    assert (caught.value.key, caught.value.line) == ("plans.files", 20)


def test_a_recording_without_the_model(folder: Path) -> None:
    text = CONFIG.replace("small@v1", "none@v1")
    (folder / "farthing.toml").write_text(text)
    with pytest.raises(ConfigError, match="none@v1") as caught:
        open_service(load(folder / "farthing.toml"))
    assert caught.value.line == 5
