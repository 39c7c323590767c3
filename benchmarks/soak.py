"""Hours of rough use in minutes: does anything leak, and is every call booked?

`farthing serve` with a key, two budgets and a SQLite ledger, behind it an upstream that fails, cuts
answers off and sends garbage, before it clients of which some leave in the middle, read slowly, or
send what is malformed, too large, without a key, or for a model that is not there. At 80 requests
a second 15 minutes are what comes in two hours at 10 a second.

In the end the ledger is compared with the upstream's account, call by call. The process's memory,
files, sockets, threads, tasks and objects are told as they go, and once all is quiet again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import uvloop
from _common import environment, markdown
from _processes import cpu_s, files, rss_mb, threads
from _targets import CHAT, HERE, Target, UpstreamProcess, farthing, upstream
from rich.console import Console
from rich.progress import Progress

MAX_BODY = 1_000_000
FAULTS = {"errors": 0.03, "cuts": 0.03, "garbage": 0.02}
DELAY_S, GAP_S = 0.02, 0.002
PATIENCE_S = 60.0
QUIET_S = 40.0  # idle connections to the upstream are closed by then
ASK: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "What is six times seven?"}],
    "max_tokens": 4096,
}
MALFORMED: tuple[bytes, ...] = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe{}",
    b'{"model": "m"}',
    b'{"model": "m", "messages": []}',
    b'{"model": "m", "messages": [{"role": "user", "content": 5}]}',
    b'{"model": 7, "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": -1}',
    b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}',
    b'{"model": "m", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
)


@dataclass
class Sample:
    """What the gateway's process holds at a moment; RSS in MB."""

    seconds: float
    requests: int
    rss_mb: float
    files: int
    sockets: int
    threads: int
    tasks: int
    objects: int


@dataclass
class Books:
    """The ledger beside the upstream's account.

    Attributes:
        asked: calls that reached the upstream; `attempts` those that the ledger has, but for
            those that never left, because the upstream had failed too often.
        strange: identifiers in the ledger that the upstream never gave.
        twice: identifiers that the ledger has more than once.
        wrong: calls whose known cost is not what was billed.
        unknown: attempts of unknown cost.
        open: operations without an outcome.
    """

    asked: int
    attempts: int
    strange: int
    twice: int
    wrong: int
    unknown: int
    open: int
    billed: int
    booked: int

    @property
    def is_whole(self) -> bool:
        """Whether every call is booked, once, and at its cost or as unknown."""
        return self.asked == self.attempts and not (
            self.strange or self.twice or self.wrong or self.open
        )


@dataclass
class Soak:
    """Clients of all kinds.

    Attributes:
        outcomes: what they saw, by kind.
    """

    target: Target
    session: aiohttp.ClientSession
    rng: random.Random
    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def kinds(self) -> dict[Callable[[], Awaitable[str]], float]:
        """What clients do, and how often."""
        return {
            self.plain: 0.30,
            self.stream: 0.30,
            self.leaves: 0.16,
            self.slow: 0.06,
            self.malformed: 0.08,
            self.oversized: 0.02,
            self.stranger: 0.04,
            self.half_sent: 0.04,
        }

    async def one(self) -> None:
        """Do one of them."""
        kinds = self.kinds()
        (do,) = self.rng.choices(list(kinds), list(kinds.values()))
        self.requests += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                what = await do()
        except (aiohttp.ClientError, OSError, EOFError) as error:
            what = type(error).__name__
        except TimeoutError:
            what = "nothing came for long"
        self.outcomes[f"{do.__name__}: {what}"] += 1

    async def plain(self) -> str:
        """Ask, and read the answer."""
        return await self._read(ASK)

    async def stream(self) -> str:
        """Ask for a stream, and read it to its end."""
        return await self._read(self._streamed())

    async def leaves(self) -> str:
        """Go away while the answer is made, or within it."""
        streamed = self.rng.random() < 0.6
        reader, writer = await self._open()
        try:
            writer.write(self._raw(self._streamed() if streamed else ASK))
            if streamed and self.rng.random() < 0.8:
                await reader.read(self.rng.randrange(1, 400))
            await asyncio.sleep(self.rng.random() * 0.1)
        finally:
            writer.transport.abort()
        return "left"

    async def slow(self) -> str:
        """Read a long stream through a small window; one in three gives up."""
        reader, writer = await self._open(window=4096)
        gives_up, got = self.rng.random() < 1 / 3, 0
        try:
            writer.write(self._raw(self._streamed() | {"user": "long"}))
            while data := await reader.read(8192):
                got += len(data)
                if data.endswith(b"0\r\n\r\n"):
                    return "read"
                if gives_up and got > 50_000:
                    return "left"
                await asyncio.sleep(0.05)
            return "cut"
        finally:
            writer.transport.abort()

    async def malformed(self) -> str:
        """Send what is no request."""
        return await self._read(self.rng.choice(MALFORMED))

    async def oversized(self) -> str:
        """Send more than is allowed, with its length told or not."""
        body = b'{"model": "m", "messages": "' + b"x" * (MAX_BODY + 500_000) + b'"}'

        async def pieces() -> Any:
            for start in range(0, len(body), 2**16):
                yield body[start : start + 2**16]

        return await self._read(body if self.rng.random() < 0.5 else pieces())

    async def stranger(self) -> str:
        """Ask without a key, or for a model that is not there."""
        if self.rng.random() < 0.5:
            return await self._read(ASK, {"Authorization": "Bearer fk-nobody"})
        return await self._read(ASK | {"model": "nothing"})

    async def half_sent(self) -> str:
        """Go away before the request is whole."""
        _, writer = await self._open()
        sent = self._raw(ASK)
        writer.write(sent[: self.rng.randrange(1, len(sent))])
        await asyncio.sleep(self.rng.random() * 0.05)
        writer.transport.abort()
        return "left"

    def _streamed(self) -> dict[str, Any]:
        told = ASK | {"stream": True}
        return told | (
            {"stream_options": {"include_usage": True}} if self.rng.random() < 0.5 else {}
        )

    async def _read(self, body: Any, headers: dict[str, str] | None = None) -> str:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        sent = {**self.target.headers, "Content-Type": "application/json", **(headers or {})}
        async with self.session.post(self.target.url + CHAT, data=data, headers=sent) as got:
            whole = await got.read()
        if got.status == 200 and got.content_type == "text/event-stream":
            return "200" if whole.endswith(b"[DONE]\n\n") else "200 with an error"
        return str(got.status)

    async def _open(
        self, window: int | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = urlsplit(self.target.url)
        one = socket.socket()
        one.setblocking(False)
        if window is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        await asyncio.get_running_loop().sock_connect(one, (place.hostname, place.port))
        return await asyncio.open_connection(sock=one, limit=2**13)

    def _raw(self, body: dict[str, Any]) -> bytes:
        data = json.dumps(body).encode()
        headers = {**self.target.headers, "Host": "x", "Content-Type": "application/json"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {CHAT} HTTP/1.1\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def sample(soak: Soak, began: float) -> Sample:
    """What the gateway holds now."""
    gateway, pid = soak.target.gateway, soak.target.pid
    assert gateway is not None
    assert gateway.process.stdout is not None
    gateway.tell("count")
    counted = json.loads(await gateway.process.stdout.readline())
    found, sockets = files(pid)
    return Sample(
        time.perf_counter() - began,
        soak.requests,
        rss_mb(pid),
        found,
        sockets,
        threads(pid),
        counted["tasks"],
        counted["objects"],
    )


async def load(soak: Soak, options: argparse.Namespace, progress: Progress) -> list[Sample]:
    """Send for some minutes, and tell what the gateway holds meanwhile."""
    began = time.perf_counter()
    seconds, every = 60 * options.minutes, 60 * options.minutes / options.samples
    running: set[asyncio.Task[None]] = set()
    samples = [await sample(soak, began)]
    row = progress.add_task("soaking", total=seconds)
    due, next_sample = 0.0, every
    while due < seconds:
        due += soak.rng.expovariate(options.rate)
        await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
        task = asyncio.create_task(soak.one())
        running.add(task)
        task.add_done_callback(running.discard)
        if due >= next_sample:
            next_sample += every
            samples.append(await sample(soak, began))
            progress.update(row, completed=due)
    await asyncio.gather(*running)
    progress.update(row, completed=seconds)
    return samples


async def books(ledger: Path, asked: UpstreamProcess) -> Books:
    """Compare the ledger with the upstream's account."""
    account = await asked.account(calls=True)
    with closing(sqlite3.connect(ledger)) as connection:
        rows = connection.execute("SELECT upstream_id, cost_pico, error FROM attempts").fetchall()
        (left,) = connection.execute(
            "SELECT count(*) FROM operations WHERE id NOT IN (SELECT operation_id FROM outcomes)"
        ).fetchone()
    reached = [row for row in rows if "is left alone" not in (row[2] or "")]
    known = Counter(id for id, _, _ in reached if id is not None)
    calls: dict[str, int] = account["calls"]
    return Books(
        asked=account["asked"],
        attempts=len(reached),
        strange=len(known.keys() - calls.keys()),
        twice=sum(count > 1 for count in known.values()),
        wrong=sum(cost is not None and calls.get(id) != cost for id, cost, _ in reached if id),
        unknown=sum(cost is None for _, cost, _ in reached),
        open=left,
        billed=account["billed"],
        booked=sum(cost or 0 for _, cost, _ in reached),
    )


@dataclass
class Outcome:
    """A whole run; the last sample was taken once all was quiet again."""

    where: str
    samples: list[Sample]
    outcomes: dict[str, int]
    books: Books
    cpu_ms: float
    log: str


async def run(options: argparse.Namespace) -> Outcome:
    """Soak, wait until all is quiet, and compare."""
    where = environment()
    connector = aiohttp.TCPConnector(limit=0)
    with (
        Progress(console=Console(file=sys.stderr)) as progress,
        tempfile.TemporaryDirectory(prefix="soak-") as name,
    ):
        folder = Path(name)
        settings = f"max_body_mb = {MAX_BODY / 2**20}\n"
        launcher = (str(HERE / "_watched.py"),)
        async with upstream() as asked:
            await asked.set(delay_s=DELAY_S, gap_s=GAP_S, keep=True, seed=options.seed, **FAULTS)
            async with farthing(
                asked.url, folder, name="soak", bound=True, settings=settings, launcher=launcher
            ) as target:
                async with aiohttp.ClientSession(connector=connector) as session:
                    soak = Soak(target, session, random.Random(options.seed))
                    began, spent = time.perf_counter(), cpu_s(target.pid)
                    samples = await load(soak, options, progress)
                    cpu_ms = 1e3 * (cpu_s(target.pid) - spent) / soak.requests
                await asked.idle(PATIENCE_S)
                await asyncio.sleep(QUIET_S)
                samples.append(await sample(soak, began))
            found = await books(folder / "farthing.db", asked)
        log = (folder / "farthing.log").read_text(errors="replace")
    return Outcome(where, samples, dict(soak.outcomes), found, cpu_ms, log)


def growth(samples: list[Sample]) -> float:
    """Least-squares growth of RSS over the second half of the load, MB per 10,000 requests."""
    late = samples[len(samples) // 2 : -1]
    x, y = [s.requests for s in late], [s.rss_mb for s in late]
    middle, level = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - middle) ** 2 for a in x)
    if not spread:
        return 0.0
    return 1e4 * sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / spread


def main() -> None:
    """Print the tables; exit code 1 if a call is not booked as it was billed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--rate", type=float, default=80, help="requests a second")
    parser.add_argument("--samples", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    options = parser.parse_args()
    found = uvloop.run(run(options))
    columns = ["s", "requests", "RSS MB", "files", "sockets", "threads", "tasks", "objects"]
    rows = [
        [f"{s.seconds:.0f}", f"{s.requests:,}", f"{s.rss_mb:.1f}"]
        + [f"{value:,}" for value in (s.files, s.sockets, s.threads, s.tasks, s.objects)]
        for s in found.samples
    ]
    print(f"{found.where}\n\n{markdown(columns, rows)}\n")
    print(f"RSS over the second half: {growth(found.samples):+.2f} MB per 10,000 requests")
    print(f"CPU: {found.cpu_ms:.2f} ms for each request of any kind\n")
    books = asdict(found.books)
    print(markdown([*books], [[f"{value:,}" for value in books.values()]]))
    counts = sorted(found.outcomes.items())
    print("\n" + markdown(["clients", "requests"], [[name, f"{n:,}"] for name, n in counts]))
    with suppress(IndexError):
        print(
            f"\n{len(found.log.splitlines())} lines of log, the last: {found.log.splitlines()[-1]}"
        )
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    raise SystemExit(not found.books.is_whole)


if __name__ == "__main__":
    main()
