"""Algorithms of its_hub served by the gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from openai import AsyncOpenAI

from farthing.core.errors import ConfigError
from farthing.gateway.app import create_app
from farthing.gateway.build import build_service, open_service
from farthing.gateway.config import load

CONFIG = """\
[models.small]
kind = "tiny"
size = "small"

[plans.theirs]
kind = "its-hub"
answer = "last-number"
model = "small"
algorithm = "adaptive-self-consistency"
options = {threshold = 0.6}
spending = {usd = "0.001"}

[plans.search]
kind = "its-hub"
answer = "last-number"
model = "small"
algorithm = "beam-search"
budget = 4
reward = {kind = "exact"}
[plans.search.options]
beam_width = 2
sg = {max_steps = 8, step_token = " "}

[plans.both]
kind = "chain"
answer = "last-number"
[[plans.both.links]]
ask = {kind = "its-hub", model = "small", algorithm = "self-consistency", budget = 3}
accept = 0.9
[[plans.both.links]]
ask = "small"
"""


async def test_they_answer_and_their_calls_are_booked(tmp_path: Path) -> None:
    (tmp_path / "farthing.toml").write_text(CONFIG)
    service = open_service(load(tmp_path / "farthing.toml"))
    runner = web.AppRunner(create_app(service), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1", api_key="x")
    try:
        for plan, attempts in (("theirs", {1, 2, 3}), ("search", range(2, 16)), ("both", {1, 2})):
            told = await client.chat.completions.create(
                model=plan, seed=1, messages=[{"role": "user", "content": "3 + 4 ="}]
            )
            assert told.choices[0].message.content.split()[-1] == "7"  # type: ignore[union-attr]
            assert told.farthing["attempts"] in attempts  # type: ignore[attr-defined]
            assert float(told.farthing["cost_usd"]) > 0  # type: ignore[attr-defined]
        streamed = await client.chat.completions.create(
            model="theirs", stream=True, messages=[{"role": "user", "content": "3 + 4 ="}]
        )
        assert "".join([c.choices[0].delta.content or "" async for c in streamed if c.choices])
    finally:
        await client.close()
        await runner.cleanup()
        await service.aclose(1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.6", "3", r"toml:5: plans.theirs: .*threshold must be in"),
        ('"beam-search"', '"bean-search"', r"algorithm 'bean-search' is not known; known: self"),
    ],
)
def test_a_mistake_is_told_with_its_place(old: str, new: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "farthing.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        build_service(load(tmp_path / "farthing.toml"))


def test_without_the_package_the_configuration_is_at_fault(tmp_path: Path) -> None:
    (tmp_path / "farthing.toml").write_text(CONFIG)
    code = """\
import sys
sys.modules["its_hub"] = sys.modules["its_hub.api"] = None
from farthing.cli import main
sys.argv = ["farthing", "serve", "--port", "0"]
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "farthing.toml:5: plans.theirs: " in run.stderr
    assert "its-hub is not installed: pip install 'farthing[its-hub]'" in run.stderr
