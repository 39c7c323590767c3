"""A pass-through and nothing else, in aiohttp: what any gateway in Python has to spend.

    _floor.py UPSTREAM

Prints its address. It reads a body, sends it on, and gives back the bytes as they come.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import aiohttp
import uvloop
from aiohttp import web


async def main(upstream: str) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def chat(http: web.Request) -> web.StreamResponse:
            body = await http.read()
            headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
            async with session.post(f"{upstream}{http.path}", data=body, headers=headers) as got:
                kind = {"Content-Type": got.headers["Content-Type"]}
                if not kind["Content-Type"].startswith("text/event-stream"):
                    return web.Response(body=await got.read(), status=got.status, headers=kind)
                answer = web.StreamResponse(status=got.status, headers=kind)
                await answer.prepare(http)
                with suppress(ConnectionError):
                    async for data in got.content.iter_any():
                        await answer.write(data)
                    await answer.write_eof()
                return answer

        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
