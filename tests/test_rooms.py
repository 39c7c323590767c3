"""The order of the rooms: imports go down only, and the core needs nothing but Python."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def contract() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    return [layer.removeprefix("farthing.") for layer in layers]


def test_imports_go_down_only() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_room_is_in_the_order() -> None:
    source = ROOT / "src" / "farthing"
    rooms = {path.parent.name for path in source.glob("*/__init__.py")}
    modules = {path.stem for path in source.glob("*.py")} - {"__init__", "__main__"}
    assert rooms | modules == set(contract())


def test_architecture_page_tells_the_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("\n## ")[1]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == contract()


def test_core_needs_only_the_standard_library() -> None:
    program = """
import importlib, pkgutil, sys
import farthing.core
for module in pkgutil.walk_packages(farthing.core.__path__, "farthing.core."):
    importlib.import_module(module.name)
top = {name.partition(".")[0] for name in sys.modules if not name.startswith("_")}
print(*sorted(top - sys.stdlib_module_names - {"farthing"}))
"""
    bare = [sys.executable, "-I", "-S", "-c"]  # -S: no site-packages to import from
    path = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})"
    found = subprocess.run(
        [*bare, path + program], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == ""
