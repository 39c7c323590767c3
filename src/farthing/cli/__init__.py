"""The commands; one module each, thin."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = (
    "init",
    "serve",
    "check",
    "bypass",
    "plan",
    "plan_compute",
    "saturation",
    "explain",
    "replay",
    "certify",
    "audit",
    "bench",
    "bench_ttc",
    "economics",
    "report",
    "export",
    "prices",
    "card",
    "device",
    "measure",
    "demo",
    "keys",
    "budgets",
    "db",
)


def main() -> None:
    """Entry point of `farthing`."""
    from farthing.cli._app import app, run

    def call() -> None:
        for name in COMMANDS:
            import_module(f"farthing.cli.{name}")
        app(standalone_mode=True)

    sys.exit(run(call))
