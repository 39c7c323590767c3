"""What is asked in `gateway.py`: the upstream itself, a floor, Farthing, and peers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import _peers
import aiohttp
from _live import FARTHING, MODEL, Gateway, set_budget, start

from farthing.core.money import PICO_PER_USD

HERE = Path(__file__).parent
CHAT = "/v1/chat/completions"
PLENTY = 10**6 * PICO_PER_USD


@dataclass(frozen=True)
class Target:
    """Something that answers chat completions.

    Attributes:
        pid: of its process; 0 for the upstream, whose costs are nobody's.
        ledger: where it books, if it does.
        spends: reads what it has booked, in picodollars; None if it books nothing.
        gateway: if it is Farthing.
    """

    name: str
    url: str
    pid: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    ledger: Path | None = None
    spends: Callable[[], int] | None = None
    gateway: Gateway | None = None

    def spec(self, body: dict[str, Any], **how: Any) -> dict[str, Any]:
        """What `_load.py` is told."""
        parts = urlsplit(self.url)
        place = {"host": parts.hostname, "port": parts.port, "path": CHAT}
        told = json.dumps(body, separators=(",", ":"))
        return {**place, "headers": self.headers, "body": told, **how}


class UpstreamProcess:
    """The upstream of `_upstream.py`.

    Attributes:
        url: its address, without a version.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession, pid: int) -> None:
        self.url, self.pid, self._session = url, pid, session

    async def set(self, **settings: Any) -> None:
        """Change how it answers; see `_upstream.Settings`."""
        async with self._session.post(f"{self.url}/set", json=settings) as got:
            got.raise_for_status()

    async def account(self, *, calls: bool = False) -> dict[str, Any]:
        """What it has billed; see `_upstream.Account`."""
        async with self._session.get(f"{self.url}/account{'/calls' if calls else ''}") as got:
            found: dict[str, Any] = await got.json()
            return found

    async def idle(self, seconds: float = 30.0) -> dict[str, Any]:
        """The account once no call is being answered any more."""
        for _ in range(round(seconds / 0.1)):
            found = await self.account()
            if not found["running"]:
                return found
            await asyncio.sleep(0.1)
        return await self.account()


@asynccontextmanager
async def upstream() -> AsyncIterator[UpstreamProcess]:
    """A running upstream."""
    async with (
        script("_upstream.py") as (url, pid),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
    ):
        yield UpstreamProcess(url, session, pid)


@asynccontextmanager
async def script(name: str, *arguments: str) -> AsyncIterator[tuple[str, int]]:
    """A program of this folder that prints its address, and its process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / name), *arguments, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        if not url:
            raise RuntimeError(f"{name} did not start")
        yield url, process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def direct(url: str, folder: Path) -> AsyncIterator[Target]:
    """The upstream itself."""
    yield Target("direct", url)


@asynccontextmanager
async def floor(url: str, folder: Path) -> AsyncIterator[Target]:
    """The pass-through of `_floor.py`."""
    async with script("_floor.py", url) as (own, pid):
        yield Target("floor", own, pid)


@asynccontextmanager
async def farthing(
    url: str,
    folder: Path,
    *,
    name: str,
    bound: bool,
    limit: int | None = None,
    settings: str = "",
    launcher: Sequence[str] = (),
) -> AsyncIterator[Target]:
    """A gateway with a ledger; if it is `bound`, with a key and two budgets.

    Args:
        limit: of the tighter budget, in picodollars; plenty if None.
        settings: more lines for its table `[gateway]`.
        launcher: a program of Python that is `farthing` with something more, and its arguments.
    """
    ledger = folder / "farthing.db"
    settings += "keys = true\n" if bound else ""
    config = MODEL.format(url=f"{url}/v1").replace("[gateway]\n", f"[gateway]\n{settings}")
    headers = {}
    if bound:
        command = [FARTHING, "keys", "create", "bench", "--db", str(ledger)]
        made = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        headers["Authorization"] = f"Bearer {made.stdout.decode().split()[0]}"
        await set_budget(str(ledger), PLENTY, "--name", "all")
        await set_budget(str(ledger), limit or PLENTY, "--name", "key", "--scope", "key:bench")
    served = await start(folder, config, program=launcher)
    try:
        own = served.url.removesuffix("/v1")
        spends = partial(_booked, ledger)
        yield Target(name, own, served.process.pid, headers, ledger, spends, served)
    finally:
        await served.stop()


def _booked(ledger: Path) -> int:
    with closing(sqlite3.connect(ledger)) as connection:
        return connection.execute("SELECT sum(cost_pico) FROM attempts").fetchone()[0] or 0


@asynccontextmanager
async def peer(
    url: str, folder: Path, *, name: str, home: Path, limit: int | None = None, books: bool = False
) -> AsyncIterator[Target]:
    """A gateway that others have written; see `_peers`."""
    port = free_port()
    made = _peers.PEERS[name].start(home, folder, f"{url}/v1", port, limit, books)
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *made.command,
            cwd=folder,
            env={**os.environ, **made.env},
            stdout=output,
            stderr=output,
        )
    try:
        if not await _listens(port, process):
            said = await asyncio.to_thread(log.read_text, errors="replace")
            raise RuntimeError(f"it did not start: {said[-2000:]}")
        own = f"http://127.0.0.1:{port}"
        yield Target(name, own, process.pid, made.headers, None, made.spends)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _listens(port: int, process: asyncio.subprocess.Process) -> bool:
    """Whether `process` comes to listen, within two minutes."""
    for _ in range(600):
        if process.returncode is not None:
            return False
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.2)
            continue
        writer.close()
        return True
    return False


def free_port() -> int:
    """A port that nobody listened on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


Opens = Callable[..., AbstractAsyncContextManager[Target]]

OWN: dict[str, Opens] = {
    "direct": direct,
    "floor": floor,
    "farthing": partial(farthing, name="farthing", bound=False),
    "farthing+budgets": partial(farthing, name="farthing+budgets", bound=True),
}
