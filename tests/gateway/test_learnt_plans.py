"""Learnt policies served live on the tiny models, and what cannot be served."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from recordings import table

from farthing.core.errors import PlanError
from farthing.gateway.app import create_app
from farthing.gateway.build import build_service, open_service
from farthing.gateway.config import load
from farthing.models.draw import Draw, draw
from farthing.models.recording import from_table
from farthing.plan import Plan, save_plan
from farthing.policies.automix import AutoMix, AutoMixPomdp
from farthing.policies.cascade_routing import CascadeRouting
from farthing.policies.decisions import Learnt, rightness
from farthing.policies.frugal import Frugal
from farthing.policies.mixture import Mixture, PromptKind
from farthing.policies.modelswitch import ModelSwitch
from farthing.policies.scored import ScoredCascade, Step
from farthing.policies.tokens import Tokens
from farthing.signals.agreement import Agreement
from farthing.signals.belief import Belief
from farthing.signals.calibrated import Calibrated
from farthing.signals.column import Column
from farthing.signals.encoder import learn_encoder
from farthing.signals.judge import Judge
from farthing.signals.learned import Learned
from farthing.signals.mixed import Mixed
from farthing.signals.seen import of_draw
from farthing.signals.verification import Verification

CONFIG = """\
[gateway]
answer = "last-number"
[models.small]
kind = "tiny"
size = "small"
[models.large]
kind = "tiny"
size = "large"
[models.taped]
kind = "recorded"
path = "taped.parquet"
model = "small"
[models.claude]
kind = "http"
api = "anthropic"
base_url = "http://127.0.0.1:9/v1"
[plans]
files = ["plan.toml"]
"""
EASY, HARD = "3 + 4 =", "7 * 8 - 2 * 3 + 4 - 9 ="


@pytest.fixture(scope="module")
def recorded() -> Draw:
    """What the small and the large model answered to some chains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        tiny_tokens = importlib.import_module("tiny_tokens")
    table = tiny_tokens.record(["small", "large"], questions=300, samples=2)
    return draw(from_table(table, "chains"), ["small", "large"], 2)


@asynccontextmanager
async def serving(folder: Path, policy: Any) -> AsyncIterator[aiohttp.ClientSession]:
    save_plan(Plan("p", policy, policy.asks, "last-number"), folder / "plan.toml")
    (folder / "farthing.toml").write_text(CONFIG.replace("[models.taped]", "[models.other]"))
    config = (folder / "farthing.toml").read_text()
    begin, end = config.index("[models.other]"), config.index("[plans]")
    (folder / "farthing.toml").write_text(config[:begin] + config[end:])
    service = open_service(load(folder / "farthing.toml"))
    runner = web.AppRunner(create_app(service), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
        yield http
    await runner.cleanup()
    await service.aclose(1)


async def ask(http: aiohttp.ClientSession, prompt: str) -> tuple[str, str, int]:
    """The answer, who gave it, and how many calls it took."""
    body = {"model": "p", "temperature": 0.7, "seed": 3}
    body["messages"] = [{"role": "user", "content": prompt}]  # type: ignore[assignment]
    async with http.post("/v1/chat/completions", json=body) as response:
        told = await response.json()
        assert response.status == 200, told
        answer = told["choices"][0]["message"]["content"].split()[-1]
        attempts = int(response.headers["x-farthing-attempts"])
        return answer, told["farthing"]["answered_by"], attempts


def two_steps(kind: type[Learnt], recorded: Draw) -> Any:
    """A learnt policy that asks the small model, and then perhaps the large one."""
    right = rightness(recorded)
    if kind is not Frugal:
        return next(p for p in reversed(kind.fit(recorded, right)) if len(p.steps) == 2)
    small = of_draw(recorded, 0, 1)
    encoder, _ = learn_encoder(small.prompts)
    scorer, _ = Learned.fit([small], right[0][:, 0], ("prompt", "text", "answer"), encoder=encoder)
    return Frugal((Step("small", signal=scorer, accept=0.6), Step("large")))


@pytest.mark.parametrize("kind", [Frugal, Tokens, ModelSwitch, Mixture])
async def test_what_is_learnt_from_the_tiny_models_is_served(
    kind: type[Learnt], recorded: Draw, tmp_path: Path
) -> None:
    policy = two_steps(kind, recorded)
    calls = [step.samples for step in policy.steps]
    async with serving(tmp_path, policy) as http:
        answered = [await ask(http, prompt) for prompt in (EASY, HARD)]
    assert answered[0][0] == "7"
    for _, model, attempts in answered:
        assert model in policy.asks
        assert attempts in (calls[0], sum(calls))


@pytest.mark.parametrize("kind", [AutoMix, AutoMixPomdp])
async def test_a_model_is_asked_about_its_own_answer(
    kind: type[ScoredCascade], tmp_path: Path
) -> None:
    """The tiny models know nothing but chains, so that they never say yes, and all is passed up."""
    signal: Any = Verification(times=2)
    if kind is AutoMixPomdp:
        right = [np.array([1.0, 0.0, 1.0, 1.0]), np.ones(4)]
        observed = np.log([0.9, 0.2, 0.9, 0.9])
        signal = Belief.fit(signal, [observed], right, [0.1, 1.0], 0.2)
    policy = kind((Step("small", signal=signal, accept=0.0), Step("large")))
    async with serving(tmp_path, policy) as http:
        assert await ask(http, HARD) == ("7", "large", 4)


async def test_a_judge_grades_live(tmp_path: Path) -> None:
    """The large model grades by what it knows: the number that the chain comes to."""
    judge = Judge("large", instruction="{question} of which {answer} is said")
    policy = AutoMix((Step("small", signal=judge, accept=0.7), Step("large")))
    async with serving(tmp_path, policy) as http:
        assert await ask(http, "3 + 4 =") == ("7", "small", 2)
        assert await ask(http, "3 - 1 =") == ("2", "large", 3)


async def test_kinds_of_prompts_that_the_policy_holds(tmp_path: Path) -> None:
    kinds = tuple(PromptKind(f"small/{n}", "small", f"Think {n}.") for n in ("twice", "aloud"))
    steps = (
        Step("small/twice", signal=Mixed("verify"), accept=float("inf")),
        Step("small/aloud", signal=Mixed("verify"), accept=1.0),
        Step("large"),
    )
    policy = Mixture(steps, kinds=kinds)
    assert policy.asks == ("small", "large")
    async with serving(tmp_path, policy) as http:
        assert await ask(http, EASY) == ("7", "small", 2)


def one(signal: Any, model: str = "small") -> AutoMix:
    return AutoMix((Step(model, signal=signal, accept=0.5), Step("large")))


def calibrated(signal: Any) -> Calibrated:
    return Calibrated.fit(signal, np.arange(4.0), np.array([0.0, 1.0, 0.0, 1.0]))


def routing(signal: Any) -> CascadeRouting:
    made = table(60, 2, 1, null=0.0)
    drawn = draw(from_table(made), ["m0", "m1"], 1)
    rung = CascadeRouting.fit(drawn, rightness(drawn))[8]
    return replace(rung, models=("small", "large"), signals=(calibrated(signal),))


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (one(Column("conf_raw", True)), 'nobody to ask. Use a signal of kind "verification"'),
        (one(Column("conf_raw", True), "taped"), 'a signal of kind "verification"'),
        (one(Column("conf_raw")), "a column of a recording, which 'small' does not show"),
        (one(calibrated(Column("conf_raw", True)), "taped"), 'kind "verification"'),
        (routing(Column("conf_raw", True)), 'kind "verification"'),
        (one(Verification(), "taped"), "'taped' is a recording, which cannot be asked"),
        (one(Judge("nobody")), r"the judge 'nobody' is not configured; add a table \[models.nob"),
        (one(Column("mean_logprob"), "claude"), "'claude' cannot be asked as the plan does"),
        (one(Column("conf_raw"), "taped"), None),
        (one(Agreement()), None),
    ],
)
def test_what_live_models_cannot_do(
    policy: Any, says: str | None, recorded: Draw, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    pq.write_table(recorded.recording.table, tmp_path / "taped.parquet")
    (tmp_path / "farthing.toml").write_text(CONFIG)
    save_plan(Plan("p", policy, policy.asks, "last-number"), tmp_path / "plan.toml")
    config = load(tmp_path / "farthing.toml")
    if says is None:
        assert "p" in build_service(config).plans
        return
    with pytest.raises(PlanError, match=says) as caught:
        build_service(config)
    assert "plan.toml" in str(caught.value)
