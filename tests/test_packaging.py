"""The wheel holds what it must, and importing it is quiet and light."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    directory = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", directory],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = directory.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def read(wheel: zipfile.ZipFile, name: str) -> str:
    """A file of the wheel's metadata."""
    (path,) = (x for x in wheel.namelist() if x.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(read(wheel, "METADATA"))


def test_wheel_holds_the_whole_package(wheel: zipfile.ZipFile) -> None:
    """Modules, py.typed, and data such as the embedded models' weights."""
    source = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "farthing").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == source
    assert "farthing/py.typed" in shipped


def test_wheel_is_of_any_platform(wheel: zipfile.ZipFile) -> None:
    assert "Tag: py3-none-any" in read(wheel, "WHEEL")


def test_wheel_holds_the_licence(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert read(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_wheel_has_the_command(wheel: zipfile.ZipFile) -> None:
    points = read(wheel, "entry_points.txt")
    assert "[console_scripts]" in points
    assert "farthing = farthing.cli:main" in points


def test_core_install_is_without_the_extras(metadata: Message) -> None:
    needed = metadata.get_all("Requires-Dist") or []
    core = [x for x in needed if "extra ==" not in x]
    assert not [x for x in core if x.startswith(("torch", "transformers", "openai"))]


def test_import_is_quiet_and_light(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """No connection, no name looked up, nothing printed, and no heavy module loaded."""
    wheel.extractall(tmp_path)
    program = f"""
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise RuntimeError(f"network at import: {{event}} {{arguments}}")
sys.addaudithook(refuse)
sys.path.insert(0, {str(tmp_path)!r})
import farthing, farthing.cli
assert farthing.__file__.startswith({str(tmp_path)!r}), farthing.__file__
heavy = {{"torch", "transformers", "pyarrow", "scipy", "openai"}} & set(sys.modules)
assert not heavy, heavy
"""
    # Not measured: the wheel's files are a second copy of the package.
    environment = {name: x for name, x in os.environ.items() if not name.startswith("COV")}
    found = subprocess.run(
        [sys.executable, "-I", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout + found.stderr == ""
