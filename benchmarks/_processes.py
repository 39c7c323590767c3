"""CPU time, memory and files of a process and all it has started, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> Iterator[int]:
    """`pid` and its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += parents.get(one, [])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; empty if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def cpu_s(pid: int) -> float:
    """Seconds of CPU time, user and system, of the whole tree and of children that have ended."""
    total = 0.0
    for one in tree(pid):
        fields = _stat(one)
        if fields:
            total += _fine(one) or sum(map(int, fields[11:13])) * _TICK_S
            total += sum(map(int, fields[13:15])) * _TICK_S
    return total


def _fine(pid: int) -> float:
    """The same of one process's threads, to the nanosecond where the kernel tells it."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e9
    except (OSError, ValueError):
        return 0.0


def main_thread_s(pid: int) -> float:
    """Seconds of CPU time of the process's first thread; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError):
        return 0.0


def rss_mb(pid: int) -> float:
    """Resident memory of the whole tree, in MB."""
    return sum(int(fields[21]) for one in tree(pid) if (fields := _stat(one))) * _PAGE / 1e6


def threads(pid: int) -> int:
    """Threads of the whole tree."""
    return sum(int(fields[17]) for one in tree(pid) if (fields := _stat(one)))


def files(pid: int) -> tuple[int, int]:
    """Open files of the whole tree, and how many of them are sockets."""
    found = sockets = 0
    for one in tree(pid):
        try:
            entries = list(Path(f"/proc/{one}/fd").iterdir())
        except OSError:
            continue
        for entry in entries:
            try:
                sockets += os.readlink(entry).startswith("socket:")
            except OSError:
                continue
            found += 1
    return found, sockets
