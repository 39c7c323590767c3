"""`farthing` that tells what lives in its process: a line `count` on standard input asks.

    _watched.py ARGUMENTS

The answer is a line of JSON on standard output: asyncio's tasks, and objects that the garbage
collector knows, after it has run.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
from importlib import import_module
from typing import Any


def told() -> str:
    """The answer, in the running loop."""
    gc.collect()
    return json.dumps({"tasks": len(asyncio.all_tasks()), "objects": len(gc.get_objects())})


def listen(loop: asyncio.AbstractEventLoop) -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        if line.strip() == "count":
            loop.call_soon_threadsafe(lambda: print(told(), flush=True))


def watched() -> None:
    """Have `farthing serve` answer."""
    server = import_module("farthing.gateway.server")
    serve = server.serve

    async def serving(*args: Any, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        threading.Thread(target=listen, args=(loop,), daemon=True).start()
        return await serve(*args, **kwargs)

    server.serve = serving  # type: ignore[attr-defined]


if __name__ == "__main__":
    from farthing.cli import main

    watched()
    main()
