"""Peers of `gateway.py`, from the public registries, each in an environment of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from farthing.core.money import PICO_PER_USD

_INSTALL_S = 900


class NoPeerError(Exception):
    """A peer that cannot be installed, and why."""


@dataclass(frozen=True)
class Start:
    """How a peer is started.

    Attributes:
        headers: sent with every request.
        spends: reads what it has booked, in picodollars; None if it books nothing.
    """

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    spends: Callable[[], int] | None = None


class Peer(Protocol):
    """A gateway that others have written."""

    budget: str

    def install(self, home: Path) -> str:
        """Install it into a folder, if it is not there; its version. NoPeerError if it cannot."""
        ...

    def start(
        self, home: Path, folder: Path, url: str, port: int, limit: int | None, books: bool
    ) -> Start:
        """How it is started, to pass calls on to `url`.

        `limit` is a budget in picodollars, and `books` whether it is to keep an account.
        """
        ...


def _run(*command: str) -> str:
    """What a command prints; NoPeerError if it fails."""
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_INSTALL_S
        )
    except FileNotFoundError:
        raise NoPeerError(f"there is no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise NoPeerError(f"{command[0]} took longer than {_INSTALL_S} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        raise NoPeerError(f"{command[0]}: {lines[-1] if lines else error}") from None
    return done.stdout


class LiteLLM:
    """LiteLLM's proxy without a database.

    Its keys' budgets need PostgreSQL and Prisma; what it has without is the budget of a
    deployment, in memory. Its account is the sum that it hands to callbacks, which is what its
    own spend logs are made of.
    """

    budget = "max_budget of the deployment, in memory"

    def install(self, home: Path) -> str:
        python = home / "litellm" / "bin" / "python"
        if not (home / "litellm" / "bin" / "litellm").exists():
            beside = Path(sys.executable).with_name("uv")
            uv = str(beside) if beside.exists() else (shutil.which("uv") or "uv")
            _run(uv, "venv", "--quiet", "--clear", str(home / "litellm"))
            _run(uv, "pip", "install", "--quiet", "--python", str(python), "litellm[proxy]")
        ask = "from importlib.metadata import version; print(version('litellm'))"
        return _run(str(python), "-c", ask).strip()

    def start(
        self, home: Path, folder: Path, url: str, port: int, limit: int | None, books: bool
    ) -> Start:
        budget = ""
        if limit is not None:
            budget = f"\n      max_budget: {limit / PICO_PER_USD}\n      budget_duration: 1d"
        config = _LITELLM.format(url=url, budget=budget)
        if books:
            (folder / "spends.py").write_text(_SPENDS.format(path=str(folder / "spends.txt")))
            config += "  callbacks: spends.spends\n"
        (folder / "litellm.yaml").write_text(config)
        where = home / "litellm" / "bin"
        command = [str(where / "litellm"), "--config", "litellm.yaml", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
        env = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "PYTHONPATH": str(folder)}
        env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
        spends = (lambda: _sum(folder / "spends.txt")) if books else None
        return Start(command, env, {"Authorization": "Bearer sk-bench"}, spends)


_LITELLM = """\
model_list:
  - model_name: m
    litellm_params:
      model: openai/m
      api_base: {url}
      api_key: none
      input_cost_per_token: 0.000001
      output_cost_per_token: 0.00001{budget}
general_settings:
  master_key: sk-bench
litellm_settings:
  num_retries: 0
"""
_SPENDS = """\
from litellm.integrations.custom_logger import CustomLogger


class Spends(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        with open({path!r}, "a") as file:
            file.write(f"{{kwargs.get('response_cost') or 0:.12f}}\\n")


spends = Spends()
"""


def _sum(path: Path) -> int:
    lines = path.read_text().split() if path.exists() else []
    return sum(round(float(line) * PICO_PER_USD) for line in lines)


class Portkey:
    """Portkey's open gateway, on Node; it keeps no account and has no budgets."""

    budget = "none"

    def install(self, home: Path) -> str:
        where = home / "portkey"
        package = where / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
        if not package.exists():
            _run("npm", "install", "--prefix", str(where), "--no-fund", "@portkey-ai/gateway")
        version = json.loads(package.read_text())["version"]
        return f"{version}, Node {_run('node', '--version').strip().lstrip('v')}"

    def start(
        self, home: Path, folder: Path, url: str, port: int, limit: int | None, books: bool
    ) -> Start:
        program = home / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
        command = ["node", str(program), f"--port={port}", "--headless"]
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": url}
        env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
        return Start(command, env, headers | {"Authorization": "Bearer none"})


PEERS: dict[str, Peer] = {"litellm": LiteLLM(), "portkey": Portkey()}
