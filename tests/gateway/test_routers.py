"""Routers that were learnt from the tiny models, served live on them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web

from farthing.core.request import Request
from farthing.gateway.app import create_app
from farthing.gateway.build import open_service
from farthing.gateway.config import load
from farthing.gateway.service import Service
from farthing.models import tiny
from farthing.models.draw import Draw, draw
from farthing.models.recording import from_table
from farthing.plan import Plan, save_plan
from farthing.policies.bandit import Bandit
from farthing.policies.decisions import rightness
from farthing.policies.registry import LEARNT

CONFIG = """\
[gateway]
answer = "last-number"
[models.small]
kind = "tiny"
size = "small"
[models.large]
kind = "tiny"
size = "large"
[plans]
files = ["plan.toml"]
"""


@pytest.fixture(scope="module")
def recorded() -> Draw:
    """What the models answered to short chains of additions and long ones of everything."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(60):
        signs = "+*-" if number % 2 else "+"
        chain = str(rng.integers(10))
        for _ in range(5 if number % 2 else 1):
            chain += f" {rng.choice(list(signs))} {rng.integers(10)}"
        easy, hard = "Please add up:", "Work out left to right modulo 10:"
        prompt = f"{hard if number % 2 else easy} {chain} ="
        for size, cost in (("small", 0.0001), ("large", 0.001)):
            answer = asyncio.run(tiny.load(size).complete(Request.ask(prompt))).text
            right = tiny.check(prompt, answer).correct
            row = (f"q{number:02}", "chains", prompt, size, 0, answer[-1:] or None, right, cost)
            rows.append(row)
    names = ("question", "task", "prompt", "model", "sample", "answer", "correct", "cost_usd")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["correct"] = [float(right) for right in columns["correct"]]
    return draw(from_table(pa.table(columns), "chains"), ["small", "large"], 1)


@asynccontextmanager
async def serving(
    folder: Path, policy: Any
) -> AsyncIterator[tuple[Service, aiohttp.ClientSession]]:
    save_plan(Plan("routed", policy, policy.asks, "last-number"), folder / "plan.toml")
    (folder / "farthing.toml").write_text(CONFIG)
    service = open_service(load(folder / "farthing.toml"))
    runner = web.AppRunner(create_app(service), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
        yield service, http
    await runner.cleanup()
    await service.aclose(1)


async def ask(http: aiohttp.ClientSession, prompt: str, **body: Any) -> str:
    """Which model answered."""
    body = {"model": "routed", "messages": [{"role": "user", "content": prompt}], **body}
    async with http.post("/v1/chat/completions", json=body) as response:
        told = await response.json()
        assert response.status == 200, told
        return str(told["farthing"]["answered_by"])


def mixed(kind: str, recorded: Draw) -> Any:
    """Of a ladder the policy that sends about as many questions to either model."""
    ladder = LEARNT[kind].fit(recorded, rightness(recorded))
    return min(ladder, key=lambda rung: abs(float(rung.decide(recorded).model.mean()) - 0.5))


def prompts(recorded: Draw) -> list[str]:
    table = recorded.recording.table
    return [str(table["prompt"][int(row)]) for row in recorded.rows[0][:, 0]]


@pytest.mark.parametrize("kind", ["nearest", "clusters", "factors", "classifier", "bandit"])
async def test_routes_live_as_on_the_recording(kind: str, recorded: Draw, tmp_path: Path) -> None:
    policy = mixed(kind, recorded)
    if kind == "bandit":
        policy = replace(policy, probe=0.0)
    expected = [recorded.models[model] for model in policy.decide(recorded).model]
    asked = [expected.index(model) for model in sorted(set(expected))]
    async with serving(tmp_path, policy) as (_, http):
        answered = [await ask(http, prompts(recorded)[question]) for question in asked]
    assert answered == [expected[question] for question in asked]
    with closing(sqlite3.connect(tmp_path / "farthing.db")) as ledger:
        rows = ledger.execute("select model, node, kind from attempts order by started_at")
        assert rows.fetchall() == [(model, kind, "sample") for model in answered]


async def test_the_bandit_learns_from_what_it_serves(recorded: Draw, tmp_path: Path) -> None:
    cheap = Bandit.fit(recorded, rightness(recorded))[0]
    async with serving(tmp_path, replace(cheap, probe=1.0)) as (service, http):
        answered = [await ask(http, prompt) for prompt in prompts(recorded)[:12]]
        served = service.plans["routed"].policy
    assert isinstance(served, Bandit)
    assert not np.array_equal(served.get_params()["means"], cheap.means)
    with closing(sqlite3.connect(tmp_path / "farthing.db")) as ledger:
        rows = ledger.execute("select model, node, kind from attempts order by started_at")
        booked = rows.fetchall()
    assert booked.count(("large", "bandit/probe", "judge")) == answered.count("small") > 0
    assert booked.count(("small", "bandit", "sample")) == answered.count("small")
