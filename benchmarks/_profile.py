"""`farthing` with its event loop's thread profiled, and what such a profile says.

    _profile.py OUT ARGUMENTS

Times are by the clock, since a thread's own clock takes longer to read than most functions to run;
waiting for events is left out, but not waiting for a core, which a write to a socket may cause.
cProfile makes small functions look up to twice as dear as they are.
"""

from __future__ import annotations

import cProfile
import pstats
import re
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_WAITING = "asyncio/runners.py:run"  # in what is compiled, such as uvloop's wait for events
_OWN = re.compile(r"farthing/(\w+)/\w+\.py$")


def text(out: Path, requests: int, most: int = 25) -> str:
    """Three lists, the largest first: microseconds for each of so many requests."""
    rooms, own, within = Counter[str](), Counter[str](), Counter[str]()
    for (file, _, function), (_, _, spent, whole, _) in pstats.Stats(str(out)).stats.items():  # type: ignore[attr-defined]
        name = f"{'/'.join(file.split('/')[-2:])}:{function}" if "/" in file else function
        if name == _WAITING:
            continue
        rooms[_room(file, function)] += spent
        own[name] += spent
        if _OWN.search(file):
            within[name] += whole
    parts = [f"in all: {1e6 * rooms.total() / requests:.0f} µs"]
    for title, counts in (("by room", rooms), ("own", own), ("within", within)):
        lines = [f"{1e6 * s / requests:6.1f} µs  {what}" for what, s in counts.most_common(most)]
        parts.append("\n".join([f"{title}:", *lines]))
    return "\n\n".join(parts)


def _room(file: str, function: str) -> str:
    if own := _OWN.search(file):
        return f"farthing.{own[1]}"
    if "/aiohttp/" in file:
        return f"aiohttp, {'server' if Path(file).name.startswith('web') else 'client and both'}"
    for name in ("sqlalchemy", "asyncio", "genai_prices", "yarl", "multidict", "prometheus_client"):
        if f"/{name}/" in file:
            return name
    for name in ("uvloop", "aiohttp", "msgspec", "_asyncio"):
        if name in function:
            return f"{name}, compiled"
    return "built in" if file == "~" else "standard library"


def profiled(out: str) -> None:
    """Have `farthing serve` write a profile when it ends."""
    server = import_module("farthing.gateway.server")
    run: Callable[..., Any] = server.run

    def measured(*args: Any, **kwargs: Any) -> Any:
        profiler = cProfile.Profile()
        try:
            return profiler.runcall(run, *args, **kwargs)
        finally:
            profiler.dump_stats(out)

    server.run = measured  # type: ignore[attr-defined]


if __name__ == "__main__":
    from farthing.cli import main

    profiled(sys.argv[1])
    sys.argv[1:] = sys.argv[2:]
    main()
