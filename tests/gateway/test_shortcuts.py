"""Plans that clients call by a name that says all of them, and plans of plans, on tiny models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from farthing.core.errors import ConfigError
from farthing.gateway.app import create_app
from farthing.gateway.build import build_service, open_service
from farthing.gateway.bypass import Straight, straightened
from farthing.gateway.certificates import with_alarms
from farthing.gateway.config import load
from farthing.gateway.shortcuts import shortcut
from farthing.policies.ttc.best_of_n import BestOfN
from farthing.policies.ttc.short import Short
from farthing.policies.ttc.vote import SelfConsistency
from farthing.signals.steps import ModelSteps

CONFIG = """\
[gateway]
answer = "last-number"
[models.small]
kind = "tiny"
size = "small"
[models.large]
kind = "tiny"
size = "large"

[plans.climbing]
kind = "chain"
answer = "last-number"
[[plans.climbing.links]]
accept = 0.55
[plans.climbing.links.ask]
kind = "vote"
model = "small"
samples = 5
[[plans.climbing.links]]
[plans.climbing.links.ask]
kind = "vote"
model = "large"
samples = 3

[plans.thrifty]
kind = "vote"
answer = "last-number"
model = "small"
samples = 32
stop = "none"
spending = {usd = "0.0000025"}
"""
MODELS: Any = {"small": None, "large": None, "vote-3": None}
EASY, HARD = "3 + 4 =", "7 * 8 - 2 * 3 + 4 - 9 ="


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    (folder / "farthing.toml").write_text(CONFIG)
    service = open_service(load(folder / "farthing.toml"))
    runner = web.AppRunner(create_app(service), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
    await service.aclose(1)


async def ask(url: str, model: str, prompt: str = EASY, status: int = 200) -> Any:
    body = {"model": model, "seed": 1, "messages": [{"role": "user", "content": prompt}]}
    async with (
        aiohttp.ClientSession(url) as http,
        http.post("/v1/chat/completions", json=body) as response,
    ):
        told = await response.json()
        assert response.status == status, told
        told["headers"] = response.headers
        return told


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("vote-5", SelfConsistency("vote-3", 5)),
        ("vote-5-small", SelfConsistency("small", 5)),
        ("best-of-4-small", BestOfN("small", ModelSteps("vote-3"), 4)),
        ("short-2-of-8-large", Short("large", 8, 2)),
        ("vote-3", None),  # a model's name stays a model's
        ("vote-0", None),
        ("vote-65", None),
        ("vote-05", None),
        ("vote-٥", None),
        ("vote-5-", None),
        ("short-0-of-2", None),
        ("short-3-of-2", None),
        ("vote-5-medium", None),
        ("vote-", None),
    ],
)
def test_what_a_name_says(name: str, policy: Any) -> None:
    plan = shortcut(name, MODELS, "text")
    assert (plan and plan.policy) == policy


async def test_a_vote_is_served_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        told = await ask(url, "vote-5")
        assert told["choices"][0]["message"]["content"].split()[-1] == "7"
        assert told["farthing"]["answered_by"] == "large"
        assert told["farthing"]["attempts"] == 1  # 3 samples in one call: they agreed
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key="x")
        names = [model.id async for model in client.models.list()]
        assert names == ["climbing", "thrifty", "small", "large"]
        streamed = await client.chat.completions.create(
            model="short-1-of-4-small", stream=True, messages=[{"role": "user", "content": EASY}]
        )
        assert "".join([c.choices[0].delta.content or "" async for c in streamed if c.choices])
        await client.close()
        wrong = await ask(url, "vote-99", status=404)
        assert "no model or plan is called 'vote-99'" in wrong["error"]["message"]
        assert "vote-N or vote-N-MODEL, with N from 1 to 64" in wrong["error"]["message"]
        missing = await ask(url, "medium", status=404)
        assert missing["error"]["message"].endswith("climbing, thrifty, small, large")


async def test_a_cascade_of_votes_goes_up_where_the_small_model_is_unsure(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        easy = await ask(url, "climbing")
        assert easy["farthing"]["answered_by"] == "small"
        hard = await ask(url, "climbing", HARD)
        assert hard["farthing"]["answered_by"] == "large"
        assert hard["farthing"]["attempts"] > easy["farthing"]["attempts"]


async def test_a_plan_keeps_its_spending(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        told = await ask(url, "thrifty", HARD)
        assert told["headers"]["x-farthing-stopped"] == "cap"
        spent = float(told["farthing"]["cost_usd"])
        assert 0.0000025 <= spent < 0.0000025 + 0.0000008  # a sample of 32 tokens at most


def test_bypass_and_alarms_hold_for_names_too(tmp_path: Path) -> None:
    (tmp_path / "farthing.toml").write_text(CONFIG)
    plans = build_service(load(tmp_path / "farthing.toml")).plans
    assert isinstance(straightened(plans)["vote-5-small"].policy, Straight)
    assert isinstance(straightened(plans)["climbing"].policy, Straight)
    alarmed = with_alarms(plans, ["climbing"])
    assert alarmed["climbing"].alarm == "widened"
    assert alarmed["vote-5-small"].policy == SelfConsistency("small", 5)
    assert "vote-5" in plans
    assert list(plans) == ["climbing", "thrifty"]


@pytest.mark.parametrize(("name", "may"), [("vote-5-small", True), ("vote-5", False)])
def test_a_key_may_use_names_of_the_models_that_it_may_use(
    name: str, may: bool, tmp_path: Path
) -> None:
    (tmp_path / "farthing.toml").write_text(CONFIG)
    service = build_service(load(tmp_path / "farthing.toml"))
    caller: Any = SimpleNamespace(may_use=lambda name, plan: not plan and name == "small")
    service.caller = caller
    assert service.may_use(name) == may
    assert not service.may_use("climbing")


def test_names_for_clients_are_not_for_plans(tmp_path: Path) -> None:
    chain = '[plans.c]\nkind = "chain"\nlinks = [{ask = "vote-5-small"}, {ask = "large"}]\n'
    (tmp_path / "farthing.toml").write_text(CONFIG + chain)
    with pytest.raises(ConfigError, match=r"'vote-5-small' is not configured; such names are for"):
        build_service(load(tmp_path / "farthing.toml"))


def test_a_weighted_vote_needs_a_model_that_shows_log_probabilities(tmp_path: Path) -> None:
    claude = '[models.claude]\nkind = "http"\napi = "anthropic"\nbase_url = "http://127.0.0.1:9"\n'
    vote = '[plans.v]\nkind = "vote"\nmodel = "claude"\nstop = "none"\nweighted = true\n'
    (tmp_path / "farthing.toml").write_text(claude + vote)
    with pytest.raises(ConfigError, match="'claude' cannot be asked as the plan does: 'logprobs'"):
        build_service(load(tmp_path / "farthing.toml"))
