"""An upstream that costs next to nothing to ask, in a process of its own, with an exact account.

    _upstream.py

Prints its address. Answers chat completions, plain and as streams of 53 events, from bytes that
are made beforehand: only the identifier differs from call to call. How many tokens an answer has is
drawn from a log-normal distribution with a mean of 400. A plain answer is billed in full once it
was asked for; of a stream, the prompt and the tokens of the events that were sent before the
client was gone. Calls whose `user` is "long" get events of 4 kB. `GET /account` tells what was
billed; `POST /set` takes some of `Settings` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from dataclasses import dataclass, fields
from typing import Any

import uvloop
from _live import MEAN_TOKENS, PROMPT_TOKENS, RATES

EVENTS = 53
_PIECES = EVENTS - 3  # beside the first event, that of the reason and that of usage
_SIGMA = 0.8
_DRAWS = 64
_ID = b"chatcmpl-000000000000"
_WORD = "forty-two, "
_LONG = 400  # words of an event, for calls whose `user` is "long"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"x-request-id: req_0123456789abcdef\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@dataclass
class Settings:
    """How it answers.

    Attributes:
        delay_s: seconds before an answer, or the first event of a stream.
        gap_s: seconds between the events of a stream; 0 sends each in a turn of the loop.
        errors: share of calls that get status 500, and are not billed.
        cuts: share of answers whose connection is closed within.
        garbage: share of answers that are billed and cannot be read.
        keep: whether the account has each call.
        seed: of what is drawn.
    """

    delay_s: float = 0.0
    gap_s: float = 0.0
    errors: float = 0.0
    cuts: float = 0.0
    garbage: float = 0.0
    keep: bool = False
    seed: int = 0


class Account:
    """What was asked and billed, in picodollars.

    Attributes:
        asked: calls that came in.
        refused: those that got status 500.
        billed: in all.
        running: calls that are being answered.
        calls: what was billed, by the identifier of the answer, where each is kept.
    """

    def __init__(self) -> None:
        self.settings = Settings()
        self.random = random.Random(0)
        self.asked = self.refused = self.billed = self.running = self.connections = 0
        self.calls: dict[str, int] = {}

    def set(self, told: dict[str, Any]) -> None:
        """Change settings; a seed begins what is drawn anew."""
        known = {field.name for field in fields(Settings)}
        for name, value in told.items():
            if name not in known:
                raise ValueError(f"{name!r} is no setting")
            setattr(self.settings, name, value)
        if "seed" in told:
            self.random = random.Random(told["seed"])

    def bill(self, id: bytes, cost: int) -> None:
        """Book a call."""
        self.billed += cost
        if self.settings.keep:
            self.calls[id.decode()] = cost

    def json(self, *, calls: bool) -> bytes:
        """The account, with or without each call."""
        names = ("asked", "refused", "billed", "running", "connections")
        told: dict[str, Any] = {name: getattr(self, name) for name in names}
        return json.dumps(told | ({"calls": self.calls} if calls else {})).encode()


@dataclass(frozen=True, slots=True)
class Made:
    """An answer as it goes over the wire, but for its identifier.

    Attributes:
        tokens: of its output.
        plain: head and body.
        events: the frames of its stream.
        ends: where each event ends in them.
    """

    tokens: int
    plain: bytes
    events: bytes
    ends: tuple[int, ...]

    def cost(self, events: int = EVENTS) -> int:
        """Picodollars for the prompt and what `events` events show."""
        shown = min(max(0, events - 1), _PIECES)
        return PROMPT_TOKENS * RATES.input + math.ceil(self.tokens * shown / _PIECES) * RATES.output


def _made(tokens: int, words: int) -> Made:
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": tokens,
        "total_tokens": PROMPT_TOKENS + tokens,
    }
    told = {"id": _ID.decode(), "object": "chat.completion", "created": 1, "model": "m"}
    message = {"role": "assistant", "content": _WORD * 25 * words}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    plain = _http(json.dumps(told | {"choices": [choice], "usage": usage}).encode())

    def event(choices: list[dict[str, Any]], usage: Any = None) -> bytes:
        told["object"] = "chat.completion.chunk"
        more = {"choices": choices, "usage": usage}
        return b"data: " + json.dumps(told | more).encode() + b"\n\n"

    def piece(delta: dict[str, str], reason: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]

    events = [
        event(piece({"role": "assistant", "content": ""})),
        *(event(piece({"content": _WORD * words})) for _ in range(_PIECES)),
        event(piece({}, "stop")),
        event([], usage) + b"data: [DONE]\n\n",
    ]
    frames, ends = b"", []
    for sent in events:
        frames += b"%x\r\n%b\r\n" % (len(sent), sent)
        ends.append(len(frames))
    frames += b"0\r\n\r\n"
    ends[-1] = len(frames)
    return Made(tokens, plain, frames, tuple(ends))


def _http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return (
        b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n"
        b"x-request-id: req_0123456789abcdef\r\nContent-Length: %d\r\n\r\n%b"
        % (status, len(body), body)
    )


def answers(words: int = 1) -> list[Made]:
    """All answers there are; which one a call gets is drawn."""
    rng = random.Random(1)
    mu = math.log(MEAN_TOKENS) - _SIGMA**2 / 2
    return [_made(max(1, round(rng.lognormvariate(mu, _SIGMA))), words) for _ in range(_DRAWS)]


ERROR = _http(b'{"error": {"message": "made up", "type": "server_error"}}', b"500 Oops")


class Connection(asyncio.Protocol):
    """One client, a request at a time."""

    def __init__(self, account: Account, made: list[Made], long: list[Made]) -> None:
        self._account, self._made, self._long = account, made, long
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._stream: _Stream | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._account.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._account.connections -= 1
        if self._stream is not None:
            self._stream.end()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._stream is not None:
            self._stream.next()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        found = self._buffer[:head].lower()
        place = found.find(b"content-length:")
        size = 0 if place < 0 else int(found[place + 15 :].split(b"\r\n", 1)[0])
        if place < 0 and b"transfer-encoding: chunked" in found:
            if not self._buffer.endswith(b"0\r\n\r\n"):
                return
            size = len(self._buffer) - head - 4
        if len(self._buffer) < head + 4 + size:
            return
        body, self._buffer = self._buffer[head + 4 : head + 4 + size], b""
        path = found.split(b" ", 2)[1]
        if path.endswith(b"/chat/completions"):
            self._chat(body)
        elif path.startswith(b"/account"):
            self.write(_http(self._account.json(calls=path.endswith(b"calls"))))
        elif path == b"/set":
            self._account.set(json.loads(body))
            self.write(_http(b"{}"))
        else:
            self.write(_http(b"{}", b"404 Not Found"))

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _chat(self, body: bytes) -> None:
        account = self._account
        settings, rng = account.settings, account.random
        account.asked += 1
        account.running += 1
        made = (self._long if b'"long"' in body else self._made)[int(rng.random() * _DRAWS)]
        id = b"chatcmpl-%012x" % account.asked
        fate = rng.random()
        if fate < settings.errors:
            account.refused += 1
            self._later(self._plain, id, 0, ERROR, False)
            return
        fate -= settings.errors
        cut = fate < settings.cuts
        fate -= settings.cuts
        garbage = not cut and fate < settings.garbage
        if b'"stream":true' in body or b'"stream": true' in body:
            last = rng.randrange(EVENTS) if cut or garbage else EVENTS
            self._stream = _Stream(self, account, made, id, last, garbage)
            self._later(self._stream.begin)
            return
        answer = made.plain.replace(_ID, id, 1)
        if cut:
            answer = answer[: rng.randrange(len(answer))]
        elif garbage:
            answer = answer.replace(b'"choices"', b'"ch\x00ices"')
        self._later(self._plain, id, made.cost(), answer, cut)

    def _later(self, do: Any, *args: Any) -> None:
        delay_s = self._account.settings.delay_s
        if delay_s:
            self._loop.call_later(delay_s, do, *args)
        else:
            do(*args)

    def _plain(self, id: bytes, cost: int, answer: bytes, cut: bool) -> None:
        self._account.running -= 1
        if cost:
            self._account.bill(id, cost)
        self.write(answer)
        if cut:
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def open(self) -> bool:
        return self._transport is not None

    @property
    def paused(self) -> bool:
        return self._paused

    def done(self) -> None:
        self._stream = None


class _Stream:
    """A stream being sent; `last` is the event at which something goes wrong."""

    def __init__(
        self, to: Connection, account: Account, made: Made, id: bytes, last: int, garbage: bool
    ) -> None:
        self._to, self._account, self._made = to, account, made
        self._id, self._last, self._garbage = id, last, garbage
        self._frames = made.events.replace(_ID, id)
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._waits = self._ended = False

    def begin(self) -> None:
        if self._to.open:
            self._to.write(_STREAM)
            self.next()
        else:
            self.end()

    def next(self) -> None:
        """Send an event, and see to the one after it."""
        if self._waits or self._ended:
            return
        if self._sent == self._last:
            if self._garbage:
                self._to.write(b"8\r\ndata: {\n\r\n")
            self._to.close()
            self.end()
            return
        start = self._made.ends[self._sent - 1] if self._sent else 0
        self._to.write(self._frames[start : self._made.ends[self._sent]])
        self._sent += 1
        if self._sent == EVENTS:
            self.end()
        elif not self._to.paused:
            self._waits = True
            gap_s = self._account.settings.gap_s
            if gap_s:
                self._loop.call_later(gap_s, self._go_on)
            else:
                self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._waits = False
        self.next()

    def end(self) -> None:
        """Bill what was sent."""
        if not self._ended:
            self._ended = True
            self._account.running -= 1
            self._account.bill(self._id, self._made.cost(self._sent))
            self._to.done()


async def main() -> None:
    account, made, long = Account(), answers(), answers(_LONG)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(account, made, long), "127.0.0.1", 0, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
