"""What it costs to watch a request: microseconds of counting, logging and tracing.

    python benchmarks/watching.py [--operations 20000]

Each operation is one plain call. Workers are what `--workers` starts: they count in shared files.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from time import process_time

from farthing.core.money import Cost
from farthing.core.usage import Usage
from farthing.gateway.logs import JsonFormatter, OperationLog, operations
from farthing.gateway.metrics import Metrics
from farthing.gateway.watching import WatchedLedger, Watcher
from farthing.gateway.workers import FOLDER
from farthing.ledger import MemoryLedger
from farthing.ledger.rows import AttemptRow, OperationRow, OutcomeRow, new_id


class Forgetful(MemoryLedger):
    """Keeps nothing, so that only the watching is timed."""

    def begin(self, row: OperationRow) -> None: ...
    def attempt(self, row: AttemptRow) -> None: ...
    async def finish(self, row: OutcomeRow) -> None: ...


async def measure(watchers: list[Watcher] | None, count: int) -> float:
    """Microseconds of CPU an operation."""
    store = Forgetful()
    ledger = store if watchers is None else WatchedLedger(store, watchers)
    now, usage = datetime.now(UTC), Usage(11, 4, 0, 5)
    rows = []
    for _ in range(count):
        id = new_id()
        rows.append(
            (
                OperationRow(id, now, "q", requested="gpt"),
                AttemptRow(
                    *(f"{id}.0", id, 0, "single", "gpt", now, "ok"),
                    usage=usage,
                    cost=Cost(61_000_000),
                    latency_s=0.001,
                ),
                OutcomeRow(id, now, "ok", answered_by="gpt"),
            )
        )
    began = process_time()
    for operation, attempt, outcome in rows:
        ledger.begin(operation)
        ledger.attempt(attempt)
        await ledger.finish(outcome)
    return (process_time() - began) / count * 1e6


def traces() -> Watcher:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from farthing.gateway.traces import Traces

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    return Traces(provider, lambda name: "openai")


async def table(count: int) -> None:
    """Print what each way of watching costs."""
    handler = logging.FileHandler(os.devnull)
    operations.addHandler(handler)
    operations.propagate = False
    operations.setLevel(logging.INFO)
    base = await measure(None, count)
    metrics = Metrics()
    for name, watchers in (
        ("watched by nobody", []),
        ("metrics", [metrics]),
        ("log, text", [OperationLog()]),
        ("log, json", [OperationLog()]),
        ("traces, all sampled", [traces()]),
    ):
        handler.setFormatter(JsonFormatter() if "json" in name else None)
        print(f"  {name:22} {await measure(watchers, count) - base:7.1f} us an operation")
    began = process_time()
    for _ in range(20):
        metrics.text()
    print(f"  {'GET /metrics':22} {(process_time() - began) / 20 * 1e3:7.2f} ms a page")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--operations", type=int, default=20_000)
    count = parser.parse_args().operations
    shared = os.environ.get(FOLDER)
    print("one of several workers" if shared else f"one process, {count} operations")
    asyncio.run(table(count))
    if not shared:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--operations", str(count)]
            sys.stdout.flush()
            subprocess.run(command, env=os.environ | {FOLDER: folder}, check=True)


if __name__ == "__main__":
    main()
