"""Several processes that serve one port, and the one that looks after them.

Each worker is a gateway of its own, which opens the port with SO_REUSEPORT; the kernel spreads
the connections. The parent serves nothing: it holds the port, starts again what ends by itself,
and passes signals on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import msgspec

from farthing.core.errors import FarthingError
from farthing.gateway.config import Config
from farthing.gateway.listening import held_port

logger = logging.getLogger("farthing.gateway")

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder in which workers count."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""Seconds before a worker that ended is started again: doubled each time, up to the longest."""
HEALTHY_S = 60.0
"""A worker that has lived so long is started again as if it had never failed."""


class WorkerError(FarthingError):
    """The first worker could not begin; it has said why."""


def for_worker(config: Config, number: int) -> Config:
    """The configuration of worker `number`, which has a journal of its own."""
    ledger = config.ledger
    changed = msgspec.structs.replace(ledger, spool=f"{ledger.spool}.{number}")
    return msgspec.structs.replace(config, ledger=changed)


def left_behind(config: Config, count: int) -> list[Path]:
    """Journals that none of `count` workers writes, and that are not empty; 0 is no worker."""
    spool = config.file(config.ledger.spool)
    own = {f"{spool.name}.{number}" for number in range(1, count + 1)} if count else {spool.name}
    found = [path for path in spool.parent.glob(f"{spool.name}*") if path.name not in own]
    return sorted(
        path
        for path in found
        if path.stat().st_size and (path.name == spool.name or path.suffix[1:].isdecimal())
    )


def supervise(
    config: Config, arguments: Sequence[str], count: int, announce: Callable[[str], None]
) -> None:
    """Run `count` workers until SIGTERM or SIGINT; `announce` gets a line once all are ready.

    Args:
        arguments: those of `farthing` for a worker, without `--port` and `--worker`.

    Raises ConfigError if the port cannot be had, WorkerError if the first worker cannot begin.
    """
    with held_port(config) as held, tempfile.TemporaryDirectory(prefix="farthing-") as folder:
        port = held.getsockname()[1]
        pool = _Pool([*arguments, "--port", str(port)], count, folder)
        asyncio.run(pool.run(announce))


@dataclass(slots=True)
class _Worker:
    number: int
    process: asyncio.subprocess.Process | None = None
    wait_s: float = FIRST_WAIT_S
    is_ready: bool = False
    hung_up: bool = False


class _Pool:
    def __init__(self, arguments: Sequence[str], count: int, folder: str) -> None:
        self._arguments, self._folder = arguments, folder
        self._workers = [_Worker(number) for number in range(1, count + 1)]
        self._stopping = asyncio.Event()

    async def run(self, announce: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        first, *others = self._workers
        line = await self._begin(first)  # it makes the ledger, and says what is wrong
        if line is None:
            await self._end(first)
            if not self._stopping.is_set():
                raise WorkerError("no worker can begin; see above")
            return
        lines = await asyncio.gather(*(self._begin(worker) for worker in others))
        if all(lines) and not self._stopping.is_set():
            announce(f"{line}; {len(self._workers)} workers")
        await asyncio.gather(*(self._look_after(worker) for worker in self._workers))

    def _stop(self) -> None:
        self._stopping.set()
        self._tell(signal.SIGTERM)

    def _hang_up(self) -> None:
        """Have all workers reload; one that only begins, when it can."""
        for worker in self._workers:
            worker.hung_up = not worker.is_ready
        self._tell(signal.SIGHUP)

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process is None or worker.process.returncode is not None:
                continue
            if worker.is_ready or number != signal.SIGHUP:
                with suppress(ProcessLookupError):
                    worker.process.send_signal(number)

    async def _begin(self, worker: _Worker) -> str | None:
        """Start a worker; returns what it says when it is ready, None if it ends instead."""
        worker.process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "farthing", *self._arguments, "--worker", str(worker.number)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {FOLDER: self._folder},
            start_new_session=True,
        )
        if self._stopping.is_set():
            self._tell(signal.SIGTERM)
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode().strip()
        worker.is_ready = bool(line)
        if worker.hung_up and worker.is_ready:
            worker.hung_up = False
            process.send_signal(signal.SIGHUP)
        return line or None

    async def _end(self, worker: _Worker) -> int:
        assert worker.process is not None
        status = await worker.process.wait()
        worker.is_ready = False
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.process.pid, self._folder)  # type: ignore[no-untyped-call]
        return status

    async def _look_after(self, worker: _Worker) -> None:
        """Start a worker again whenever it ends, until it is told to."""
        while True:
            began = monotonic()
            status = await self._end(worker)
            if self._stopping.is_set():
                return
            if monotonic() - began >= HEALTHY_S:
                worker.wait_s = FIRST_WAIT_S
            how = f"signal {-status}" if status < 0 else f"status {status}"
            logger.error(
                "worker %d ended with %s; it is started again in %g s",
                *(worker.number, how, worker.wait_s),
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(worker.wait_s):
                    await self._stopping.wait()
                    return
            worker.wait_s = min(2 * worker.wait_s, LONGEST_WAIT_S)
            await self._begin(worker)
