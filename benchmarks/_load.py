"""Clients of a gateway, in a process of their own, cheap enough not to be what is measured.

    _load.py < SPEC

The first line of standard input is a `Spec` as JSON. The program sends `warm` requests, prints
`ready`, waits for another line, sends what the specification says, and prints a `Seen` as JSON.

With a rate, requests are sent at times drawn beforehand (a Poisson process), whether earlier ones
are answered or not, on as many connections as that takes. Times count from when a request was due,
unless it was sent within 2 ms of that, which is what timers cost; then from when it was sent.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

import uvloop

_TIMER_S = 0.002
_PATIENCE, _PAUSE_S = 15, 0.1


@dataclass(frozen=True)
class Spec:
    """What to send.

    Attributes:
        host, port, path, headers, body: of each request.
        stream: whether answers are streams.
        rate: requests a second; 0 has `clients` ask one after another.
        clients: how many ask, or with a rate, how many connections there may be.
        seconds: for how long requests are sent.
        count: how many requests are sent at most; 0 for any number.
        leave: share of requests whose client goes away at a random moment within the answer.
        until_refused: clients that get no answer try again 0.1 s later, and give up after 15 times.
        warm: requests before.
        timeout_s: seconds for an answer.
        seed: of what is drawn.
    """

    host: str
    port: int
    path: str
    headers: dict[str, str]
    body: str
    stream: bool = False
    rate: float = 0.0
    clients: int = 16
    seconds: float = 5.0
    count: int = 0
    leave: float = 0.0
    until_refused: bool = False
    warm: int = 0
    timeout_s: float = 20.0
    seed: int = 0

    def request(self) -> bytes:
        """The bytes of a request."""
        body = self.body.encode()
        told = {"Host": f"{self.host}:{self.port}", "Content-Type": "application/json"}
        told |= self.headers | {"Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body


@dataclass
class Seen:
    """What came of it: times in seconds, CPU time of this process.

    Attributes:
        errors: by status, or what happened.
        sample: of what one of them said.
        late_s: how late the last hundredth of the requests were sent, at least.
    """

    sent: int = 0
    ok: int = 0
    left: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    late_s: float = 0.0
    p50_s: float = 0.0
    p99_s: float = 0.0
    mean_s: float = 0.0
    first_p50_s: float = 0.0
    first_p99_s: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    sample: str = ""


class Client(asyncio.Protocol):
    """A connection, with at most one request under way."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self.due = 0.0
        self._busy = False
        self._waiter: asyncio.Future[str] | None = None
        self._leaves_at = -1
        self._reset()

    def _reset(self) -> None:
        self._head = True
        self._first = 0.0
        self._parts: list[bytes] = []
        self._size = self._length = 0
        self._status = 0
        self._tail = b""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, due: float, waiter: asyncio.Future[str] | None = None) -> None:
        """Send the request; `waiter` is told when the answer has ended."""
        assert self._transport is not None
        self._reset()
        self.due, self._busy, self._waiter = due, True, waiter
        self._leaves_at = self._crowd.leaves_at()
        self._crowd.running.add(self)
        self._transport.write(self._crowd.request)

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.close()
            return
        if self._head:
            self._tail += data
            place = self._tail.find(b"\r\n\r\n")
            if place < 0:
                return
            head, data = self._tail[:place].lower(), self._tail[place + 4 :]
            self._head, self._tail = False, b""
            self._status = int(head[9:12])
            found = head.find(b"content-length:")
            self._length = -1
            if found >= 0:
                self._length = int(head[found + 15 :].split(b"\r\n", 1)[0])
            if not data and self._length != 0:
                return
        if not self._first and data:
            self._first = time.perf_counter()
        self._size += len(data)
        self._parts.append(data)
        if self._length >= 0:
            if self._size >= self._length:
                self._end()
                return
        else:
            self._tail = (self._tail + data)[-7:]
            if self._tail.endswith(b"0\r\n\r\n") and self._tail != b"\n0\r\n\r\n":
                self._end()
                return
        if 0 <= self._leaves_at <= len(self._parts):
            self._done("left")
            self.abort()

    def _end(self) -> None:
        body = b"".join(self._parts)
        whole = b"[DONE]" in body if self._crowd.spec.stream else b'"choices"' in body
        if self._status != 200:
            self._done(str(self._status), body)
        elif not whole:
            self._done("not whole", body)
        else:
            self._done("ok")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._done("connection lost")
        self._crowd.lost(self)

    def expire(self) -> None:
        self._done("time-out")
        self.abort()

    def _done(self, how: str, body: bytes = b"") -> None:
        if not self._busy:
            return
        self._busy = False
        self._crowd.done(self, how, self._first, body)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(how)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Crowd:
    """All connections, and what they have seen."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.request = spec, spec.request()
        self.running: set[Client] = set()
        self._idle: list[Client] = []
        self._all: set[Client] = set()
        self._rng = random.Random(spec.seed)
        self._opening = 0
        self.clear()

    def clear(self) -> None:
        """Forget what was seen."""
        self.seen = Seen()
        self._times: list[float] = []
        self._firsts: list[float] = []
        self._late: list[float] = []
        self._errors: Counter[str] = Counter()

    def leaves_at(self) -> int:
        """After how many pieces of its answer a client goes away; -1 for never."""
        if self._rng.random() >= self.spec.leave:
            return -1
        return self._rng.randrange(1, 50) if self.spec.stream else 0

    def done(self, client: Client, how: str, first: float, body: bytes) -> None:
        """A request has come to its end."""
        self.running.discard(client)
        if how == "ok":
            self.seen.ok += 1
            self._times.append(time.perf_counter() - client.due)
            self._firsts.append(first - client.due)
        elif how == "left":
            self.seen.left += 1
        else:
            self._errors[how] += 1
            if not self.seen.sample:
                self.seen.sample = body[:300].decode("utf-8", "replace")
        if client.is_open and how not in ("left", "time-out"):
            self._idle.append(client)

    def lost(self, client: Client) -> None:
        """A connection is gone."""
        self._all.discard(client)
        if client in self._idle:
            self._idle.remove(client)

    async def connect(self) -> Client:
        """An idle connection, or another one; OSError if it cannot be had."""
        while self._idle:
            client = self._idle.pop()
            if client.is_open:
                return client
        loop = asyncio.get_running_loop()
        self._opening += 1
        try:
            async with asyncio.timeout(self.spec.timeout_s):
                _, client = await loop.create_connection(
                    lambda: Client(self), self.spec.host, self.spec.port
                )
        finally:
            self._opening -= 1
        self._all.add(client)
        return client

    async def _one(self, due: float) -> None:
        try:
            client = await self.connect()
        except (OSError, TimeoutError) as error:
            self._errors[type(error).__name__] += 1
            return
        client.ask(due)

    async def at_rate(self) -> None:
        """Send at times that were drawn beforehand."""
        spec, at, times = self.spec, 0.0, []
        while (at := at + self._rng.expovariate(spec.rate)) < spec.seconds:
            times.append(at)
        opening: set[asyncio.Task[None]] = set()
        start = time.perf_counter()
        for at in times[: spec.count or None]:
            due = start + at
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            late = time.perf_counter() - due
            self._late.append(late)
            self.seen.sent += 1
            if len(self.running) + self._opening >= spec.clients:
                self._errors["not sent: no connection left"] += 1
                continue
            due = due if late > _TIMER_S else time.perf_counter()
            if self._idle:
                client = self._idle.pop()
                if client.is_open:
                    client.ask(due)
                    continue
            task = asyncio.create_task(self._one(due))
            opening.add(task)
            task.add_done_callback(opening.discard)
        until = time.perf_counter() + spec.timeout_s
        while (self.running or opening) and time.perf_counter() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        for client in list(self.running):
            client.expire()

    async def in_turn(self, count: int, seconds: float) -> None:
        """Have each client ask as soon as its last request is answered."""
        left = [count or sys.maxsize]
        until = time.perf_counter() + seconds

        async def client() -> None:
            loop, refused = asyncio.get_running_loop(), 0
            while left[0] > 0 and time.perf_counter() < until:
                left[0] -= 1
                self.seen.sent += 1
                waiter = loop.create_future()
                try:
                    connection = await self.connect()
                except (OSError, TimeoutError) as error:
                    self._errors[type(error).__name__] += 1
                    await asyncio.sleep(0.05)
                    continue
                connection.ask(time.perf_counter(), waiter)
                how = await waiter
                if self.spec.until_refused:
                    refused = 0 if how == "ok" else refused + 1
                    if refused > _PATIENCE:
                        return
                    if refused:
                        await asyncio.sleep(_PAUSE_S)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.spec.clients, left[0])):
                group.create_task(client())

    async def expire(self) -> None:
        """Give up on requests that take too long."""
        while True:
            await asyncio.sleep(0.25)
            before = time.perf_counter() - self.spec.timeout_s
            for client in [one for one in self.running if one.due < before]:
                client.expire()

    async def run(self) -> Seen:
        """Send what the specification says."""
        self.clear()
        start, cpu = time.perf_counter(), time.process_time()
        if self.spec.rate:
            await self.at_rate()
        else:
            await self.in_turn(self.spec.count, self.spec.seconds)
        seen = self.seen
        seen.wall_s, seen.cpu_s = time.perf_counter() - start, time.process_time() - cpu
        seen.errors = dict(self._errors)
        seen.late_s = quantile(self._late, 0.99)
        seen.p50_s, seen.p99_s = quantile(self._times, 0.5), quantile(self._times, 0.99)
        seen.mean_s = sum(self._times) / len(self._times) if self._times else 0.0
        seen.first_p50_s = quantile(self._firsts, 0.5)
        seen.first_p99_s = quantile(self._firsts, 0.99)
        return seen


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 without any."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


async def main() -> None:
    spec = Spec(**json.loads(sys.stdin.readline()))
    crowd = Crowd(spec)
    watch = asyncio.create_task(crowd.expire())
    if spec.warm:
        await crowd.in_turn(spec.warm, spec.timeout_s)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(asdict(await crowd.run())), flush=True)
    watch.cancel()


if __name__ == "__main__":
    uvloop.run(main())
