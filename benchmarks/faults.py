"""What is lost, booked twice or booked wrongly when things go wrong.

Each run starts from real gateways under load, does one thing to them at a random moment, and lets
them go on. In the end the ledger is compared, call by call, with what clients were told and with
the account of the upstream, which gives each answer an identifier of its own. Gateways run under
`_gateway.py`, which has them show every 0.2 s that they live, and taken for dead after 1.5 s
without a sign (instead of 1 and 10), and can set the clock that they see.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from _common import environment, markdown
from _live import MODEL, Gateway, Upstream, http, listening, postgres, set_budget, start
from rich.console import Console
from rich.progress import Progress

from farthing.core.money import PICO_PER_USD
from farthing.ledger.engines import engine_for

CLIENTS = 16
SPEED = 60.0
RENEW_S, DEAD_AFTER_S = 0.2, 1.5
_DISK = 32 * 2**20
_PATIENCE_S = 60.0


@dataclass
class Told:
    """What clients did, and were told: by question, the identifier of each complete answer."""

    requests: int = 0
    complete: dict[str, str] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)


@dataclass
class Lab:
    """One ledger, an upstream, and gateways between it and clients.

    Attributes:
        where: the ledger, a path or URL.
        mode: what gateways do while it cannot be written.
        spool: folder of the journals.
    """

    folder: Path
    where: str
    url: str
    upstream: Upstream
    rng: random.Random
    mode: str = "refuse"
    spool: Path | None = None
    told: Told = field(default_factory=Told)
    started: list[Gateway] = field(default_factory=list)

    async def start(self, name: str = "a") -> Gateway:
        """A gateway; one that had the same name has left its journal to it."""
        ledger = 'url_env = "LEDGER"' if "://" in self.where else f'path = "{self.where}"'
        spool = (self.spool or self.folder) / f"{name}.spool"
        config = (
            f"{MODEL.format(url=self.url)}[ledger]\n{ledger}\n"
            f'on_ledger_failure = "{self.mode}"\nspool = "{spool}"\n'
        )
        times = (str(RENEW_S), str(DEAD_AFTER_S))
        found = await start(
            self.folder, config, name=name, env={"LEDGER": self.where}, launcher=times
        )
        self.started.append(found)
        return found

    @asynccontextmanager
    async def load(self, *gateways: Gateway) -> AsyncIterator[None]:
        """Clients that ask without pause, plain or streamed, until the block ends."""
        over = asyncio.Event()

        async def client(number: int) -> None:
            url = gateways[number % len(gateways)].url
            while not over.is_set():
                if not await self.ask(session, url, stream=self.rng.random() < 0.5):
                    await asyncio.sleep(0.02)

        async with http() as session, asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(client(number))
            try:
                yield
            finally:
                over.set()

    def question(self) -> str:
        """A text that no other request has."""
        self.told.requests += 1
        return f"request {self.told.requests}"

    async def ask(self, session: aiohttp.ClientSession, url: str, *, stream: bool) -> bool:
        """Ask once; whether a complete answer came."""
        question = self.question()
        try:
            async with session.post(f"{url}/chat/completions", json=_body(question, stream)) as got:
                body = await got.read()
        except (aiohttp.ClientError, OSError) as error:
            self.told.statuses[type(error).__name__] += 1
            return False
        self.told.statuses[str(got.status)] += 1
        id = _complete(body, stream) if got.status == 200 else None
        if id is not None:
            self.told.complete[question] = id
        return id is not None

    async def until_well(self, *gateways: Gateway) -> None:
        """Return when each books again and has answered a request."""
        until = time.monotonic() + _PATIENCE_S
        async with http() as session:
            for gateway in gateways:
                while True:
                    url = gateway.url.removesuffix("/v1") + "/healthz"
                    async with session.get(url) as got:
                        state = (await got.json())["ledger"]
                    if state == "ok" and await self.ask(session, gateway.url, stream=False):
                        break
                    if time.monotonic() > until:
                        raise RuntimeError(f"{state} for long: {gateway.log.read_text()[-4000:]}")
                    await asyncio.sleep(0.02)

    async def end(self, *gateways: Gateway) -> None:
        """Stop gateways, and let another one recover what those that were killed have left."""
        for gateway in gateways:
            await gateway.stop()
        last = await self.start("last")
        await self.until_well(last)
        until = time.monotonic() + _PATIENCE_S
        while self.rows("SELECT count(*) FROM gateways WHERE ended_at IS NULL")[0][0] > 1:
            if time.monotonic() > until:
                raise RuntimeError(f"nothing is recovered: {last.log.read_text()[-4000:]}")
            await asyncio.sleep(0.1)
        await last.stop()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What is in the ledger."""
        engine = engine_for(self.where, "read")
        try:
            with engine.begin() as connection:
                return [tuple(row) for row in connection.exec_driver_sql(query)]
        finally:
            engine.dispose()

    def settled(self) -> bool:
        """Whether each call of the upstream is in the ledger."""
        return self.rows("SELECT count(*) FROM attempts")[0][0] >= len(self.upstream.calls)

    async def until_settled(self) -> None:
        """Return when the calls of clients that have left are booked, or after a while."""
        until = time.monotonic() + 15
        while not self.settled() and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _body(question: str, stream: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 1024,
    }
    if stream:
        told |= {"stream": True, "stream_options": {"include_usage": True}}
    return told


def _complete(body: bytes, stream: bool) -> str | None:
    """The identifier of the upstream's answer, if all of it is there."""
    if stream:
        events = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
        if not events or events[-1] != b"[DONE]":
            return None
        body = events[0]
    id: str = json.loads(body)["id"]
    return id


@dataclass(frozen=True)
class Row:
    """What was found after the runs of one fault; amounts in picodollars.

    Attributes:
        answered: requests that clients saw answered completely.
        attempts: in the ledger.
        lost: complete answers that have no attempt.
        twice: answers with more than one attempt.
        difference: of attempts with exact usage, to the upstream's account of the same calls.
        unknown, unknown_truth: attempts without a cost, and what the upstream billed for them.
        unbooked, unbooked_truth: calls of the upstream without an attempt, and their bill.
        presumed: charged for operations whose cost is not known, or whose process died.
        off: charges less the sums that stand for them, absolute.
        open: reservations without a charge.
    """

    fault: str
    runs: int
    requests: int
    answered: int
    attempts: int
    lost: int
    twice: int
    difference: int
    unknown: int
    unknown_truth: int
    unbooked: int
    unbooked_truth: int
    presumed: int
    off: int
    open: int
    seconds: float
    statuses: dict[str, int]


def compare(fault: str, runs: int, seconds: float, lab: Lab) -> Row:
    """The ledger beside what clients were told and the upstream's account."""
    truth, told = lab.upstream.calls, lab.told
    booked = lab.rows(
        "SELECT a.upstream_id, a.cost_pico, a.usage_basis, o.prompt "
        "FROM attempts a JOIN operations o ON o.id = a.operation_id"
    )
    ids = Counter(id for id, *_ in booked if id is not None)
    by_question: defaultdict[str, list[int]] = defaultdict(list)
    for call in truth.values():
        by_question[call.question].append(call.cost)
    unnamed = {question for id, _, _, question in booked if id is None}
    missing = [
        call.cost for id, call in truth.items() if id not in ids and call.question not in unnamed
    ]
    unknown = [question for _, cost, _, question in booked if cost is None]
    sums = "SELECT counted_as, sum(pico) FROM {} GROUP BY counted_as"
    charged = {number: int(pico) for number, pico in lab.rows(sums.format("charges"))}
    summed = {number: int(pico) for number, pico in lab.rows(sums.format("spending"))}
    first = min(charged, default=0)
    left = (
        "SELECT count(*) FROM reservations r WHERE NOT EXISTS (SELECT 1 FROM charges c WHERE "
        "c.operation_id = r.operation_id AND c.budget = r.budget)"
    )
    presumed = f"SELECT sum(pico) FROM charges WHERE basis <> 'counted' AND counted_as = {first}"
    return Row(
        fault=fault,
        runs=runs,
        requests=told.requests,
        answered=len(told.complete),
        attempts=len(booked),
        lost=sum(id not in ids for id in told.complete.values()),
        twice=sum(count > 1 for count in ids.values()),
        difference=sum(
            abs(cost - (truth[id].cost if id in truth else 0))
            for id, cost, basis, _ in booked
            if basis == "exact" and cost is not None
        ),
        unknown=len(unknown),
        unknown_truth=sum(sum(by_question[question]) for question in unknown),
        unbooked=len(missing),
        unbooked_truth=sum(missing),
        presumed=int(lab.rows(presumed)[0][0] or 0),
        off=sum(abs(charged.get(n, 0) - summed.get(n, 0)) for n in {*charged, *summed}),
        open=lab.rows(left)[0][0],
        seconds=seconds,
        statuses=dict(told.statuses),
    )


Step = Callable[[], None]


async def killed(lab: Lab, runs: int, step: Step) -> None:
    """Gateways one after the other are killed; on PostgreSQL beside one that lives on."""
    others = [await lab.start("b")] if "://" in lab.where else []
    for _ in range(runs):
        victim = await lab.start()
        async with lab.load(victim, *others):
            await asyncio.sleep(lab.rng.uniform(0.1, 0.8))
            await victim.kill()
        step()
    await lab.end(*others)


async def stalled(lab: Lab, runs: int, step: Step) -> None:
    """One of two gateways stands still, often for so long that the other takes it for dead."""
    both = [await lab.start("a"), await lab.start("b")]
    for _ in range(runs):
        async with lab.load(*both):
            await asyncio.sleep(lab.rng.uniform(0.05, 0.5))
            both[0].process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(lab.rng.uniform(0.1, 2.2 * DEAD_AFTER_S))
            both[0].process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.2)
        step()
    await lab.until_well(*both)
    await lab.until_settled()
    await lab.end(*both)


async def away(lab: Lab, runs: int, step: Step, server: Any) -> None:
    """PostgreSQL stops, in one of two ways, under two gateways, and is started again."""
    both = [await lab.start("a"), await lab.start("b")]
    for _ in range(runs):
        async with lab.load(*both):
            await asyncio.sleep(lab.rng.uniform(0.1, 0.6))
            pid, how = server.get_pid(), lab.rng.choice([signal.SIGINT, signal.SIGQUIT])
            os.kill(pid, how)
            while _exists(pid):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            long = lab.rng.random() < 0.2
            await asyncio.sleep(lab.rng.uniform(0, 2 * DEAD_AFTER_S if long else 0.4))
            await asyncio.to_thread(server.ensure_postgres_running)
        await lab.until_well(*both)
        step()
    await lab.until_settled()
    await lab.end(*both)


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def full(lab: Lab, runs: int, step: Step, disks: list[Disk]) -> None:
    """The ledger's disk runs full and is freed; in half of the runs the journal's does too."""
    gateway = await lab.start()
    for _ in range(runs):
        async with lab.load(gateway):
            await asyncio.sleep(lab.rng.uniform(0.05, 0.4))
            filled = disks[: 1 if lab.rng.random() < 0.5 else None]
            for disk in filled:
                disk.fill(gateway.process.pid, lab.rng)
                await asyncio.sleep(lab.rng.uniform(0.1, 0.5))
            for disk in filled:
                disk.free(gateway.process.pid)
        await lab.until_well(gateway)
        step()
    await lab.until_settled()
    await lab.end(gateway)


async def jumped(lab: Lab, runs: int, step: Step) -> None:
    """The clock is set forward by an hour, or back by one."""
    gateway = await lab.start()
    async with lab.load(gateway):
        for _ in range(runs):
            await asyncio.sleep(lab.rng.uniform(0.1, 0.5))
            gateway.tell(f"clock {lab.rng.choice((-3600, 0, 3600))}")
            step()
    await lab.until_settled()
    await lab.end(gateway)


async def left(lab: Lab, runs: int, step: Step, *, stream: bool) -> None:
    """Clients go away after a random byte of the request or of the answer."""
    gateway = await lab.start()
    for _ in range(runs):
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(leave(lab, gateway.url, stream=stream))
        step()
    await lab.until_well(gateway)
    await lab.until_settled()
    await lab.end(gateway)


async def leave(lab: Lab, url: str, *, stream: bool) -> None:
    """Send a request, and close the connection somewhere."""
    body = json.dumps(_body(lab.question(), stream)).encode()
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
    head += "Connection: close\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    reader, writer = await asyncio.open_connection(host, int(port))
    within = lab.rng.random()
    if within < 0.2:
        request = request[: lab.rng.randrange(len(request))]
    writer.write(request)
    await writer.drain()
    if 0.2 <= within < 0.4:
        await asyncio.sleep(lab.rng.uniform(0, 0.2))
    elif within >= 0.4:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(lab.rng.randrange(1, 3000 if stream else 700))
    lab.told.statuses["left"] += 1
    writer.transport.abort()


async def cut(lab: Lab, runs: int, step: Step, *, stream: bool) -> None:
    """Half of the upstream's answers end at a random byte."""
    gateway = await lab.start()
    lab.upstream.cut = 0.5
    async with http() as session:
        for _ in range(runs):
            asked = (lab.ask(session, gateway.url, stream=stream) for _ in range(CLIENTS))
            await asyncio.gather(*asked)
            step()
    lab.upstream.cut = 0.0
    await lab.until_settled()
    await lab.end(gateway)


class Disk:
    """A file system that can be filled: a small tmpfs, or else a limit on the size of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
        self.mounted = subprocess.run(command, capture_output=True).returncode == 0
        self._ballast = folder / "ballast"

    def fill(self, pid: int, rng: random.Random) -> None:
        """Leave up to 40 kB, or let no file of the process grow."""
        if not self.mounted:
            sizes = [path.stat().st_size for path in self.folder.iterdir()]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(sizes, default=0), -1))
            return
        state = os.statvfs(self.folder)
        most = max(0, state.f_bavail * state.f_frsize - rng.randrange(40_000))
        with open(self._ballast, "wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, most))

    def free(self, pid: int) -> None:
        """Undo that."""
        if self.mounted:
            self._ballast.unlink()
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (-1, -1))

    def close(self) -> None:
        """Unmount."""
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)


@contextmanager
def disks(folder: Path, *names: str) -> Iterator[list[Disk]]:
    """Small file systems."""
    with ExitStack() as stack:
        found = []
        for name in names:
            found.append(Disk(folder / name))
            stack.callback(found[-1].close)
        yield found


Play = Callable[[Lab, int, Step], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """A row of the table: what is done, to which ledger, and what the gateway does then."""

    name: str
    play: Callable[..., Awaitable[None]]
    database: str = "SQLite"
    mode: str = "refuse"
    options: dict[str, Any] = field(default_factory=dict)


FAULTS = {
    "kill-sqlite": Fault("kill -9, SQLite", killed),
    "kill-postgres": Fault("kill -9, PostgreSQL", killed, "PostgreSQL"),
    "stall": Fault("one of two stands still", stalled, "PostgreSQL"),
    "away-refuse": Fault("PostgreSQL stopped, refuse", away, "PostgreSQL"),
    "away-spool": Fault("PostgreSQL stopped, spool", away, "PostgreSQL", "spool"),
    "full-refuse": Fault("disk full, refuse", full),
    "full-spool": Fault("disk full, spool", full, mode="spool"),
    "clock": Fault("clock jumps ±1 h", jumped),
    "left-plain": Fault("client leaves, plain", left, options={"stream": False}),
    "left-stream": Fault("client leaves, streamed", left, options={"stream": True}),
    "cut-plain": Fault("upstream cut, plain", cut, options={"stream": False}),
    "cut-stream": Fault("upstream cut, streamed", cut, options={"stream": True}),
}


async def run(fault: Fault, runs: int, seed: int, step: Step, folder: Path) -> Row:
    """All runs of a fault, on one ledger."""
    began, upstream = time.monotonic(), Upstream(seed, speed=SPEED)
    options = dict(fault.options)
    with ExitStack() as stack:
        where, spool = str(folder / "l.db"), None
        if fault.database == "PostgreSQL":
            server = stack.enter_context(postgres())
            where = server.get_uri()
            if fault.play is away:
                options["server"] = server
        if fault.play is full:
            names = ("ledger", "journal") if fault.mode == "spool" else ("ledger",)
            found = options["disks"] = stack.enter_context(disks(folder, *names))
            where, spool = str(found[0].folder / "l.db"), found[-1].folder
        for window in ("total", "30d"):
            await set_budget(where, 10**6 * PICO_PER_USD, "--name", window, "--window", window)
        async with listening(upstream) as url:
            lab = Lab(folder, where, url, upstream, random.Random(seed), fault.mode, spool)
            try:
                await fault.play(lab, runs, step, **options)
            finally:
                for gateway in lab.started:
                    if gateway.process.returncode is None:
                        await gateway.kill()
        return compare(fault.name, runs, time.monotonic() - began, lab)


def usd(pico: int) -> str:
    return f"{pico / PICO_PER_USD:.6g}"


def cells(row: Row) -> list[str]:
    return [
        row.fault,
        *(str(n) for n in (row.runs, row.requests, row.answered, row.attempts, row.lost)),
        str(row.twice),
        usd(row.difference),
        f"{row.unknown} ({usd(row.unknown_truth)})",
        f"{row.unbooked} ({usd(row.unbooked_truth)})",
        usd(row.presumed),
        usd(row.off),
        str(row.open),
    ]


COLUMNS = [
    "fault",
    "runs",
    "requests",
    "answered",
    "attempts",
    "lost",
    "twice",
    "difference, USD",
    "cost unknown (billed)",
    "no attempt (billed)",
    "charged on presumption",
    "charges less sums",
    "left open",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=50, help="of each fault")
    parser.add_argument("--faults", default=",".join(FAULTS), help=", ".join(FAULTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    given = parser.parse_args()
    names = given.faults.split(",")
    if unknown := set(names) - set(FAULTS):
        parser.error(f"no fault is called {min(unknown)!r}; there are: {', '.join(FAULTS)}")
    rows = []
    with Progress(console=Console(file=sys.stderr)) as progress:
        for name in names:
            task = progress.add_task(name, total=given.runs)
            with tempfile.TemporaryDirectory(prefix="farthing-") as folder:
                rows.append(
                    asyncio.run(
                        run(
                            FAULTS[name],
                            given.runs,
                            given.seed,
                            lambda task=task: progress.advance(task),
                            Path(folder),
                        )
                    )
                )
            progress.console.print(" | ".join(cells(rows[-1])), f"{rows[-1].seconds:.0f} s")
            progress.console.print(rows[-1].statuses)
    if given.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        print(f"{environment()}\n\n{markdown(COLUMNS, map(cells, rows))}")


if __name__ == "__main__":
    main()
