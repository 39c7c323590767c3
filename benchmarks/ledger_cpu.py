"""What booking a request costs: CPU time of an operation with and without a ledger and a budget.

An operation here begins, is reserved for, calls a model that answers after `--latency` seconds
with one sample, is charged, and is finished when all of it is safe. Operations arrive at a steady
`--rate` whatever the others do, and then, in other rows, as fast as `--clients` in a row can.

CPU time is that of the process, kernel included: the event loop's thread and, beside it, the
thread that writes. `beside off` is how much an operation costs more than one without a ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import inspect
import pstats
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from _common import environment, markdown

from farthing.budgets import Operation
from farthing.budgets.admission import Admission
from farthing.budgets.limits import Budget
from farthing.budgets.reservations import Ask, Refusal
from farthing.core.money import Cost, Rates
from farthing.core.protocols import ModelCard
from farthing.core.request import Request
from farthing.core.response import Response, Sample
from farthing.core.usage import Usage
from farthing.cost import PriceBook
from farthing.ledger import ChargeRow, Ledger, MemoryLedger, ReservationRow, Store, new_id

RATES = Rates.per_million("0.15", "0.6")
TEXT = "The answer is 42, since six times seven is what was asked for. " * 4
GATEWAY = "benchmark"
MS = 1e3


class Model:
    """Answers after a while, always the same."""

    card = ModelCard("model", RATES, "benchmark")

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s

    async def complete(self, request: Request) -> Response:
        await asyncio.sleep(self.latency_s)
        return Response("model", (Sample(TEXT),), Usage(input=200, output=70), "exact")


@dataclass
class Bench:
    """Books operations; with `budget` they are admitted and charged."""

    ledger: Store | None
    latency_s: float
    budget: bool = False

    def __post_init__(self) -> None:
        self.models = {"model": Model(self.latency_s)}
        self.prices = PriceBook()
        self.request = Request.ask("What is six times seven?")
        self.admission = Admission([Budget("all", Cost.from_usd(10**6))]) if self.budget else None
        self.day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    async def one(self) -> None:
        id, reservation = new_id(), None
        if self.admission is not None:
            ask = Ask.of({"all"}, "model", input_tokens=200, max_tokens=None, calls=[(RATES, 1)])
            reservation = self.admission.admit(ask, id=id)
            assert not isinstance(reservation, Refusal)
        operation = Operation(
            self.models,
            prices=self.prices,
            ledger=self.ledger,
            reader=str.strip,
            reader_name="text",
            requested="model",
            question="question",
            prompt="What is six times seven?",
            id=id,
        )
        now = datetime.now(UTC)
        if reservation is not None and self.ledger is not None:
            held = reservation.reserved
            self.ledger.reserve(ReservationRow(id, "all", 1, held, now, GATEWAY))
        response = await operation.call("model", self.request, node="single")
        if reservation is not None and self.admission is not None:
            self.admission.settle(reservation, operation.spent)
            if self.ledger is not None:
                now, cost = datetime.now(UTC), operation.spent
                row = ChargeRow(id, "all", 1, cost, reservation.reserved, now, self.day, GATEWAY)
                self.ledger.charge(row)
        await operation.finish("ok", response)


@dataclass(frozen=True)
class Spent:
    """CPU milliseconds of an operation, in all and on the loop, and operations a second."""

    total: float
    loop: float
    rate: float


async def at_rate(bench: Bench, count: int, rate: float) -> None:
    """`count` operations, one every 1/`rate` seconds."""
    running: set[asyncio.Task[None]] = set()
    began = time.perf_counter()
    for number in range(count):
        wait = began + number / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(bench.one())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


async def in_flight(bench: Bench, count: int, clients: int) -> None:
    """`count` operations, `clients` at a time."""

    async def client() -> None:
        for _ in range(count // clients):
            await bench.one()

    await asyncio.gather(*(client() for _ in range(clients)))


async def measure(
    make: Callable[[], Any], budget: bool, drive: Callable[[Bench, int], Any], options: Any
) -> Spent:
    """Drive operations twice, to warm up and to measure."""
    async with make() as ledger:
        bench = Bench(ledger, options.latency, budget)
        await drive(bench, max(options.count // 10, options.clients))
        if ledger is not None:
            await ledger.flush()
        wall, cpu, loop = time.perf_counter(), time.process_time(), time.thread_time()
        await drive(bench, options.count)
        if ledger is not None:
            await ledger.flush()
        return Spent(
            (time.process_time() - cpu) / options.count * MS,
            (time.thread_time() - loop) / options.count * MS,
            options.count / (time.perf_counter() - wall),
        )


def ledgers(folder: Path) -> dict[str, tuple[Callable[[], Any], bool]]:
    """What is measured, by name: how to open the ledger, and whether there is a budget."""
    made = iter(range(10**6))

    def sqlite(**how: Any) -> Ledger:
        return Ledger.open(folder / f"{next(made)}.db", **how)

    class Memory(MemoryLedger):
        async def __aenter__(self) -> Memory:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

    found: dict[str, tuple[Callable[[], Any], bool]] = {
        "off": (nullcontext, False),
        "budget alone": (nullcontext, True),
        "rows, not written": (Memory, True),
        "SQLite": (sqlite, False),
        "SQLite and budget": (sqlite, True),
    }
    if "sync" in inspect.signature(Ledger.open).parameters:
        found["SQLite and budget, relaxed"] = (lambda: sqlite(sync="relaxed"), True)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000, help="operations for each row")
    parser.add_argument("--rate", type=float, default=500, help="operations a second")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.05, help="of the model, in seconds")
    parser.add_argument("--runs", type=int, default=3, help="each; the median is told")
    parser.add_argument("--folder", type=Path, help="where the ledgers are written")
    parser.add_argument("--profile", choices=("loop", "writer"), help="of one run, no table")
    options = parser.parse_args()
    drives: dict[str, Callable[[Bench, int], Any]] = {
        f"{options.rate:g}/s": lambda bench, count: at_rate(bench, count, options.rate),
        f"{options.clients} in a row": lambda b, n: in_flight(b, n, options.clients),
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        kinds = ledgers(Path(folder))
        if options.profile:
            profile(kinds, next(iter(drives.values())), options)
            return
        print(environment())
        table = []
        for load, drive in drives.items():
            off = None
            for name, (make, budget) in kinds.items():
                spent = [
                    uvloop.run(measure(make, budget, drive, options)) for _ in range(options.runs)
                ]
                middle = sorted(spent, key=lambda one: one.total)[len(spent) // 2]
                off = middle.total if off is None else off
                told = (middle.total, middle.loop, middle.total - middle.loop, middle.total - off)
                table.append([load, name, *(f"{ms:.3f}" for ms in told), f"{middle.rate:.0f}"])
    columns = ["load", "ledger", "CPU ms", "loop", "writer", "beside off", "operations/s"]
    print(markdown(columns, table))


def profile(kinds: dict[str, Any], drive: Callable[[Bench, int], Any], options: Any) -> None:
    """Where one thread spends its time, SQLite and budget on."""
    make, budget = kinds["SQLite and budget"]
    profiler = cProfile.Profile(time.thread_time)
    if options.profile == "writer":
        run = threading.Thread.run

        def profiled(thread: threading.Thread) -> None:
            profiler.runcall(run, thread) if "ledger" in thread.name else run(thread)

        threading.Thread.run = profiled  # type: ignore[method-assign]
    else:
        profiler.enable()
    uvloop.run(measure(make, budget, drive, options))
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
