"""`farthing serve --workers`: real processes that share a port and a ledger."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes import FakeUpstream, fake_upstream

from farthing.budgets.limits import Budget
from farthing.budgets.stored import Budgets
from farthing.core.money import Cost
from farthing.gateway.bypass import SwitchEditor
from farthing.gateway.config import load
from farthing.gateway.workers import for_worker, left_behind
from farthing.ledger.engines import open_to_read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CONFIG = """\
[gateway]
port = 0
[ledger]
on_ledger_failure = "spool"
[models.gpt]
kind = "http"
base_url = "{base_url}"
retries = 0
price = {{ input = "1", output = "10" }}
[plans.thrifty]
kind = "cascade"
signal = "agreement"
stages = [{{ model = "gpt", samples = 2, accept = 1.0 }}, {{ model = "gpt", accept = "always" }}]
"""
FARTHING = [sys.executable, "-c", "from farthing.cli import main; main()"]
COST = 61_000_000


@dataclass
class Serving:
    process: asyncio.subprocess.Process
    url: str
    folder: Path
    upstream: FakeUpstream
    answers: list[Any] = field(default_factory=list)

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    async def ask(self, **more: Any) -> tuple[int, bytes]:
        """Ask over a connection of its own, so that the kernel chooses a worker."""
        body = {"model": "gpt", "messages": [{"role": "user", "content": "x"}], **more}
        url = f"{self.url}/chat/completions"
        async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
            return answer.status, await answer.read()

    async def metrics(self) -> dict[str, float]:
        url = self.url.replace("/v1", "/metrics")
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            lines = (await answer.text()).splitlines()
        told = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name.removeprefix("farthing_"): float(value) for name, _, value in told}

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def serving(folder: Path, workers: int = 3, **settings: Any) -> AsyncIterator[Serving]:
    async with fake_upstream(**settings) as fake:
        (folder / "farthing.toml").write_text(CONFIG.format(base_url=fake.base_url))
        process = await asyncio.create_subprocess_exec(
            *(*FARTHING, "serve", "--workers", str(workers)),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        assert line.endswith(f"models: gpt; {workers} workers\n"), line
        found = Serving(process, line.split()[2].removesuffix(";"), folder, fake)
        pids = found.workers
        try:
            yield found
        finally:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(30):
                    await process.wait()
            for pid in pids:
                assert not _lives(pid)


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def booked(folder: Path) -> list[tuple[str, int | None]]:
    with open_to_read(folder / "farthing.db").connect() as ledger:
        query = "select status, cost_pico from attempts"
        return [tuple(row) for row in ledger.exec_driver_sql(query)]


async def until(holds: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_workers_share_the_port_the_ledger_and_the_metrics(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        answers = await asyncio.gather(*(gateway.ask() for _ in range(60)))
        assert {status for status, _ in answers} == {200}
        for _ in range(4):  # whichever worker is asked
            told = await gateway.metrics()
            assert told['operations_total{model="gpt",plan="",status="ok"}'] == 60
        await asyncio.sleep(1.2)
        assert (await gateway.metrics())['ledger_state{state="ok"}'] == 3
        gateway.process.terminate()
        assert await asyncio.wait_for(gateway.process.wait(), 30) == 0
        assert await gateway.errors() == ""
    assert booked(tmp_path) == [("ok", COST)] * 60


async def test_one_budget_for_all(tmp_path: Path) -> None:
    with Budgets(tmp_path / "farthing.db") as store:
        store.set(Budget("all", Cost(COST * 10)))
    async with serving(tmp_path) as gateway:
        answers = await asyncio.gather(*(gateway.ask(max_tokens=5) for _ in range(60)))
        statuses = [status for status, _ in answers]
        assert set(statuses) == {200, 429}
        assert 1 <= statuses.count(200) <= 10
    assert sum(cost or 0 for _, cost in booked(tmp_path)) <= COST * 10


async def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    async with serving(tmp_path, 2) as gateway:
        before = gateway.workers
        await gateway.ask()
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: len(gateway.workers) == 2 and gateway.workers != before)
        await asyncio.sleep(3)
        answers = await asyncio.gather(*(gateway.ask() for _ in range(20)))
        assert {status for status, _ in answers} == {200}
        told = await gateway.metrics()  # what the dead one counted is not lost
        assert told['operations_total{model="gpt",plan="",status="ok"}'] == 21
        gateway.process.terminate()
        assert re.search(
            r"worker \d ended with signal 9; it is started again in 0\.5 s", await gateway.errors()
        )


async def test_no_request_is_dropped_on_shutdown(tmp_path: Path) -> None:
    async with serving(tmp_path, 2, delay_s=0.8, chunk_delay_s=0.05) as gateway:
        asked = [asyncio.create_task(gateway.ask(stream=n % 2 == 0)) for n in range(20)]
        await until(lambda: len(gateway.upstream.bodies) == 20)
        gateway.process.terminate()
        answers = await asyncio.gather(*asked)
        assert [status for status, _ in answers] == [200] * 20
        assert sum(body.endswith(b"data: [DONE]\n\n") for _, body in answers) == 10
        assert await asyncio.wait_for(gateway.process.wait(), 30) == 0
    assert booked(tmp_path) == [("ok", COST)] * 20


async def test_a_reload_under_load_drops_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, 2, delay_s=0.05) as gateway:
        statuses: list[int] = []

        async def client() -> None:
            for _ in range(15):
                statuses.append((await gateway.ask())[0])

        clients = [asyncio.create_task(client()) for _ in range(4)]
        for _ in range(3):
            await asyncio.sleep(0.2)
            gateway.process.send_signal(signal.SIGHUP)
        await asyncio.gather(*clients)
        assert statuses == [200] * 60
        gateway.process.terminate()
        assert (await gateway.errors()).count("reloaded farthing.toml") == 6


async def test_the_off_switch_reaches_all_workers(tmp_path: Path) -> None:
    async with serving(tmp_path, 2) as gateway:
        with SwitchEditor(tmp_path / "farthing.db") as switch:
            switch.set(True)
        await asyncio.sleep(2)
        answers = await asyncio.gather(*(gateway.ask(model="thrifty") for _ in range(20)))
        assert all(b'"bypass":true' in body for _, body in answers)


async def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    async with serving(tmp_path, 2) as gateway:
        pids = gateway.workers
        gateway.process.kill()
        await until(lambda: not any(_lives(pid) for pid in pids))


def farthing(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FARTHING, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path, 2) as gateway:
        port = gateway.url.split(":")[2].split("/")[0]
        done = await asyncio.to_thread(
            farthing, tmp_path, "serve", "--workers", "2", "--port", port
        )
        assert done.returncode == 1
        assert f"port {port} on 127.0.0.1 is taken" in done.stderr


def test_a_worker_that_cannot_begin_ends_all(tmp_path: Path) -> None:
    text = CONFIG.format(base_url="http://127.0.0.1:9/v1").replace(
        "retries", "key_env='NO'\nretries"
    )
    (tmp_path / "farthing.toml").write_text(text)
    done = farthing(tmp_path, "serve", "--workers", "2")
    assert done.returncode == 1
    assert "environment variable NO is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_worker_has_a_journal_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text(CONFIG.format(base_url="http://127.0.0.1:9/v1"))
    config = load(path)
    assert for_worker(config, 2).ledger.spool == "farthing.spool.2"
    for name in ("farthing.spool", "farthing.spool.1", "farthing.spool.3", "farthing.spool.txt"):
        (tmp_path / name).write_text("something")
    (tmp_path / "farthing.spool.4").touch()
    assert [path.name for path in left_behind(config, 0)] == [
        "farthing.spool.1",
        "farthing.spool.3",
    ]
    assert [path.name for path in left_behind(config, 2)] == ["farthing.spool", "farthing.spool.3"]
