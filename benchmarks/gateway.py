"""What a gateway costs beside the upstream it asks: CPU time, added latency, memory, and truth.

All of it runs on loopback, in processes of their own: clients, an upstream that keeps an exact
account, and the targets, each load on each in turn: `direct` (no gateway), `floor` (a pass-through
in aiohttp of 40 lines), `farthing` (with a ledger), `farthing+budgets` (ledger, key, two budgets),
and peers from public registries, which are installed into `--folder` if they are not there.

Loads: requests at a rate, sent when they are due whatever became of the others, and clients that
ask without pause; answers in one piece and as streams of 53 events; an upstream that answers at
once, and one that takes 200 ms, and 5 ms for each event of a stream.

CPU time is that of the gateway's process and of all that it started. Latency is told as what it is
above the same quantile of `direct` under the same load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import _profile
from _common import environment, markdown
from _load import Seen
from _peers import PEERS, NoPeerError
from _processes import cpu_s, main_thread_s, rss_mb
from _targets import HERE, OWN, Opens, Target, UpstreamProcess, peer, upstream
from rich.console import Console
from rich.progress import Progress

from farthing.core.money import PICO_PER_USD

CONNECTIONS = 2000
CLIENTS = (16, 64)
DELAY_S, GAP_S = 0.2, 0.005
SETTLE_S = 0.3
TIMEOUT_S = 10.0
ASK: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "You answer briefly, and show how you got there. " * 8},
        {"role": "user", "content": "What is six times seven, and why is it so? " * 8},
    ],
    "temperature": 0.2,
    "max_tokens": 4096,
}
STREAM = {**ASK, "stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Load:
    """What is asked: streams or not, how slow the upstream is, and how requests come."""

    stream: bool
    delay_s: float
    rate: float = 0.0
    clients: int = 0

    @property
    def kind(self) -> str:
        what = "stream" if self.stream else "plain"
        return f"{what}, {self.delay_s * 1000:g} ms"

    @property
    def arrivals(self) -> str:
        return f"{self.rate:g}/s" if self.rate else f"{self.clients} clients"

    async def prepare(self, asked: UpstreamProcess) -> None:
        """Have the upstream answer so."""
        gap_s = GAP_S if self.delay_s else 0.0
        await asked.set(delay_s=self.delay_s, gap_s=gap_s, seed=1)


@dataclass
class Result:
    """A target under a load; CPU in milliseconds for each request that was answered."""

    target: str
    load: Load
    seen: Seen
    cpu_ms: float | None
    rss_mb: float | None

    @property
    def failed(self) -> float:
        """Share of the requests that were not answered."""
        return 1 - self.seen.ok / max(1, self.seen.sent)


async def drive(target: Target, body: dict[str, Any], **how: Any) -> tuple[Seen, float]:
    """Run `_load.py` against `target`: what clients saw, and CPU seconds of the gateway."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "_load.py"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(target.spec(body, **how)).encode() + b"\n")
    if await process.stdout.readline() != b"ready\n":
        raise RuntimeError("the clients did not start")
    before = cpu_s(target.pid) if target.pid else 0.0
    process.stdin.write(b"go\n")
    said = await process.stdout.readline()
    await asyncio.sleep(SETTLE_S)
    spent = cpu_s(target.pid) - before if target.pid else 0.0
    process.stdin.close()
    await process.wait()
    return Seen(**json.loads(said)), spent


async def measure(target: Target, load: Load, asked: UpstreamProcess, seconds: float) -> Result:
    """One cell of the table."""
    await load.prepare(asked)
    seen, spent = await drive(
        target,
        STREAM if load.stream else ASK,
        stream=load.stream,
        rate=load.rate,
        clients=load.clients or CONNECTIONS,
        seconds=seconds,
        warm=min(50, max(10, int(load.rate))) if load.rate else load.clients,
        seed=int(load.rate) + load.clients,
        timeout_s=TIMEOUT_S,
    )
    answered = seen.ok if target.pid else 0
    memory = rss_mb(target.pid) if target.pid else None
    return Result(target.name, load, seen, 1e3 * spent / answered if answered else None, memory)


def loads(rates: Sequence[float], clients: Sequence[int], kinds: Sequence[str]) -> list[Load]:
    """All loads, by kind, slowly at first."""
    found = []
    for delay_s in (0.0, DELAY_S):
        for stream in (False, True):
            one = [Load(stream, delay_s, rate=rate) for rate in rates]
            one += [Load(stream, delay_s, clients=count) for count in clients]
            found += [load for load in one if load.kind.replace(", ", "-").split()[0] in kinds]
    return found


PARTS = ("loads", "memory", "truth", "profile")
KINDS = ("plain-0", "stream-0", "plain-200", "stream-200")


@dataclass
class Memory:
    """RSS in MB before, and after each quarter of so many requests, plain and streams in turn."""

    target: str
    requests: int
    megabytes: list[float] = field(default_factory=list)


async def memory(
    target: Target, asked: UpstreamProcess, count: int, seconds: float, progress: Progress
) -> Memory:
    """Ask `count` times, every fourth time for a stream, within about `seconds`."""
    await asked.set(delay_s=0.0, gap_s=0.0)
    found = Memory(target.name, 0, [rss_mb(target.pid)])
    row = progress.add_task(f"{target.name}: memory", total=4)
    for _ in range(4):
        for body, share in ((ASK, 0.75), (STREAM, 0.25)):
            seen, _ = await drive(
                target,
                body,
                stream="stream" in body,
                clients=16,
                count=round(count / 4 * share),
                seconds=seconds / 4 * share,
            )
            found.requests += seen.sent
        found.megabytes.append(rss_mb(target.pid))
        progress.advance(row)
    return found


@dataclass
class Truth:
    """What the target's books say beside what the upstream billed, in USD; None without books.

    Attributes:
        billed, booked: of an undisturbed run.
        limit, over: a budget, and how much more was billed under 64 clients.
        left_billed, left_booked: of streams whose clients went away within.
    """

    target: str
    billed: float = 0.0
    booked: float | None = None
    limit: float | None = None
    spent: float | None = None
    left: int = 0
    left_billed: float = 0.0
    left_booked: float | None = None
    note: str = ""


LIMIT = PICO_PER_USD
LEAVING = 400


async def profile(name: str, load: Load, asked: UpstreamProcess) -> str:
    """Where Farthing's CPU time goes under a load, in the event loop's thread."""
    await load.prepare(asked)
    body = STREAM if load.stream else ASK
    how = {"stream": load.stream, "rate": load.rate, "clients": load.clients or CONNECTIONS}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "profile"
        launcher = (str(HERE / "_profile.py"), str(out))
        async with opened(OWN[name], asked.url, launcher=launcher) as target:
            before = main_thread_s(target.pid)
            seen, spent = await drive(target, body, seconds=10.0, **how)
            loop = (main_thread_s(target.pid) - before) / spent
        told = _profile.text(out, seen.sent)
    return (
        f"{name}: {load.kind}, {load.arrivals}, {seen.ok} requests, "
        f"{1e3 * spent / seen.ok:.2f} ms each while profiled, "
        f"{loop:.0%} of it in the event loop's thread\n\n{told}"
    )


async def truth(name: str, opens: Opens, asked: UpstreamProcess, progress: Progress) -> Truth:
    """Compare accounts: undisturbed, under a tight budget, and with clients that go away."""
    found = Truth(name)
    row = progress.add_task(f"{name}: truth", total=3)
    options = {"books": True} if name in PEERS else {}
    await asked.set(delay_s=0.0, gap_s=0.0, seed=2)
    async with opened(opens, asked.url, **options) as target:
        for body in (ASK, STREAM):
            how = {"stream": "stream" in body, "clients": 16, "count": 500, "seconds": 60}
            billed, booked, seen = await billing(target, asked, body, **how)
            found.billed += billed
            found.booked = None if booked is None else (found.booked or 0) + booked
            if seen.errors:
                found.note += f"{'streams' if body is STREAM else 'plain'} failed: {seen.errors} "
        progress.advance(row)
        await asked.set(delay_s=0.02, gap_s=0.01)
        how = {"stream": True, "clients": 32, "count": LEAVING, "seconds": 60, "leave": 1.0}
        found.left_billed, found.left_booked, seen = await billing(target, asked, STREAM, **how)
        found.left = seen.left
        progress.advance(row)
    if name.startswith("farthing+") or (name in PEERS and PEERS[name].budget != "none"):
        await asked.set(delay_s=DELAY_S, gap_s=0.0, seed=3)
        async with opened(opens, asked.url, limit=LIMIT, **options) as target:
            how = {"clients": 64, "count": 4000, "seconds": 60, "until_refused": True}
            billed, _, seen = await billing(target, asked, ASK, **how)
            found.limit, found.spent = LIMIT / PICO_PER_USD, billed
            if not seen.errors:
                found.note += "never refused "
    progress.advance(row)
    return found


async def billing(
    target: Target, asked: UpstreamProcess, body: dict[str, Any], **how: Any
) -> tuple[float, float | None, Seen]:
    """What was billed and booked during a load, in USD, and what clients saw."""
    before = (await asked.idle())["billed"]
    booked = await asyncio.to_thread(target.spends) if target.spends else None
    seen, _ = await drive(target, body, **how)
    after = (await asked.idle())["billed"]
    await asyncio.sleep(2)
    billed = (after - before) / PICO_PER_USD
    if target.spends is None or booked is None:
        return billed, None, seen
    return billed, (await asyncio.to_thread(target.spends) - booked) / PICO_PER_USD, seen


@asynccontextmanager
async def opened(opens: Opens, url: str, **options: Any) -> AsyncIterator[Target]:
    """A target in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        async with opens(url, Path(name), **options) as target:
            yield target


def chosen(options: argparse.Namespace) -> tuple[dict[str, Opens], dict[str, str]]:
    """The targets by name, and versions of peers; tells which of them cannot be had."""
    found = {name: OWN[name] for name in options.targets}
    versions = {}
    for name in options.peers:
        options.folder.mkdir(parents=True, exist_ok=True)
        try:
            versions[name] = PEERS[name].install(options.folder)
        except NoPeerError as error:
            print(f"skipped: {name} cannot be installed: {error}", file=sys.stderr)
            continue
        found[name] = partial(peer, name=name, home=options.folder)
    return found, versions


@dataclass
class Report:
    """All that was measured."""

    where: str
    versions: dict[str, str]
    results: list[Result] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)


async def run(options: argparse.Namespace) -> Report:
    """Measure every target that was chosen."""
    targets, versions = chosen(options)
    report = Report(environment(), versions)
    cells = loads(options.rates, options.clients, options.kinds)
    with Progress(console=Console(file=sys.stderr)) as progress:
        async with upstream() as asked:
            if "loads" in options.parts:
                await all_loads(targets, cells, asked, options.seconds, report, progress)
            for name, opens in targets.items():
                if name == "direct":
                    continue
                try:
                    await alone(name, opens, cells, asked, options, report, progress)
                except RuntimeError as error:
                    progress.console.print(f"skipped: {name}: {error}", markup=False)
    return report


async def all_loads(
    targets: dict[str, Opens],
    cells: Sequence[Load],
    asked: UpstreamProcess,
    seconds: float,
    report: Report,
    progress: Progress,
) -> None:
    """Put each load on each target in turn, so that what else the machine does falls on all."""
    drowned: dict[tuple[str, str], float] = {}
    async with AsyncExitStack() as stack:
        running = []
        for name, opens in targets.items():
            try:
                running.append(await stack.enter_async_context(opened(opens, asked.url)))
            except RuntimeError as error:
                progress.console.print(f"skipped: {name}: {error}", markup=False)
        row = progress.add_task("loads", total=len(cells) * len(running))
        for load in cells:
            for target in running:
                progress.advance(row)
                if load.rate > drowned.get((target.name, load.kind), math.inf):
                    continue
                result = await measure(target, load, asked, seconds)
                report.results.append(result)
                progress.console.print(_line(result), markup=False, highlight=False)
                late = result.seen.p50_s > 2 + 3 * load.delay_s
                if load.rate and (result.failed > 0.05 or late):
                    drowned[target.name, load.kind] = load.rate


async def alone(
    name: str,
    opens: Opens,
    cells: Sequence[Load],
    asked: UpstreamProcess,
    options: argparse.Namespace,
    report: Report,
    progress: Progress,
) -> None:
    """What is measured of one target while no other runs."""
    if "profile" in options.parts and name.startswith("farthing"):
        for load in cells:
            report.profiles.append(await profile(name, load, asked))
    if "memory" in options.parts:
        async with opened(opens, asked.url) as target:
            found = await memory(
                target, asked, options.memory_requests, options.memory_seconds, progress
            )
        report.memories.append(found)
    if "truth" in options.parts:
        report.truths.append(await truth(name, opens, asked, progress))


def _line(result: Result) -> str:
    seen, cpu = result.seen, result.cpu_ms
    told = "" if cpu is None else f", CPU {cpu:.3f} ms"
    wrong = f", {seen.errors} {seen.sample[:100]}" if seen.errors else ""
    return (
        f"{result.target}: {result.load.kind}, {result.load.arrivals}: {seen.ok} of {seen.sent}"
        f" in {seen.wall_s:.1f} s{told}, p50 {seen.p50_s * 1e3:.2f}, p99 {seen.p99_s * 1e3:.2f},"
        f" first {seen.first_p50_s * 1e3:.2f} ms, late {seen.late_s * 1e3:.1f} ms,"
        f" clients {seen.cpu_s / max(seen.wall_s, 1e-9):.0%}{wrong}"
    )


def load_tables(report: Report) -> str:
    """A table for each thing that was measured: a row for each load, a column for each target."""
    found = {(r.target, r.load): r for r in report.results}
    targets = list(dict.fromkeys(r.target for r in report.results))
    every = list(dict.fromkeys(r.load for r in report.results))

    def table(title: str, tell: Any, names: Sequence[str], loads: Sequence[Load]) -> str:
        rows = [
            [load.kind, load.arrivals]
            + [tell(found[name, load]) if (name, load) in found else "drowned" for name in names]
            for load in loads
        ]
        return f"{title}\n\n{markdown(['answers', 'load', *names], rows)}"

    def cpu(result: Result) -> str:
        floor = found.get(("floor", result.load))
        if result.cpu_ms is None:
            return "none answered"
        beside = f" ({result.cpu_ms / floor.cpu_ms:.2f})" if floor and floor.cpu_ms else ""
        return f"{result.cpu_ms:.3f}{beside}"

    def answered(result: Result) -> str:
        rate = f"{result.seen.ok / max(result.seen.wall_s, 1e-9):.0f}"
        return f"{rate} ({result.failed:.1%} failed)" if result.failed else rate

    def added(middle: str, late: str) -> Any:
        def tell(result: Result) -> str:
            direct = found.get(("direct", result.load))
            if result.target != "direct" and direct is None:
                return ""
            if not result.seen.ok:
                return "none answered"
            less = None if result.target == "direct" or direct is None else direct.seen
            values = [
                1e3 * (getattr(result.seen, name) - (getattr(less, name) if less else 0))
                for name in (middle, late)
            ]
            return " / ".join(f"{value:.1f}" for value in values)

        return tell

    behind = [name for name in targets if name != "direct"]
    streams = [load for load in every if load.stream]
    parts = [
        table("CPU ms for each request (over the floor's)", cpu, behind, every),
        table(
            "p50 / p99 ms, above direct (direct: as they are)",
            added("p50_s", "p99_s"),
            targets,
            every,
        ),
        table("answers a second", answered, targets, every),
    ]
    if streams:
        first = added("first_p50_s", "first_p99_s")
        title = "p50 / p99 ms to the first event, above direct (direct: as it is)"
        parts.insert(2, table(title, first, targets, streams))
    return "\n\n".join(parts)


def memory_table(memories: Sequence[Memory]) -> str:
    """RSS as requests add up."""
    columns = ["target", "requests", "MB at first", "1/4", "1/2", "3/4", "in the end"]
    rows = [[m.target, f"{m.requests:,}", *(f"{x:.0f}" for x in m.megabytes)] for m in memories]
    return markdown(columns, rows)


def truth_table(truths: Sequence[Truth]) -> str:
    """What the books are worth."""

    def usd(value: float | None) -> str:
        return "no books" if value is None else f"{value:.6f}"

    columns = ["target", "billed", "booked", "budget", "spent / budget"]
    columns += ["left", "their bill", "of it booked", "lost"]
    rows = []
    for t in truths:
        lost = "all" if t.left_booked is None else f"{t.left_billed - t.left_booked:.6f}"
        rows.append(
            [
                t.target,
                usd(t.billed),
                usd(t.booked),
                "none" if t.limit is None else f"{t.limit:g}",
                "" if t.limit is None or t.spent is None else f"{t.spent / t.limit:.3f}",
                str(t.left),
                usd(t.left_billed),
                usd(t.left_booked),
                lost,
            ]
        )
    notes = [f"{t.target}: {t.note.strip()}" for t in truths if t.note]
    return "\n".join([markdown(columns, rows), "", *notes]).strip()


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=_list, default=list(OWN), help=", ".join(OWN))
    parser.add_argument("--peers", type=_list, default=[], help=", ".join(PEERS))
    parser.add_argument("--folder", type=Path, default=Path("peers"), help="where peers are kept")
    parser.add_argument("--rates", type=_list, default=["10", "50", "200", "500", "1000"])
    parser.add_argument("--clients", type=_list, default=[str(count) for count in CLIENTS])
    parser.add_argument("--kinds", type=_list, default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--parts", type=_list, default=list(PARTS[:3]), help=", ".join(PARTS))
    parser.add_argument("--memory-requests", type=int, default=20_000)
    parser.add_argument("--memory-seconds", type=float, default=120.0, help="at most, about")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    options.rates = [float(rate) for rate in options.rates]
    options.clients = [int(count) for count in options.clients]
    for given, known in ((options.targets, OWN), (options.peers, PEERS), (options.kinds, KINDS)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"{', '.join(unknown)}: known are {', '.join(known)}")
    report = asyncio.run(run(options))
    print(report.where, end="")
    print("".join(f"; {name} {version}" for name, version in report.versions.items()))
    for part, table in (
        (report.results, load_tables(report)),
        (report.memories, memory_table(report.memories)),
        (report.truths, truth_table(report.truths)),
        (report.profiles, "\n\n".join(report.profiles)),
    ):
        if part:
            print(f"\n{table}")
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
