"""Searches over steps and sharpened distributions as plans of the gateway."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from farthing.core.errors import FarthingError
from farthing.gateway.app import create_app
from farthing.gateway.build import build_service, open_service
from farthing.gateway.config import load

CONFIG = """
[models.small]
kind = "tiny"
size = "small"

[plans.search]
kind = "astar"
answer = "last-number"
model = "small"
expand = 2
again = 0.5
reward = {kind = "exact"}
steps = {tokens = 1}
spending = {tokens = 60}

[plans.sharp]
kind = "power-smc"
answer = "last-number"
model = "small"

[plans.parts]
kind = "thought-graph"
answer = "last-number"
model = "small"
splitter = "farthing.policies.ttc.splitting:halves"
"""


def written(path: Path, text: str) -> Path:
    file = path / "farthing.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(("plan", "calls"), [("search", 3), ("sharp", 3), ("parts", 1)])
async def test_they_answer_over_http(plan: str, calls: int, tmp_path: Path) -> None:
    service = open_service(load(written(tmp_path, CONFIG)))
    runner = web.AppRunner(create_app(service), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    messages = [{"role": "user", "content": "3 + 4 * 2 ="}]
    body = {"model": plan, "seed": 3, "messages": messages}
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
        http.post("/v1/chat/completions", json=body) as response,
    ):
        told = await response.json()
        assert response.status == 200, told
    assert told["choices"][0]["message"]["content"].split()[-1].isdigit()
    assert told["farthing"]["answered_by"] == "small"
    assert told["farthing"]["attempts"] >= calls
    await runner.cleanup()
    await service.aclose(1)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('reward = {kind = "exakt"}', "no reward is called 'exakt'"),
        ("steps = {token = 1}", "token"),
        ("expand = 0", "expand and most must be at least 1"),
    ],
)
def test_a_wrong_parameter_is_told_with_its_plan(line: str, told: str, tmp_path: Path) -> None:
    key = line.split(" =")[0]
    wrong = "\n".join(line if old.startswith(f"{key} =") else old for old in CONFIG.splitlines())
    with pytest.raises(FarthingError, match=told) as error:
        build_service(load(written(tmp_path, wrong)))
    assert "search" in str(error.value)


def test_models_that_show_no_tokens_are_refused_for_sharpening(tmp_path: Path) -> None:
    upstream = 'kind = "http"\nbase_url = "http://127.0.0.1:9/v1"'
    text = CONFIG.replace('kind = "tiny"\nsize = "small"', upstream)
    with pytest.raises(FarthingError, match="power-smc needs the log-probability of each token"):
        build_service(load(written(tmp_path, text)))
