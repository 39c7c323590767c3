"""`farthing check` and `farthing bypass`, as programs run them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from commands import farthing

from farthing.cli._app import app
from farthing.gateway.checking import Finding, check
from farthing.ledger.keys import Keys, list_keys

CONFIG = """\
[gateway]
[models.gpt]
kind = "http"
base_url = "{base_url}"
key_env = "CHECK_KEY"
price = {{ input = "1", output = "10" }}
"""


@asynccontextmanager
async def upstream(status: int = 200, models: tuple[str, ...] = ("gpt",)) -> AsyncIterator[Any]:
    """An upstream with a list of models; its address, and the headers that it got."""
    seen: list[Any] = []

    async def listed(request: web.Request) -> web.Response:
        seen.append(request.headers.copy())
        data = [{"id": name, "object": "model"} for name in models]
        return web.json_response({"data": data}, status=status)

    server = web.Application()
    server.router.add_get("/v1/models", listed)
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", seen
    finally:
        await runner.cleanup()


async def look(path: Path, **options: Any) -> dict[str, Finding]:
    findings = await asyncio.to_thread(check, path, **options)
    return {finding.what: finding for finding in findings}


def write(folder: Path, base_url: str, more: str = "") -> Path:
    path = folder / "farthing.toml"
    path.write_text(CONFIG.format(base_url=base_url) + more)
    return path


async def test_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECK_KEY", "sk-secret")
    async with upstream() as (base_url, seen):
        found = await look(write(tmp_path, base_url))
    assert {finding.level for finding in found.values()} == {"ok"}
    assert set(found) == {
        "configuration",
        "variable CHECK_KEY",
        "model gpt",
        "price of gpt",
        "ledger",
        f"upstream {base_url} of gpt",
    }
    assert seen[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(found)
    assert not (tmp_path / "farthing.db").exists()


async def test_anthropics_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECK_KEY", "sk-secret")
    async with upstream() as (base_url, seen):
        await look(write(tmp_path, base_url, 'api = "anthropic"\n'))
    assert seen[0]["x-api-key"] == "sk-secret"
    assert "anthropic-version" in seen[0]


@pytest.mark.parametrize(
    ("settings", "level", "says"),
    [
        ({"status": 401}, "error", "does not let us in (status 401); check the key in CHECK_KEY"),
        ({"status": 404}, "warning", "has no list of models"),
        ({"status": 500}, "warning", "answers with status 500"),
        ({"models": ("other",)}, "warning", "does not list gpt; check the model's name"),
    ],
)
async def test_an_upstream_that_is_not_well(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    level: str,
    says: str,
) -> None:
    monkeypatch.setenv("CHECK_KEY", "sk-secret")
    async with upstream(**settings) as (base_url, _):
        path = write(tmp_path, base_url)
        found = (await look(path))[f"upstream {base_url} of gpt"]
        assert found.level == level
        assert says in found.message
        assert f"upstream {base_url} of gpt" not in await look(path, offline=True)


async def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    more = """\
[models.other]
kind = "http"
base_url = "http://127.0.0.1:9/v1"
[models.broken]
kind = "recorded"
path = "no-such-file.jsonl"
model = "x"
[plans]
files = ["no-plan.toml"]
[ledger]
path = "no/folder/farthing.db"
"""
    found = await look(write(tmp_path, "http://127.0.0.1:9/v1", more))
    assert "environment variable CHECK_KEY is not set" in found["variable CHECK_KEY"].message
    assert "farthing.toml:5: models.gpt.key_env" in found["model gpt"].message
    assert "no-such-file.jsonl" in found["model broken"].message
    assert found["plans"].level == "warning"
    assert found["price of other"].level == "warning"
    assert "state price in [models.other]" in found["price of other"].message
    assert "is no folder that can be written to" in found["ledger"].message
    reached = found["upstream http://127.0.0.1:9/v1 of other"]
    assert reached.level == "error"
    assert "cannot be reached" in reached.message


async def test_traces_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text("[gateway]\ntraces = true\n[models.m]\nkind = 'tiny'\nsize = 'small'\n")
    monkeypatch.setitem(sys.modules, "farthing.gateway.traces", None)
    findings = await asyncio.to_thread(check, path)
    (wrong,) = (finding for finding in findings if finding.level != "ok")
    assert "pip install 'farthing[otel]'" in wrong.message


async def test_a_ledger_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text("[models.m]\nkind = 'tiny'\nsize = 'small'\n")
    with Keys(tmp_path / "farthing.db"):
        pass
    ledger = (await look(path))["ledger"]
    assert ledger.level == "ok"
    assert "can be written" in ledger.message
    (tmp_path / "farthing.db").write_text("no ledger" * 1000)
    assert (await look(path))["ledger"].level == "error"


def test_exit_codes_and_json(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text("[models.m]\nkind = 'tiny'\nsize = 'small'\n")
    done = farthing(tmp_path, "check")
    assert done.returncode == 0, done.stderr
    assert "ok      model m: kind tiny" in done.stdout
    path.write_text("[models.m]\nkind = 'http'\nbase_url = 'http://127.0.0.1:9/v1'\n")
    done = farthing(tmp_path, "check", "--offline", "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert {"warning"} == {f["level"] for f in told["findings"]} - {"ok"}
    path.write_text("[models.m]\nkin = 'tiny'\n")
    done = farthing(tmp_path, "check")
    assert done.returncode == 1
    assert "farthing.toml:1: models.m: kind must be one of" in done.stdout


def test_the_switch(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    import farthing.cli.bypass
    import farthing.cli.keys  # noqa: F401

    path = tmp_path / "farthing.toml"
    path.write_text("[models.m]\nkind = 'tiny'\nsize = 'small'\n")

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    options = ("--config", str(path))
    assert run("bypass", "status", *options) == "Plans are switched on.\n"
    assert "each is answered by its strongest model" in run("bypass", "on", *options)
    assert "They were before." in run("bypass", "on", *options)
    told = json.loads(run("bypass", "status", "--json", *options))
    assert told["bypass"] is True
    assert json.loads(run("bypass", "off", "--json", *options)) == {
        "bypass": False,
        "changed": True,
    }
    db = str(tmp_path / "farthing.db")
    run("keys", "create", "boss", "--admin", "--db", db)
    (state,) = list_keys(db)
    assert state.key.is_admin
    done = CliRunner().invoke(
        app, ["keys", "create", "x", "--tags", "farthing-admin=true", "--db", db]
    )
    assert done.exit_code == 2
