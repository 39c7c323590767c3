"""The official `openai` npm package, which `scripts/test` installs into tests/npm."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

NPM = Path(__file__).parents[1] / "npm"
NODE = shutil.which("node")
TEXT = "The answer is 42."

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="there is no node here"),
    pytest.mark.skipif(
        not (NPM / "node_modules/openai").exists(),
        reason="the npm package is not installed: run `npm ci` in tests/npm",
    ),
]


async def test_the_npm_package(gateway: Any) -> None:
    gateway.upstream.calls = (("weather", '{"city": "Oslo"}'),)
    for model in ("gpt", "claude", "lone"):
        script = await asyncio.create_subprocess_exec(
            str(NODE),
            str(NPM / "script.mjs"),
            f"{gateway.url}/v1",
            model,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(script.communicate(), 60)
        assert script.returncode == 0, err.decode()
        told = json.loads(out)
        embedding = told.pop("embedding")
        if model == "gpt":
            assert embedding == [0.25, -0.5]
        else:
            assert embedding == [400, "model"]
        assert told == {
            "plain": TEXT,
            "tokens": 16,
            "streamed": TEXT,
            "streamedTokens": 16,
            "call": ["weather", {"city": "Oslo"}],
            "response": TEXT,
            "responseStreamed": TEXT,
            "lastEvent": "response.completed",
            "json": TEXT,
            "error": ["NotFoundError", 404, "model_not_found"],
        }
