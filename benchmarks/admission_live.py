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
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from _common import environment, markdown
from _live import MEAN_S, MODEL, RATES, Upstream, drive, http, listening, set_budget, start
from aiohttp import web
from rich.console import Console
from rich.progress import track

from farthing.core.money import PICO_PER_USD


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
async def gateway(folder: Path, url: str, limit: int, mode: str) -> AsyncIterator[str]:
    """The base URL of a gateway on an empty ledger with one budget; stopped in the end."""
    await set_budget(str(folder / "farthing.db"), limit, "--name", "b", "--mode", mode)
    served = await start(folder, MODEL.format(url=url))
    try:
        yield served.url
    finally:
        await served.stop()


def booked(ledger: Path) -> tuple[int, int]:
    """What the ledger has as the cost of all attempts, and how many have none."""
    with closing(sqlite3.connect(ledger)) as connection:
        rows = connection.execute("SELECT cost_pico FROM attempts").fetchall()
    return sum(cost or 0 for (cost,) in rows), sum(cost is None for (cost,) in rows)


async def run(rule: str, load: Load, seed: int) -> Outcome:
    """One run, from an empty ledger to the last answer."""
    upstream = Upstream(seed, speed=load.speed, sigma=load.sigma)
    found: tuple[int | None, int] = None, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            http() as session,
            listening(upstream) as url,
        ):
            if rule == "check-then-charge":
                async with listening(CheckThenCharge(load.limit, url, session)) as proxy:
                    first = await drive(
                        [proxy], upstream, load.limit, load.in_flight, 1 / load.speed, session
                    )
            else:
                mode = "worst-case" if rule == "worst case" else "quantile"
                async with gateway(folder, url, load.limit, mode) as served:
                    first = await drive(
                        [served], upstream, load.limit, load.in_flight, 1 / load.speed, session
                    )
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
