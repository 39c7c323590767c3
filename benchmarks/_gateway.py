"""`farthing` with other times than usual, for faults that would take long otherwise.

    _gateway.py RENEW_S DEAD_AFTER_S ARGUMENTS

The first two are how often a process shows that it lives, and after how long without a sign it is
taken for dead. A line `clock SECONDS` on standard input sets the wall clock that Farthing sees
that much ahead of the true one: `time.time`, `time.time_ns` and `datetime.now`.
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import datetime, timedelta, tzinfo
from importlib import import_module

from farthing.budgets import book, recovery, windows
from farthing.cli import main

_ahead_s = 0.0
_time, _time_ns = time.time, time.time_ns


class _Moved(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _Moved:
        return super().now(tz) + timedelta(seconds=_ahead_s)


def move_clock() -> None:
    """Let Farthing's modules see a clock that can be set."""
    import_module("farthing.gateway.server")
    time.time = lambda: _time() + _ahead_s
    time.time_ns = lambda: _time_ns() + round(_ahead_s * 1e9)
    windows.Clock.__init__.__defaults__ = (time.time, time.monotonic)  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):
        if name.startswith("farthing.") and getattr(module, "datetime", None) is datetime:
            module.datetime = _Moved  # type: ignore[attr-defined]


def listen() -> None:
    """Do what standard input says, until it ends."""
    global _ahead_s
    for line in sys.stdin:
        what, _, seconds = line.partition(" ")
        if what == "clock":
            _ahead_s = float(seconds)


if __name__ == "__main__":
    book.RENEW_S, recovery.DEAD_AFTER_S = float(sys.argv[1]), float(sys.argv[2])
    move_clock()
    threading.Thread(target=listen, daemon=True).start()
    sys.argv[1:] = sys.argv[3:]
    main()
