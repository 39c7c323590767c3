"""Real gateways on loopback, and an upstream that keeps its own exact account."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web

from farthing.core.money import PICO_PER_USD, Rates

FARTHING = str(Path(sys.executable).with_name("farthing"))
LAUNCHER = str(Path(__file__).with_name("_gateway.py"))
MEAN_TOKENS = 400
MAX_TOKENS = 4096
PROMPT_TOKENS = 12
MEAN_S = 8.3
RATES = Rates.per_million("1", "10")
MODEL = """\
[gateway]
port = 0
[models.m]
kind = "http"
base_url = "{url}"
price = {{ input = "1", output = "10" }}
"""
ASK: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "2 + 3?"}],
    "max_tokens": MAX_TOKENS,
}
_START_S = 30.0
_PIECES = 8  # of a streamed answer


@dataclass(frozen=True, slots=True)
class Billed:
    """A call that the upstream answered: what was asked, and what it bills, in picodollars."""

    question: str
    cost: int


class Upstream:
    """Answers chat completions, plain and streamed, and knows what it billed.

    Outputs are log-normal with a mean of 400 tokens and cost $10 a million, 12 tokens of input
    $1 a million. An answer takes 0.3 s and 20 ms a token, divided by `speed`.

    Attributes:
        calls: what was billed, by the unique identifier of the answer.
        billed, flying, most_flying: picodollars in all, in flight, and at most at once.
        cut: the share of answers that end at a random byte; they are billed in full.
    """

    def __init__(self, seed: int, *, speed: float, sigma: float = 0.8, cut: float = 0.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._speed, self._sigma, self.cut = speed, sigma, cut
        self._mu = math.log(MEAN_TOKENS) - sigma**2 / 2
        self.calls: dict[str, Billed] = {}
        self.billed = self.flying = self.most_flying = 0

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer after, or within, the time that the answer's length takes."""
        asked = await request.json()
        drawn = round(math.exp(self._rng.normal(self._mu, self._sigma)))
        most = asked.get("max_tokens", MAX_TOKENS)
        tokens = min(max(1, drawn), most)
        cost = PROMPT_TOKENS * RATES.input + tokens * RATES.output
        id = f"chatcmpl-{self._rng.bytes(12).hex()}"
        seconds = (0.3 + 0.02 * tokens) / self._speed
        self.flying += cost
        self.most_flying = max(self.most_flying, self.flying)
        if not asked.get("stream"):
            await asyncio.sleep(seconds)
        self.flying -= cost
        self.billed += cost
        self.calls[id] = Billed(asked["messages"][-1]["content"], cost)
        reason = "length" if tokens == most else "stop"
        if asked.get("stream"):
            pieces, kind = _streamed(id, tokens, reason), "text/event-stream"
        else:
            pieces, kind = [_whole(id, tokens, reason)], "application/json"
            seconds = 0.0
        return await self._send(request, pieces, kind, seconds / len(pieces))

    async def _send(
        self, request: web.Request, pieces: list[bytes], kind: str, wait_s: float
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": kind})
        size = sum(map(len, pieces))
        if kind == "application/json":
            answer.content_length = size
        left = math.inf
        if self._rng.random() < self.cut:
            left = int(self._rng.integers(-size // 10, size))
        try:
            if left >= 0:
                await answer.prepare(request)
            for piece in pieces:
                if wait_s:
                    await asyncio.sleep(wait_s)
                if left < len(piece):
                    if left > 0:
                        await answer.write(piece[: int(left)])
                    if request.transport is not None:
                        request.transport.close()
                    return answer
                await answer.write(piece)
                left -= len(piece)
            await answer.write_eof()
        except ConnectionError:
            pass
        return answer


def _usage(tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": tokens,
        "total_tokens": PROMPT_TOKENS + tokens,
    }


def _whole(id: str, tokens: int, reason: str) -> bytes:
    message = {"role": "assistant", "content": "42"}
    told = {
        "id": id,
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _usage(tokens),
    }
    return json.dumps(told).encode()


def _streamed(id: str, tokens: int, reason: str) -> list[bytes]:
    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        told = {"id": id, "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return b"data: " + json.dumps({**told, "choices": choices, **more}).encode() + b"\n\n"

    def choice(delta: dict[str, str], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": finish}]

    return [
        event(choice({"role": "assistant", "content": ""})),
        *(event(choice({"content": "4"})) for _ in range(_PIECES)),
        event(choice({}, reason)),
        event([], usage=_usage(tokens)),
        b"data: [DONE]\n\n",
    ]


@asynccontextmanager
async def listening(handler: Any) -> AsyncIterator[str]:
    """The base URL at which a handler's chat completions are served."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler.chat)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class Gateway:
    """A running `farthing serve`."""

    url: str
    process: asyncio.subprocess.Process
    log: Path

    async def kill(self) -> None:
        """As `kill -9`."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """As SIGTERM; RuntimeError if it does not end well."""
        self.process.terminate()
        if code := await self.process.wait():
            raise RuntimeError(f"a gateway ended with code {code}: {self.log.read_text()}")

    def tell(self, line: str) -> None:
        """Tell its launcher something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())


async def start(
    folder: Path,
    config: str,
    *,
    name: str = "farthing",
    env: Mapping[str, str] | None = None,
    launcher: tuple[str, ...] = (),
    program: Sequence[str] = (),
) -> Gateway:
    """Start a gateway in `folder`, and return when it listens.

    Args:
        name: of its configuration and its log.
        env: what its environment has beyond ours.
        launcher: arguments of `_gateway.py`, by which it is started then.
        program: another one that takes the arguments of `farthing`, and its own.
    """
    (folder / f"{name}.toml").write_text(config, encoding="utf-8")
    command = [sys.executable, LAUNCHER, *launcher] if launcher else [FARTHING]
    if program:
        command = [sys.executable, *program]
    log = folder / f"{name}.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            "serve",
            "--config",
            f"{name}.toml",
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    try:
        said = (await asyncio.wait_for(process.stdout.readline(), _START_S)).decode()
        if not said.startswith("farthing serves "):
            raise RuntimeError(f"the gateway did not start: {log.read_text()}")
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    return Gateway(said.split()[2].removesuffix(";"), process, log)


async def set_budget(where: str, pico: int, *options: str) -> None:
    """Set a budget in the ledger at `where` by `farthing budgets set`; `pico` is the limit."""
    amount = f"{pico / PICO_PER_USD:.12f}"
    place = {"FARTHING_LEDGER_URL": where} if "://" in where else {}
    chosen = [] if place else ["--db", where]
    command = [FARTHING, "budgets", "set", "--limit", amount, *options, *chosen]
    environ = {**os.environ, **place}
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, env=environ)


def http() -> aiohttp.ClientSession:
    """A client without limits on connections and time."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))


async def drive(
    urls: Sequence[str],
    upstream: Upstream,
    limit: int,
    clients: int,
    pause_s: float,
    session: aiohttp.ClientSession,
) -> float:
    """Run clients until nothing is let through any more.

    Each asks one of `urls` without pause, or after `pause_s` when it was refused. Returns the
    share of `limit`, in picodollars, that was billed at the first refusal.
    """
    first: float | None = None

    async def client(url: str) -> None:
        nonlocal first
        idle = 0
        while idle < 3:
            async with session.post(f"{url}/chat/completions", json=ASK) as answer:
                body = await answer.read()
            if answer.status == 200:
                continue
            if answer.status != 429 or json.loads(body)["error"]["code"] != "budget_exceeded":
                raise RuntimeError(f"status {answer.status}: {body.decode()}")
            first = upstream.billed / limit if first is None else first
            idle = 0 if upstream.flying else idle + 1
            await asyncio.sleep(pause_s)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(urls[number % len(urls)]))
    return 1.0 if first is None else first


@contextmanager
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of pgserver's, with commits that are safe on disk."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of XDG_RUNTIME_DIR
        import pgserver

        with tempfile.TemporaryDirectory(prefix="farthing-") as folder:
            server = pgserver.get_server(folder, cleanup_mode="stop")
            try:
                yield server
            finally:
                server.cleanup()
