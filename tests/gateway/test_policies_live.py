"""Policies of which each request teaches something, or whose path is learnt, on the tiny models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from farthing.core.errors import PlanError
from farthing.core.request import Request
from farthing.gateway.app import create_app
from farthing.gateway.build import build_service, open_service
from farthing.gateway.config import load
from farthing.gateway.service import ServedPlan
from farthing.models import tiny
from farthing.models.draw import Draw, draw
from farthing.models.recording import from_table
from farthing.plan import Plan, save_plan
from farthing.policies.cascade_routing import CascadeRouting
from farthing.policies.decisions import rightness
from farthing.policies.hops import Hops
from farthing.policies.passages import Passages
from farthing.policies.rational import Rational
from farthing.policies.stopping import ABSTAINED
from farthing.signals import reader

CONFIG = """\
[gateway]
answer = "last-number"
[models.small]
kind = "tiny"
size = "small"
[models.large]
kind = "tiny"
size = "large"
"""
EASY, HARD = "3 + 4 =", "7 * 8 - 2 * 3 + 4 - 9 ="


@pytest.fixture(scope="module")
def recorded() -> Draw:
    """What the small and the large model answered to some chains, at made-up costs."""
    rng = np.random.default_rng(0)
    chains = [tiny.problem(rng, int(rng.integers(1, 6))) for _ in range(60)]
    read = reader("last-number")
    rows = []
    for name, cost in (("small", 1e-6), ("large", 1e-5)):
        model = tiny.load(name)
        for chain in chains:
            sample = asyncio.run(model.complete(Request.ask(chain, logprobs=True))).samples[0]
            rows.append(
                {
                    "question": chain,
                    "task": "chains",
                    "prompt": chain,
                    "model": name,
                    "sample": 0,
                    "answer": read(sample.text),
                    "correct": float(bool(tiny.check(chain, sample.text))),
                    "cost_usd": cost,
                    "mean_logprob": sample.mean_logprob,
                    "min_logprob": sample.min_logprob,
                }
            )
    return draw(from_table(pa.Table.from_pylist(rows), "chains"), ["small", "large"], 1)


@asynccontextmanager
async def serving(folder: Path, policy: Any = None, table: str = "") -> AsyncIterator[str]:
    """A gateway with the policy as plan `p` from a file, or with the plans of a table."""
    if policy is not None:
        save_plan(Plan("p", policy, policy.asks, "last-number"), folder / "plan.toml")
        table = '[plans]\nfiles = ["plan.toml"]\n'
    (folder / "farthing.toml").write_text(CONFIG + table)
    service = open_service(load(folder / "farthing.toml"))
    runner = web.AppRunner(create_app(service), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
    await service.aclose(1)


async def ask(url: str, prompt: str, **settings: Any) -> Any:
    body = {"model": "p", "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
    async with (
        aiohttp.ClientSession(url) as http,
        http.post("/v1/chat/completions", json={**body, **settings}) as response,
    ):
        told = await response.json()
        assert response.status == 200, told
        told["stopped"] = response.headers.get("x-farthing-stopped")
        return told


@pytest.mark.parametrize("kind", [Rational, CascadeRouting, Hops])
async def test_what_is_learnt_is_served_from_its_plan(
    kind: Any, recorded: Draw, tmp_path: Path
) -> None:
    rungs = kind.fit(recorded, rightness(recorded))
    policy = next(r for r in reversed(rungs) if len(set(r.decide(recorded).model.tolist())) == 2)
    done = policy.decide(recorded)
    wanted = [int(np.flatnonzero(done.model == m)[0]) for m in (0, 1)]
    async with serving(tmp_path, policy) as url:
        for question in wanted:
            told = (await ask(url, recorded.recording.questions[question]))["farthing"]
            assert told["answered_by"] == recorded.models[done.model[question]]
            assert told["attempts"] == done.calls[question]


def test_hops_that_look_at_log_probabilities_need_models_that_show_them(tmp_path: Path) -> None:
    policy = Hops(("small", "claude"), (1, 1), np.array([0]), np.array([0]), "mean_logprob")
    save_plan(Plan("p", policy, policy.asks, "last-number"), tmp_path / "plan.toml")
    claude = '[models.claude]\nkind = "http"\napi = "anthropic"\nbase_url = "http://127.0.0.1:9"\n'
    path = tmp_path / "farthing.toml"
    path.write_text(f'{CONFIG}{claude}[plans]\nfiles = ["plan.toml"]\n')
    with pytest.raises(PlanError, match=r"plan.toml: 'claude' cannot be asked as the plan does"):
        build_service(load(path))


async def test_a_client_is_told_that_no_answer_is_given(recorded: Draw, tmp_path: Path) -> None:
    rungs = Rational.fit(recorded, rightness(recorded), abstaining=0.7)
    policy = max(rungs, key=lambda rung: (rung.decide(recorded).model < 0).sum())
    refused = np.flatnonzero(policy.decide(recorded).model < 0)
    assert len(refused)
    chain = recorded.recording.questions[int(refused[0])]
    async with serving(tmp_path, policy) as url:
        told = await ask(url, chain)
        assert told["stopped"] == told["farthing"]["stopped"] == "abstained"
        choice = told["choices"][0]
        assert choice["finish_reason"] == "abstained"
        assert choice["message"]["refusal"] == choice["message"]["content"] == ABSTAINED
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            whole = await client.chat.completions.create(
                model="p", temperature=0, messages=[{"role": "user", "content": chain}]
            )
            assert whole.choices[0].finish_reason == "abstained"
            chunks = await client.chat.completions.create(
                model="p", temperature=0, stream=True, messages=[{"role": "user", "content": chain}]
            )
            ends = [c.choices[0].finish_reason async for c in chunks if c.choices]
            assert ends[-1] == "abstained"


@pytest.mark.parametrize("kind", ["online", "casebook"])
async def test_a_stream_is_taken_over(kind: str, tmp_path: Path) -> None:
    """Two chains again and again: soon no model is asked."""
    table = f"""\
[plans.p]
kind = "{kind}"
model = "large"
answer = "last-number"
answers = ["7", "2"]
price = 0.4
explore = 0.0
"""
    async with serving(tmp_path, table=table) as url:
        told = [await ask(url, chain) for _ in range(40) for chain in (EASY, "5 - 3 =")]
        whole = [one["choices"][0]["message"]["content"].split()[-1] for one in told]
        assert whole == ["7", "2"] * 40
        asked = [one["farthing"]["attempts"] for one in told]
        assert asked[0] == 1
        assert sum(asked[:20]) > 8
        assert sum(asked[-20:]) < 8
        last = next(one for one in reversed(told) if not one["farthing"]["attempts"])
        assert last["farthing"]["answered_by"] in (f"{kind}/logistic", f"{kind}/network")
        assert last["farthing"]["cost_usd"] == "0"
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            chunks = await client.chat.completions.create(
                model="p", stream=True, messages=[{"role": "user", "content": EASY}]
            )
            text = [c.choices[0].delta.content or "" async for c in chunks if c.choices]
            assert "".join(text).split()[-1] == "7"


async def test_demonstrations_reach_the_student(tmp_path: Path) -> None:
    """The tiny models do not learn from them: what is shown is that it works, not that it helps."""
    table = """\
[plans.p]
kind = "demonstrated"
student = "small"
teacher = "large"
answer = "last-number"
warmup = 1
"""
    async with serving(tmp_path, table=table) as url:
        first = await ask(url, EASY)
        assert (first["farthing"]["answered_by"], first["farthing"]["attempts"]) == ("large", 1)
        then = await ask(url, EASY)
        assert (then["farthing"]["answered_by"], then["farthing"]["attempts"]) == ("small", 3)
        assert then["choices"][0]["message"]["content"].split()[-1] == "7"


async def test_of_a_document_the_model_reads_a_part(start: Any) -> None:
    gateway = await start()
    policy = Passages("parrot", keep=1, words=20, overlap=0)
    gateway.service.plans["p"] = ServedPlan("p", ("parrot",), policy)
    document = " ".join(f"word{n}" for n in range(500))
    told = await ask(gateway.url, f"<document>{document} gold 7319 coins</document> gold coins?")
    said = told["choices"][0]["message"]["content"]
    assert "gold 7319 coins" in said
    assert said.endswith("gold coins?")
    assert len(said.split()) < 30
