"""Admission rules under concurrency, over HTTP: does the budget hold, and do the books agree?

Clients keep a number of requests in flight: whenever one is answered, the next is sent; a refused
client tries again a little later, until nothing is in flight. The upstream, on loopback, draws
outputs from a log-normal distribution with a mean of 400 tokens at $10 a million, takes 0.3 s and
20 ms a token, all divided by a speed, and keeps its own exact account of what it bills. The speed
is chosen so that about `--rate` requests end each second.

Rules: check-then-charge is a small proxy that looks only at what was billed so far; worst case and
joint are `farthing serve`, started on an empty ledger, with a budget made by `farthing budgets
set`. Booked is what the ledger has as the cost of all attempts.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from _common import environment, markdown
from aiohttp import web
from rich.console import Console
from rich.progress import track

from farthing.core.money import PICO_PER_USD, Rates

FARTHING = str(Path(sys.executable).with_name("farthing"))
MEAN_TOKENS = 400
MAX_TOKENS = 4096
PROMPT_TOKENS = 12
MEAN_S = 8.3
RATES = Rates.per_million("1", "10")
CONFIG = """\
[gateway]
port = 0
[models.m]
kind = "http"
base_url = "{url}"
price = {{ input = "1", output = "10" }}
"""


@dataclass(frozen=True)
class Load:
    """What one run is given: `limit` in picodollars, times divided by `speed`."""

    in_flight: int
    limit: int
    speed: float
    sigma: float = 0.8


@dataclass(frozen=True)
class Outcome:
    """Shares of the budget, and picodollars.

    Attributes:
        final, first: billed over budget in the end, and at the first refusal.
        billed: by the upstream.
        booked: in the ledger; None where there is none.
        unknown: attempts in the ledger without a cost.
        in_flight: the most that was in flight at once.
    """

    final: float
    first: float
    billed: int
    booked: int | None
    unknown: int
    in_flight: int


class Upstream:
    """Answers chat completions, and knows what it billed."""

    def __init__(self, load: Load, seed: int) -> None:
        self._load = load
        self._rng = np.random.default_rng(seed)
        self._mu = math.log(MEAN_TOKENS) - load.sigma**2 / 2
        self.billed = self.flying = self.most_flying = 0

    async def chat(self, request: web.Request) -> web.Response:
        """Answer after the time that the answer's length takes."""
        asked = await request.json()
        drawn = round(math.exp(self._rng.normal(self._mu, self._load.sigma)))
        tokens = min(max(1, drawn), asked["max_tokens"])
        cost = PROMPT_TOKENS * RATES.input + tokens * RATES.output
        self.flying += cost
        self.most_flying = max(self.most_flying, self.flying)
        await asyncio.sleep((0.3 + 0.02 * tokens) / self._load.speed)
        self.flying -= cost
        self.billed += cost
        return web.json_response(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": asked["model"],
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "42"},
                        "finish_reason": "length" if tokens == asked["max_tokens"] else "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": PROMPT_TOKENS,
                    "completion_tokens": tokens,
                    "total_tokens": PROMPT_TOKENS + tokens,
                },
            }
        )


class CheckThenCharge:
    """A proxy that lets a request through while less than the budget was charged."""

    def __init__(self, limit: int, url: str, http: aiohttp.ClientSession) -> None:
        self._limit, self._url, self._http = limit, url, http
        self._spent = 0

    async def chat(self, request: web.Request) -> web.Response:
        """Look, forward, charge."""
        if self._spent >= self._limit:
            return web.json_response({"error": {"code": "budget_exceeded"}}, status=429)
        async with self._http.post(
            f"{self._url}/chat/completions", data=await request.read()
        ) as answer:
            body = await answer.read()
        usage = json.loads(body)["usage"]
        self._spent += usage["prompt_tokens"] * RATES.input
        self._spent += usage["completion_tokens"] * RATES.output
        return web.Response(body=body, content_type="application/json")


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


@asynccontextmanager
async def gateway(folder: Path, url: str, limit: int, mode: str) -> AsyncIterator[str]:
    """The base URL of a gateway on an empty ledger with one budget; stopped in the end."""
    (folder / "farthing.toml").write_text(CONFIG.format(url=url), encoding="utf-8")
    amount = f"{limit / PICO_PER_USD:.12f}"
    command = [FARTHING, "budgets", "set", "--name", "b", "--limit", amount, "--mode", mode]
    await asyncio.to_thread(subprocess.run, command, cwd=folder, check=True, capture_output=True)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            FARTHING, "serve", cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            assert process.stdout is not None
            said = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
            if not said.startswith("farthing serves "):
                raise RuntimeError(f"the gateway did not start: {(folder / 'log').read_text()}")
            yield said.split()[2].removesuffix(";")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def drive(url: str, upstream: Upstream, load: Load, http: aiohttp.ClientSession) -> float:
    """Run the clients; the share of the budget that was billed at the first refusal."""
    first: float | None = None
    open_now = 0
    ask = {
        "model": "m",
        "messages": [{"role": "user", "content": "2 + 3?"}],
        "max_tokens": MAX_TOKENS,
    }

    async def client() -> None:
        nonlocal first, open_now
        idle = 0
        while idle < 3:
            open_now += 1
            async with http.post(f"{url}/chat/completions", json=ask) as answer:
                body = await answer.read()
            open_now -= 1
            if answer.status == 200:
                continue
            if answer.status != 429 or json.loads(body)["error"]["code"] != "budget_exceeded":
                raise RuntimeError(f"status {answer.status}: {body.decode()}")
            first = upstream.billed / load.limit if first is None else first
            idle = 0 if upstream.flying else idle + 1
            await asyncio.sleep(1 / load.speed)

    async with asyncio.TaskGroup() as clients:
        for _ in range(load.in_flight):
            clients.create_task(client())
    return 1.0 if first is None else first


def booked(ledger: Path) -> tuple[int, int]:
    """What the ledger has as the cost of all attempts, and how many have none."""
    with closing(sqlite3.connect(ledger)) as connection:
        rows = connection.execute("SELECT cost_pico FROM attempts").fetchall()
    return sum(cost or 0 for (cost,) in rows), sum(cost is None for (cost,) in rows)


async def run(rule: str, load: Load, seed: int) -> Outcome:
    """One run, from an empty ledger to the last answer."""
    upstream = Upstream(load, seed)
    found: tuple[int | None, int] = None, 0
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
            listening(upstream) as url,
        ):
            if rule == "check-then-charge":
                async with listening(CheckThenCharge(load.limit, url, http)) as proxy:
                    first = await drive(proxy, upstream, load, http)
            else:
                mode = "worst-case" if rule == "worst case" else "quantile"
                async with gateway(folder, url, load.limit, mode) as served:
                    first = await drive(served, upstream, load, http)
                found = booked(folder / "farthing.db")
    final = upstream.billed / load.limit
    return Outcome(final, first, upstream.billed, *found, upstream.most_flying)


RULES = ("check-then-charge", "worst case", "joint (Farthing)")


def difference(outcomes: list[Outcome]) -> str:
    """Of the books to the upstream's account, in USD, over all runs."""
    if any(x.booked is None for x in outcomes):
        return "no ledger"
    off = sum(abs(x.billed - (x.booked or 0)) for x in outcomes) / PICO_PER_USD
    unknown = sum(x.unknown for x in outcomes)
    return f"{off:g}" + (f", {unknown} unknown" if unknown else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", default="1,10", help="USD")
    parser.add_argument("--in-flight", default="64,256")
    parser.add_argument("--rate", type=float, default=150, help="requests a second, about")
    parser.add_argument("--sigma", type=float, default=0.8, help="of the log of the tokens")
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    loads = [
        Load(count, round(limit * PICO_PER_USD), given.rate * MEAN_S / count, given.sigma)
        for count in map(int, given.in_flight.split(","))
        for limit in map(float, given.budgets.split(","))
    ]
    rows = []
    cases = list(itertools.product(loads, given.rules.split(",")))
    for load, rule in track(cases, "running", console=Console(file=sys.stderr)):
        outcomes = [asyncio.run(run(rule, load, seed)) for seed in range(given.seeds)]
        over = [max(0.0, x.final - 1) for x in outcomes]
        most = statistics.mean(x.in_flight for x in outcomes)
        rows.append(
            [
                f"{load.in_flight}",
                f"${load.limit / PICO_PER_USD:g}",
                rule,
                f"{statistics.mean(x.final for x in outcomes):.3f}",
                f"{max(x.final for x in outcomes):.3f}",
                f"{100 * statistics.mean(over):.2f} %",
                f"{100 * statistics.mean(x.first for x in outcomes):.1f} %",
                f"{100 * min(x.first for x in outcomes):.1f} %",
                f"{load.limit / most:.1f}",
                difference(outcomes),
            ]
        )
        print(" | ".join(rows[-1]), file=sys.stderr)
    columns = [
        "in flight",
        "budget",
        "rule",
        "final / budget, mean",
        "worst",
        "mean overshoot",
        "used at first refusal, mean",
        "least",
        "budget / in-flight cost",
        "ledger less upstream, USD",
    ]
    table = markdown(columns, rows)
    print(f"{environment()}\n{given.seeds} seeds, sigma {given.sigma}\n\n{table}")
    if given.out:
        given.out.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
