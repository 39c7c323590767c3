"""SIGHUP: another configuration in force, without a request lost."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from fakes import fake_upstream

from farthing.gateway.config import load
from farthing.gateway.server import serve
from farthing.ledger.engines import open_to_read
from farthing.models._pool import Pool

CONFIG = """\
[gateway]
port = 0
{gateway}
[ledger]
{ledger}
[models.{model}]
kind = "http"
base_url = "{base_url}"
retries = 0
price = {{ input = "1", output = "10" }}
"""
ASK = {"messages": [{"role": "user", "content": "x"}]}


def write(path: Path, base_url: str, model="gpt", gateway="", ledger="") -> None:
    path.write_text(CONFIG.format(base_url=base_url, model=model, gateway=gateway, ledger=ledger))


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[str]:
    """A gateway in this process; its address, such as http://127.0.0.1:1234/v1."""
    said: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(serve(load(path), said.put_nowait))
    try:
        async with asyncio.timeout(10):
            yield (await said.get()).split()[2].removesuffix(";")
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(15):
            await task


async def told(caplog, text: str) -> str:
    """The line of the log with `text`, once it is there."""
    for _ in range(500):
        for record in caplog.records:
            if text in record.getMessage():
                return record.getMessage()
        await asyncio.sleep(0.01)
    raise AssertionError(f"nothing of {text!r} in: {caplog.text}")


async def reload(caplog, text: str) -> str:
    caplog.clear()
    os.kill(os.getpid(), signal.SIGHUP)
    return await told(caplog, text)


async def test_requests_in_flight_end_as_they_began(tmp_path, caplog):
    path = tmp_path / "farthing.toml"
    async with (
        fake_upstream(delay_s=0.6, chunk_delay_s=0.1) as old,
        fake_upstream(words=("new",)) as new,
        aiohttp.ClientSession() as http,
    ):
        write(path, old.base_url, "gpt")
        async with serving(path) as url:
            chat = f"{url}/chat/completions"
            asked = [asyncio.create_task(http.post(chat, json=ASK | {"model": "gpt"}))]
            asked += [
                asyncio.create_task(http.post(chat, json=ASK | {"model": "gpt", "stream": True}))
            ]
            await asyncio.sleep(0.2)
            write(path, new.base_url, "other")
            await reload(caplog, "reloaded")
            async with http.post(chat, json=ASK | {"model": "other"}) as answer:
                assert (await answer.json())["choices"][0]["message"]["content"] == "new"
            async with http.post(chat, json=ASK | {"model": "gpt"}) as answer:
                assert answer.status == 404
            plain, streamed = [await task for task in asked]
            assert (await plain.json())["choices"][0]["message"]["content"] == "The answer is 42."
            assert (await streamed.read()).endswith(b"data: [DONE]\n\n")
            assert (plain.status, streamed.status, old.answered) == (200, 200, 2)
    with open_to_read(tmp_path / "farthing.db").connect() as ledger:
        rows = ledger.exec_driver_sql("select model, status, cost_pico from attempts").fetchall()
    assert sorted(rows) == [
        ("gpt", "ok", 61_000_000),
        ("gpt", "ok", 61_000_000),
        ("other", "ok", 21_000_000),
    ]


async def test_many_reloads_under_load_lose_nothing(tmp_path, caplog):
    path = tmp_path / "farthing.toml"
    async with fake_upstream(delay_s=0.02) as fake, aiohttp.ClientSession() as http:
        write(path, fake.base_url)
        statuses: list[int] = []
        async with serving(path) as url:

            async def client() -> None:
                for _ in range(20):
                    ask = ASK | {"model": "gpt"}
                    async with http.post(f"{url}/chat/completions", json=ask) as answer:
                        await answer.read()
                        statuses.append(answer.status)

            clients = [asyncio.create_task(client()) for _ in range(5)]
            for _ in range(5):
                await reload(caplog, "reloaded")
            await asyncio.gather(*clients)
        assert statuses == [200] * 100
        assert fake.answered == 100


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[gateway]\nprt = 1", "farthing.toml:2: gateway.prt: unknown key"),
        ("x = ", "farthing.toml:1: this is not TOML"),
        (
            "[models.a]\nkind = 'http'\nbase_url = 'http://127.0.0.1:9/v1'\nkey_env = 'NOT_SET'",
            "farthing.toml:4: models.a.key_env: environment variable NOT_SET is not set",
        ),
        (
            "[models.a]\nkind = 'tiny'\nsize = 'small'\n[plans]\nfiles = ['no.toml']",
            "no.toml",
        ),
    ],
)
async def test_a_wrong_configuration_changes_nothing(tmp_path, caplog, text, says):
    path = tmp_path / "farthing.toml"
    async with fake_upstream() as fake, aiohttp.ClientSession() as http:
        write(path, fake.base_url)
        async with serving(path) as url:
            path.write_text(text)
            said = await reload(caplog, "not reloaded")
            assert says in said
            async with http.post(f"{url}/chat/completions", json=ASK | {"model": "gpt"}) as answer:
                assert answer.status == 200


async def test_what_needs_a_restart_is_told(tmp_path, caplog):
    path = tmp_path / "farthing.toml"
    async with fake_upstream() as fake, aiohttp.ClientSession() as http:
        write(path, fake.base_url)
        async with serving(path) as url:
            more = "max_body_mb = 1\nhost = '127.0.0.2'\nkeepalive_s = 1"
            write(path, fake.base_url, gateway=more, ledger="path = 'another.db'")
            await reload(caplog, "reloaded /")
            for key in ("gateway.host", "gateway.max_body_mb", "[ledger]"):
                assert f"reloaded, but {key} is as it was until a restart" in caplog.text
            assert "keepalive_s" not in caplog.text
            async with http.post(f"{url}/chat/completions", json=ASK | {"model": "gpt"}) as answer:
                assert answer.status == 200
    assert not (tmp_path / "another.db").exists()


async def test_a_token_is_exchanged_at_once(tmp_path, caplog, monkeypatch):
    path = tmp_path / "farthing.toml"
    monkeypatch.setenv("FIRST", "first-token")
    monkeypatch.setenv("SECOND", "second-token")
    async with fake_upstream() as fake, aiohttp.ClientSession() as http:
        write(path, fake.base_url, gateway="token_env = 'FIRST'")
        async with serving(path) as url:

            async def status(token: str) -> int:
                headers = {"Authorization": f"Bearer {token}"}
                async with http.get(f"{url}/models", headers=headers) as answer:
                    return answer.status

            assert [await status(t) for t in ("first-token", "second-token")] == [200, 401]
            write(path, fake.base_url, gateway="token_env = 'SECOND'")
            await reload(caplog, "reloaded")
            assert [await status(t) for t in ("first-token", "second-token")] == [401, 200]


async def test_connections_of_an_old_configuration_are_closed(tmp_path, caplog, monkeypatch):
    closed = asyncio.Event()
    whole = Pool.aclose

    async def close(self: Pool) -> None:
        await whole(self)
        closed.set()

    path = tmp_path / "farthing.toml"
    async with fake_upstream() as fake, aiohttp.ClientSession() as http:
        write(path, fake.base_url)
        async with serving(path) as url:
            async with http.post(f"{url}/chat/completions", json=ASK | {"model": "gpt"}) as answer:
                assert answer.status == 200
            monkeypatch.setattr(Pool, "aclose", close)
            await reload(caplog, "reloaded")
            gc.collect()
            async with asyncio.timeout(5):
                await closed.wait()


@pytest.fixture(autouse=True)
def _level(caplog):
    caplog.set_level(logging.WARNING, "farthing.gateway")
