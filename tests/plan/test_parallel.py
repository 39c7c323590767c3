"""Work in processes of its own: in order, and ended with who began it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farthing.plan.parallel import for_each

ENDLESS = """
import os, sys, time
from pathlib import Path
from farthing.plan.parallel import for_each

def work(name):
    Path(sys.argv[1], name).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    for_each(["a", "b"], work, jobs=2)
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_order(jobs: int) -> None:
    told: list[tuple[int, int]] = []
    names = ["c", "a", "b"]
    found = for_each(names, str.upper, jobs=jobs, progress=lambda _, *at: told.append(at))
    assert found == ["C", "A", "B"]
    assert told[-1] == (3, 3)


def test_processes_end_with_who_began_them(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    try:
        files = [tmp_path / name for name in "ab"]
        wait_until(lambda: all(file.exists() and file.read_text() for file in files))
        children = [int(file.read_text()) for file in files]
        parent.kill()
        wait_until(lambda: not any(map(running, children)))
    finally:
        parent.kill()
        parent.wait()


def wait_until(holds: object, seconds: float = 60) -> None:
    assert callable(holds)
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
