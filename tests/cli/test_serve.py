"""The real processes `farthing init` and `farthing serve`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = """\
[gateway]
port = 0
[models.gpt]
kind = "http"
base_url = "http://127.0.0.1:9/v1"
"""
FARTHING = [sys.executable, "-c", "from farthing.cli import main; main()"]


def farthing(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FARTHING, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    (tmp_path / "farthing.toml").write_text(CONFIG)
    process = subprocess.Popen(
        [*FARTHING, "serve"],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    yield process, process.stdout.readline()
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(
    serving: tuple[subprocess.Popen[str], str], tmp_path: Path, number: signal.Signals
) -> None:
    process, ready = serving
    assert ready.startswith("farthing serves http://127.0.0.1:")
    assert ready.endswith("models: gpt\n")
    url = ready.split()[2].removesuffix(";")
    with urllib.request.urlopen(f"{url}/models") as response:
        assert [model["id"] for model in json.load(response)["data"]] == ["gpt"]
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert (tmp_path / "farthing.db").exists()


def test_a_second_server_on_the_port(
    serving: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    port = serving[1].split(":")[2].split("/")[0]
    done = farthing(tmp_path, "serve", "--port", port)
    assert done.returncode == 1
    assert done.stderr.startswith("farthing: farthing.toml:2: gateway.port: port ")
    assert "is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_writes_a_configuration_once(tmp_path: Path) -> None:
    done = farthing(tmp_path, "init")
    assert done.returncode == 0, done.stderr
    assert "farthing serve --config farthing.toml" in done.stdout
    (tmp_path / "farthing.toml").write_text("mine")
    done = farthing(tmp_path, "init")
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert (tmp_path / "farthing.toml").read_text() == "mine"
    assert farthing(tmp_path, "init", "--force").returncode == 0
    assert "[gateway]" in (tmp_path / "farthing.toml").read_text()
    done = farthing(tmp_path, "init", "--path", "no/folder/x.toml")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "farthing.toml: there is no such file; `farthing init`"),
        ("x = ", "farthing.toml:1: this is not TOML"),
        (CONFIG + "pric = 1", "farthing.toml:6: models.gpt.pric: unknown key; did you mean"),
        (CONFIG + "key_env = 'NOT_SET_ANYWHERE'", "farthing.toml:6: models.gpt.key_env: "),
    ],
)
def test_a_configuration_that_is_wrong(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "farthing.toml").write_text(text)
    done = farthing(tmp_path, "serve")
    assert done.returncode == 1
    assert done.stderr.startswith(f"farthing: {says}")
    assert "Traceback" not in done.stderr
