"""What all commands have in common."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest


def heeding() -> None:
    """Where pytest runs in the background, SIGINT is ignored, also by what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("command", [["explain"], ["budgets", "list", "--db"]])
def test_interrupted(tmp_path, command):
    """Whoever opens a pipe to write waits until the command has opened it to read."""
    pipe = tmp_path / "plan.toml"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-m", "farthing", *command, str(pipe)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding,
    )
    with pipe.open("w"):
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "farthing: interrupted\n")
