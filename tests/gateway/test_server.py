"""Starting and stopping."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import aiohttp
import pytest
from fakes import fake_upstream

from farthing.core.errors import ConfigError
from farthing.gateway.config import Config, load
from farthing.gateway.server import run, serve
from farthing.ledger.engines import open_to_read

CONFIG = """\
[gateway]
port = 0
[models.gpt]
kind = "http"
base_url = "{base_url}"
price = {{ input = "1", output = "10" }}
"""


def config(folder: Path, base_url: str = "http://127.0.0.1:9/v1", **options: object) -> Config:
    path = folder / "farthing.toml"
    path.write_text(CONFIG.format(base_url=base_url))
    return load(path, **options)  # type: ignore[arg-type]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1 is taken") as caught:
            run(config(tmp_path, port=port), print)
    assert (caught.value.key, caught.value.line) == ("gateway.port", 2)


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    text = CONFIG.format(base_url="http://127.0.0.1:9/v1").replace(
        "port = 0", 'port = 0\nallow_open = true\nhost = "192.0.2.1"'
    )
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 is no address of this machine"):
        run(load(path), print)


async def started(settings: Config) -> tuple[asyncio.Task[None], str]:
    said: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(serve(settings, said.put_nowait))
    line = asyncio.create_task(said.get())
    await asyncio.wait({task, line}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert line.done(), task.exception()
    assert line.result().endswith("models: gpt")
    return task, line.result().split()[2].removesuffix(";")


async def test_what_is_in_flight_is_answered_and_booked_on_shutdown(tmp_path: Path) -> None:
    async with fake_upstream(delay_s=0.4) as fake, aiohttp.ClientSession() as http:
        task, url = await started(config(tmp_path, fake.base_url))
        ask = {"model": "gpt", "messages": [{"role": "user", "content": "x"}]}
        stays = asyncio.create_task(http.post(f"{url}/chat/completions", json=ask))
        leaves = asyncio.create_task(http.post(f"{url}/chat/completions", json=ask))
        await asyncio.sleep(0.2)
        leaves.cancel()
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        answer = await stays
        assert answer.status == 200
        assert (await answer.json())["choices"]
        async with asyncio.timeout(5):
            await task
    with open_to_read(tmp_path / "farthing.db").connect() as ledger:
        rows = ledger.exec_driver_sql("select status, cost_pico from attempts").fetchall()
        assert sorted(rows) == [("cancelled", 61_000_000), ("ok", 61_000_000)]


async def test_headers_are_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task, url = await started(config(tmp_path))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2][:-3]))
    writer.write(b"GET /healthz HTTP/1.1\r\nAuthorization: Bearer very-secret\x01\r\n\r\n")
    assert b"400 Bad Request" in await reader.read()
    writer.close()
    os.kill(os.getpid(), signal.SIGTERM)
    await task
    assert "BadHttpMessage" in caplog.text
    assert "secret" not in caplog.text


async def test_a_second_signal_hurries(tmp_path: Path) -> None:
    async with fake_upstream(delay_s=30) as fake, aiohttp.ClientSession() as http:
        task, url = await started(config(tmp_path, fake.base_url))
        ask = {"model": "gpt", "messages": [{"role": "user", "content": "x"}]}
        asked = asyncio.create_task(http.post(f"{url}/chat/completions", json=ask))
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.1)
        assert not task.done()
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(5):
            await task
        with pytest.raises(aiohttp.ClientError):
            await asked
    with open_to_read(tmp_path / "farthing.db").connect() as ledger:
        rows = ledger.exec_driver_sql("select status, cost_pico from attempts").fetchall()
        assert rows == [("cancelled", None)]
