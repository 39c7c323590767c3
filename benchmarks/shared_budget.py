"""A budget that two gateways share on PostgreSQL: does it hold, and what does sharing cost?

First over HTTP: clients ask two `farthing serve` on one database until nothing is let through any
more, beside one gateway, and two that each have a database, and so a budget, of their own. The
upstream is that of `admission_live.py`, with an exact account.

Then admission alone, in two processes without HTTP: the book of budgets, which spends from leases,
beside two ways of reserving in the budget's row. `lock, sum, insert` is SELECT ... FOR UPDATE of
the row, the sum of the holds, the insertion of one more, and a commit; `one statement` keeps
the sum in the row too, and updates it only if the hold fits. A request is admitted, takes 50 ms and
is settled, safely on disk, at a hold that is always the same; whoever is refused tries again after
10 ms. With the book, the operation and its outcome are booked too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from _common import environment, markdown
from _live import MEAN_S, MODEL, Upstream, drive, http, listening, postgres, set_budget, start
from rich.console import Console
from rich.progress import track

from farthing.core.money import PICO_PER_USD
from farthing.ledger.engines import engine_for

CASES = ("one gateway", "two gateways, shared", "two gateways, not shared")
KINDS = ("leases (Farthing)", "lock, sum, insert", "one statement")
HOLD = 10**9
COST = 10**6
LASTS_S, AGAIN_S = 0.05, 0.01
PAUSE_S = 0.5  # of a refused client over HTTP
CONNECTIONS = 10
FEW = 50  # holds that fit where little is left


@dataclass(frozen=True)
class Spent:
    """One run: shares of the budget, and the ledger beside the upstream's account.

    Attributes:
        final, first: billed over budget in the end, and at the first refusal.
        off: what the ledger has less what the upstream billed, in picodollars.
        unknown: attempts without a cost.
        in_flight: the budget over the most that was in flight.
    """

    final: float
    first: float
    off: int
    unknown: int
    in_flight: float


async def spend(
    case: str, limit: int, clients: int, speed: float, seed: int, server: Any, folder: Path
) -> Spent:
    """One run on empty databases."""
    upstream = Upstream(seed, speed=speed)
    shared = case != "two gateways, not shared"
    names = ["one"] if shared else ["one", "two"]
    places = []
    for name in names:
        server.psql(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name};")
        places.append(server.get_uri(database=name))
        await set_budget(places[-1], limit, "--name", "b")
    used = places if not shared else places * (1 if case == "one gateway" else 2)
    async with listening(upstream) as url, http() as session:
        config = MODEL.format(url=url) + '[ledger]\nurl_env = "LEDGER"\n'
        gateways = [
            await start(folder, config, name=f"g{n}", env={"LEDGER": where})
            for n, where in enumerate(used)
        ]
        try:
            urls = [gateway.url for gateway in gateways]
            first = await drive(urls, upstream, limit, clients, PAUSE_S, session)
        finally:
            for gateway in gateways:
                await gateway.stop()
    costs = [cost for where in places for cost in booked(where)]
    off = sum(cost or 0 for cost in costs) - upstream.billed
    unknown = sum(cost is None for cost in costs)
    return Spent(upstream.billed / limit, first, off, unknown, limit / upstream.most_flying)


def booked(where: str) -> list[int | None]:
    """What each attempt in a ledger cost."""
    engine = engine_for(where, "read")
    try:
        with engine.begin() as connection:
            return list(connection.exec_driver_sql("SELECT cost_pico FROM attempts").scalars())
    finally:
        engine.dispose()


Request = Callable[[], Awaitable[tuple[bool, float]]]


@asynccontextmanager
async def leases(where: str) -> Any:
    """Requests that the book of budgets admits."""
    from farthing.budgets.book import BudgetBook
    from farthing.budgets.reservations import Ask, Refusal
    from farthing.core.money import Cost
    from farthing.ledger import AttemptRow, Ledger, OperationRow, OutcomeRow, new_id

    ledger = Ledger.open(where)
    book = BudgetBook(where, ledger)
    asked = Ask(frozenset({"all"}), "m", Cost(HOLD), Cost(HOLD))

    async def request() -> tuple[bool, float]:
        id, began = new_id(), perf_counter()
        await book.has_limits()
        answered = await book.admit(asked, id=id)
        seconds = perf_counter() - began
        if isinstance(answered, Refusal):
            return False, seconds
        now = datetime.now(UTC)
        ledger.begin(OperationRow(id, now, "q", gateway=book.gateway))
        book.admission.book(answered)
        await asyncio.sleep(LASTS_S)
        ledger.attempt(AttemptRow(f"{id}.0", id, 0, "n", "m", now, "ok", cost=Cost(COST)))
        await ledger.finish(OutcomeRow(id, now, "ok"))
        book.settle(answered, Cost(COST))
        return True, seconds

    yield request
    await book.aclose()
    await ledger.close()


_TABLES = """
CREATE TABLE row_budgets (name text PRIMARY KEY, most bigint, spent bigint, held bigint);
CREATE TABLE row_holds (id bigserial PRIMARY KEY, budget text NOT NULL, pico bigint NOT NULL);
CREATE INDEX row_holds_budget ON row_holds (budget);
"""
_FITS = """
WITH fits AS (UPDATE row_budgets SET held = held + %(hold)s
              WHERE name = 'b' AND spent + held + %(hold)s <= most RETURNING name)
INSERT INTO row_holds (budget, pico) SELECT name, %(hold)s FROM fits RETURNING id
"""
_SETTLED = """
WITH held AS (DELETE FROM row_holds WHERE id = %(id)s RETURNING pico)
UPDATE row_budgets SET spent = spent + %(cost)s, held = row_budgets.held - held.pico
FROM held WHERE name = 'b'
"""


@asynccontextmanager
async def rows(where: str, *, summed: bool) -> Any:
    """Requests that reserve in the budget's row; `summed` is `lock, sum, insert`."""
    import psycopg

    pool: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            connection = await psycopg.AsyncConnection.connect(where, autocommit=True)
            pool.put_nowait(await stack.enter_async_context(connection))

        async def reserve(connection: psycopg.AsyncConnection[Any]) -> int | None:
            if not summed:
                done = await connection.execute(_FITS, {"hold": HOLD})
                found = await done.fetchone()
                return None if found is None else found[0]
            async with connection.transaction():
                done = await connection.execute(
                    "SELECT most - spent FROM row_budgets WHERE name = 'b' FOR UPDATE"
                )
                left = (await done.fetchone())[0]  # type: ignore[index]
                done = await connection.execute(
                    "SELECT coalesce(sum(pico), 0) FROM row_holds WHERE budget = 'b'"
                )
                if int((await done.fetchone())[0]) + HOLD > left:  # type: ignore[index]
                    return None
                done = await connection.execute(
                    "INSERT INTO row_holds (budget, pico) VALUES ('b', %s) RETURNING id", [HOLD]
                )
                return (await done.fetchone())[0]  # type: ignore[index]

        async def pooled(work: Callable[[Any], Awaitable[Any]]) -> Any:
            connection = await pool.get()
            try:
                return await work(connection)
            finally:
                pool.put_nowait(connection)

        async def request() -> tuple[bool, float]:
            began = perf_counter()
            id = await pooled(reserve)
            seconds = perf_counter() - began
            if id is None:
                return False, seconds
            await asyncio.sleep(LASTS_S)
            values = {"id": id, "cost": COST}
            await pooled(lambda connection: connection.execute(_SETTLED, values))
            return True, seconds

        yield request


async def work(kind: str, where: str, clients: int, seconds: float) -> dict[str, Any]:
    """What one process measures: begin on a line from standard input, after a warm-up."""
    opened = leases(where) if kind == KINDS[0] else rows(where, summed=kind == KINDS[1])
    async with opened as request:
        await request()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        until = perf_counter() + seconds
        waits: list[float] = []
        admitted = 0

        async def client() -> None:
            nonlocal admitted
            while perf_counter() < until:
                let, waited = await request()
                waits.append(waited)
                admitted += let
                if not let:
                    await asyncio.sleep(AGAIN_S)

        await asyncio.gather(*(client() for _ in range(clients)))
        return {"admitted": admitted, "waits": waits}


@dataclass(frozen=True)
class Speed:
    """What two processes did together; milliseconds are those of an admission or refusal."""

    kind: str
    left: str
    admitted_per_s: float
    refused_per_s: float
    p50_ms: float
    p99_ms: float


async def measure(kind: str, fits: int, clients: int, seconds: float, server: Any) -> Speed:
    """Two processes, half of the clients each; `fits` holds fit into the budget."""
    server.psql("DROP DATABASE IF EXISTS three; CREATE DATABASE three;")
    where = server.get_uri(database="three")
    if kind == KINDS[0]:
        await set_budget(where, fits * HOLD, "--name", "b", "--mode", "worst-case")
    else:
        import psycopg

        async with await psycopg.AsyncConnection.connect(where, autocommit=True) as connection:
            await connection.execute(_TABLES)
            values = [fits * HOLD]
            await connection.execute("INSERT INTO row_budgets VALUES ('b', %s, 0, 0)", values)
    command = (sys.executable, __file__, "--work", kind, where, str(clients // 2), str(seconds))
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    workers = [await asyncio.create_subprocess_exec(*command, **pipes) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        await asyncio.wait_for(worker.stdout.readline(), 60)
    told = await asyncio.gather(*(worker.communicate(b"\n") for worker in workers))
    found = [json.loads(out) for out, _ in told]
    waits = np.array([wait for one in found for wait in one["waits"]])
    admitted = sum(one["admitted"] for one in found)
    p50, p99 = np.quantile(waits, [0.5, 0.99]) * 1000
    left = f"{fits} holds" if fits == FEW else "plenty"
    refused = len(waits) - admitted
    return Speed(kind, left, admitted / seconds, refused / seconds, float(p50), float(p99))


def spending(given: argparse.Namespace, server: Any, folder: Path) -> list[dict[str, Any]]:
    """The runs over HTTP."""
    speed = given.rate * MEAN_S / given.clients
    limits = [float(text) for text in given.budgets.split(",")]
    cases = [(limit, case) for limit in limits for case in given.cases.split("|")]
    found = []
    for limit, case in track(cases, "spending", console=Console(file=sys.stderr)):
        pico = round(limit * PICO_PER_USD)
        runs = [
            asyncio.run(spend(case, pico, given.clients, speed, seed, server, folder))
            for seed in range(given.seeds)
        ]
        found.append({"budget": limit, "case": case, "runs": [asdict(one) for one in runs]})
        print(found[-1], file=sys.stderr)
    return found


def spending_rows(found: list[dict[str, Any]]) -> list[list[str]]:
    table = []
    for one in found:
        runs = [Spent(**values) for values in one["runs"]]
        off = sum(abs(run.off) for run in runs) / PICO_PER_USD
        unknown = sum(run.unknown for run in runs)
        over = [max(0.0, run.final - 1) for run in runs]
        table.append(
            [
                f"${one['budget']:g}",
                one["case"],
                f"{statistics.mean(run.final for run in runs):.3f}",
                f"{max(run.final for run in runs):.3f}",
                f"{100 * statistics.mean(over):.2f} %",
                f"{100 * statistics.mean(run.first for run in runs):.1f} %",
                f"{100 * min(run.first for run in runs):.1f} %",
                f"{statistics.mean(run.in_flight for run in runs):.1f}",
                f"{off:g}" + (f", {unknown} unknown" if unknown else ""),
            ]
        )
    return table


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        kind, where, clients, seconds = sys.argv[2:]
        print(json.dumps(asyncio.run(work(kind, where, int(clients), float(seconds)))))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budgets", default="1,10", help="USD; none for admission alone")
    parser.add_argument("--cases", default="|".join(CASES), help="with | between them")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=120, help="requests a second, about")
    parser.add_argument("--seconds", type=float, default=8, help="of admission; 0 for none")
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    speeds: list[Speed] = []
    with postgres() as server, tempfile.TemporaryDirectory(prefix="farthing-") as folder:
        if given.budgets != "none":
            found = spending(given, server, Path(folder))
        for fits in (10**6, FEW) if given.seconds else ():
            for kind in KINDS:
                run = measure(kind, fits, given.clients, given.seconds, server)
                speeds.append(asyncio.run(run))
                print(speeds[-1], file=sys.stderr)
    if given.json:
        print(json.dumps({"spending": found, "admission": [asdict(one) for one in speeds]}))
        return
    columns = ["budget", "case", "final / budget, mean", "worst", "mean overshoot"]
    columns += ["used at first refusal, mean", "least", "budget / in-flight cost"]
    columns += ["ledger less upstream, USD"]
    print(f"{environment()}\n{given.seeds} seeds, {given.clients} clients\n")
    print(markdown(columns, spending_rows(found)))
    columns = ["reserving", "left of the budget", "admitted / s", "refused / s", "p50 ms", "p99 ms"]
    cells = [
        [
            one.kind,
            one.left,
            f"{one.admitted_per_s:.0f}",
            f"{one.refused_per_s:.0f}",
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
        ]
        for one in speeds
    ]
    print(f"\n{markdown(columns, cells)}")


if __name__ == "__main__":
    main()
