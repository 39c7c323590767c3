"""An upstream whose first calls fail in stated ways, before it answers as FakeUpstream does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from fakes import FakeUpstream

ERROR = {"message": "no", "type": "t", "param": None, "code": "c"}


@dataclass(frozen=True)
class Fail:
    """How a call fails: by a status, by a connection that is closed before or within the answer,
    or by silence."""

    how: Literal["status", "close", "cut", "hang"] = "status"
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def flaky_upstream(fails: Iterable[Fail] = (), **settings: Any) -> AsyncIterator[Any]:
    """A FakeUpstream that is listening; `fails`, which can be added to, come first.

    It also has `base_url`, `calls`, the number of calls, and `fails`.
    """
    fake: Any = FakeUpstream(**settings)
    fake.fails, fake.calls = deque(fails), 0

    async def chat(request: web.Request) -> web.StreamResponse:
        fake.calls += 1
        if not fake.fails:
            return await fake.chat(request)
        fail = fake.fails.popleft()
        await request.read()
        if fail.how == "hang":
            await asyncio.sleep(30)
        if fail.how == "status":
            return web.json_response({"error": ERROR}, status=fail.status, headers=fail.headers)
        assert request.transport is not None
        if fail.how == "close":
            request.transport.close()
            raise ConnectionResetError
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices": [')
        request.transport.close()
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()
