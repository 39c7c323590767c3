"""The documentation does what it shows: every example of README.md and docs/*.md is run.

The examples of one page run in order in one empty directory, as a reader would follow them.

- In a ```` ```console ```` block, lines after `$ ` are commands, given to one bash per page; a
  command goes on after a backslash, and on lines after `> `. What follows is its output, compared
  with what it printed (its standard output, its errors, or both in this order). A line `...`
  stands for any lines, `...` inside a line for any text. With no output shown, any will do.
- A command ending in `&` runs until the page ends; the next one waits for the output shown.
- A ```` ```python ```` block is executed, in one namespace per page; or, if it begins with
  `>>> `, read as a doctest.
- `<!-- exit: 3 -->` before a block: its last command exits so; all else must succeed.
- `<!-- skip: reason -->` before a block: it is not run.
- `<!-- needs: llama -->` before a block: it is not run where that is not installed.
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import smollm2

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALLED = {"llama": smollm2.INSTALLED}
TIMEOUT_S = 180.0  # of one command
SETTLE_S = 3.0  # what a background command without output shown is given to start


@dataclass(frozen=True)
class Command:
    """One command of a console block, and the output shown after it."""

    line: int
    text: str
    expected: list[str]


@dataclass(frozen=True)
class Block:
    """One fenced block of a page; `line` is that of its first line of content."""

    language: str
    line: int
    lines: list[str]
    exit: int = 0
    skip: str | None = None


class ExampleError(AssertionError):
    """An example did not do what the page says."""


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, with what a comment right before them says."""
    fence, language, start, content = "", "", 0, list[str]()
    notes: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if fence:
            if re.fullmatch(f"{fence[0]}{{{len(fence)},}}", stripped):
                indent = min((len(x) - len(x.lstrip()) for x in content if x.strip()), default=0)
                lines = [x[indent:] for x in content]
                skip = notes.get("skip")
                if "needs" in notes and not INSTALLED[notes["needs"]]:
                    skip = f"needs {notes['needs']}"
                yield Block(language, start, lines, int(notes.get("exit", 0)), skip)
                fence, content, notes = "", [], {}
            else:
                content.append(line)
        elif opened := re.fullmatch(r"(```+|~~~+)\s*([^`]*)", stripped):
            fence, start = opened[1], number + 1
            language = opened[2].split()[0] if opened[2] else ""
        elif note := re.fullmatch(r"<!--\s*(exit|skip|needs):\s*(\S.*?)\s*-->", stripped):
            notes[note[1]] = note[2]
        elif stripped:
            notes = {}


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    inside = False  # a command that goes on
    for number, line in enumerate(block.lines, block.line):
        if line.startswith("$ "):
            found.append(Command(number, line[2:], []))
            inside = True
        elif inside and (line.startswith("> ") or line == ">" or found[-1].text.endswith("\\")):
            last = found[-1]
            more = line[2:] if line.startswith(">") else line
            found[-1] = Command(last.line, f"{last.text}\n{more}", [])
        elif found:
            found[-1].expected.append(line)
            inside = False
        elif line.strip():
            raise ExampleError(f"line {number}: output before any command: {line!r}")
    return found


def matches(expected: list[str], printed: str) -> bool:
    """Whether `printed` is what the page shows."""
    pattern = ""
    for line in "\n".join(expected).strip("\n").split("\n"):
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += r"[^\n]*".join(re.escape(part) for part in line.rstrip().split("..."))
            pattern += r"[ \t]*\n"
    return re.fullmatch(rf"\n*{pattern}\n*", printed.rstrip() + "\n") is not None


class Page:
    """Runs the examples of one page in `directory`."""

    def __init__(self, path: Path, directory: Path) -> None:
        self.path = path
        self.directory = directory
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.logs = directory.parent / f"{directory.name}-output"
        self.logs.mkdir()
        self.count = 0
        environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "PYTHONUNBUFFERED": "1",
        }
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            env=environment,
            start_new_session=True,
            text=True,
        )

    def close(self) -> None:
        """End the shell and all that it still runs."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.shell.pid, number)
            deadline = time.monotonic() + 3
            while number == signal.SIGTERM and time.monotonic() < deadline and self._alive():
                time.sleep(0.02)
        self.shell.communicate()

    def _alive(self) -> bool:
        self.shell.poll()
        try:
            os.killpg(self.shell.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def run(self) -> int:
        """Run every block; how many there were."""
        done = 0
        for block in blocks(self.path.read_text(encoding="utf-8")):
            if block.language not in ("console", "python") or block.skip is not None:
                continue
            if block.language == "console":
                self.run_console(block)
            else:
                self.run_python(block)
            done += 1
        return done

    def fail(self, line: int, text: str) -> None:
        raise ExampleError(f"{self.path.name}:{line}: {text}")

    def run_console(self, block: Block) -> None:
        shown = commands(block)
        for command in shown:
            status, printed, errors = self.bash(command)
            both = "\n".join(f"    {line}" for line in (printed + errors).splitlines())
            wanted = block.exit if command is shown[-1] else 0
            if status != wanted:
                self.fail(
                    command.line,
                    f"`{command.text}` exited {status}, not {wanted}; it printed:\n{both}",
                )
            if any(line.strip() for line in command.expected) and not any(
                matches(command.expected, x) for x in (printed, errors, printed + errors)
            ):
                expected = "\n".join(f"    {line}" for line in command.expected)
                self.fail(
                    command.line,
                    f"`{command.text}` is shown to print\n{expected}\nbut printed\n{both}",
                )

    def bash(self, command: Command) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        self.count += 1
        script, out, err, rc = (
            self.logs / f"{self.count}.{what}" for what in ("sh", "out", "err", "rc")
        )
        script.write_text(command.text + "\n", encoding="utf-8")
        out.touch()
        err.touch()
        assert self.shell.stdin is not None
        self.shell.stdin.write(
            f"source '{script}' </dev/null >'{out}' 2>'{err}'; echo $? >'{rc}.new';"
            f" mv '{rc}.new' '{rc}'\n"
        )
        self.shell.stdin.flush()
        deadline = time.monotonic() + TIMEOUT_S
        while not rc.exists():
            if self.shell.poll() is not None:
                self.fail(command.line, f"`{command.text}` ended the shell")
            if time.monotonic() > deadline:
                said = out.read_text("utf-8") + err.read_text("utf-8")
                self.fail(
                    command.line,
                    f"`{command.text}` still runs after {TIMEOUT_S:.0f} s; it printed:\n{said}",
                )
            time.sleep(0.01)
        if command.text.rstrip().endswith("&"):
            expects = any(line.strip() for line in command.expected)
            deadline = time.monotonic() + (TIMEOUT_S if expects else SETTLE_S)
            while time.monotonic() < deadline:
                texts = out.read_text("utf-8"), err.read_text("utf-8")
                if expects and any(matches(command.expected, x) for x in (*texts, "".join(texts))):
                    break
                if not expects and any(texts):
                    break
                time.sleep(0.05)
        return (
            int(rc.read_text()),
            out.read_text("utf-8", errors="replace"),
            err.read_text("utf-8", errors="replace"),
        )

    def run_python(self, block: Block) -> None:
        source = "\n".join(block.lines) + "\n"
        if source.lstrip().startswith(">>> "):
            test = doctest.DocTestParser().get_doctest(
                source, self.namespace, self.path.name, str(self.path), block.line - 1
            )
            said: list[str] = []
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            if runner.run(test, out=said.append, clear_globs=False).failed:
                self.fail(block.line, "".join(said))
            self.namespace.update(test.globs)
            return
        # Empty lines first, so that a traceback names the line of the page.
        source = "\n" * (block.line - 1) + source
        try:
            code = compile(source, str(self.path), "exec", dont_inherit=True)
            exec(code, self.namespace)
        except (Exception, SystemExit) as error:
            at = error.__traceback__
            line = block.line
            while at is not None:
                if at.tb_frame.f_code.co_filename == str(self.path):
                    line = at.tb_lineno
                at = at.tb_next
            message = f"{self.path.name}:{line}: {type(error).__name__}: {error}"
            raise ExampleError(message) from error


def run_page(path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(directory)
    page = Page(path, directory)
    try:
        return page.run()
    finally:
        page.close()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "page"
    directory.mkdir()
    run_page(path, directory, monkeypatch)


# The runner itself.


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Run a page given as text."""

    def run(text: str) -> int:
        directory = tmp_path / "page"
        directory.mkdir()
        path = tmp_path / "page.md"
        path.write_text(text, encoding="utf-8")
        return run_page(path, directory, monkeypatch)

    return run


def test_blocks_share_directory_and_shell(follow: Callable[[str], int]) -> None:
    assert (
        follow(
            """
```console
$ export GREETING=hello
$ mkdir sub && cd sub
```

Then:

```console
$ echo "$GREETING" \\
    there
hello there
$ cat > file.txt <<'END'
> one
> two
> END
$ cat file.txt; basename "$PWD"
one
...
sub
```

```python
from pathlib import Path
text = Path("sub/file.txt").read_text()
```

```python
>>> text.split()
['one', ...]
```
"""
        )
        == 4
    )


def test_other_blocks_are_left_alone(follow: Callable[[str], int]) -> None:
    assert (
        follow(
            """
```toml
[a
```

````markdown
```console
$ exit 1
```
````

<!-- skip: runs for ever -->

```console
$ sleep 1000
```
"""
        )
        == 0
    )


def test_exit_status(follow: Callable[[str], int]) -> None:
    text = "x\n\n```console\n$ true\n$ (exit 3)\n```\n"
    assert follow("<!-- exit: 3 -->\n" + text[3:]) == 1


def test_wrong_exit_status_names_the_line(follow: Callable[[str], int]) -> None:
    with pytest.raises(ExampleError, match=r"page\.md:3: `\(exit 3\)` exited 3, not 0"):
        follow("```console\n$ true\n$ (exit 3)\n```\n")


def test_wrong_output_shows_both(follow: Callable[[str], int]) -> None:
    with pytest.raises(ExampleError, match=r"(?s)page\.md:2: .*shown to print\n +b\nbut.*\n +a"):
        follow("```console\n$ echo a\nb\n```\n")


def test_errors_are_output_too(follow: Callable[[str], int]) -> None:
    assert follow("```console\n$ echo a; echo b >&2\nb\n$ echo a; echo b >&2\na\n```\n") == 1


def test_python_error_names_the_line(follow: Callable[[str], int]) -> None:
    with pytest.raises(ExampleError, match=r"page\.md:4: ZeroDivisionError"):
        follow("\n```python\nx = 0\n1 / x\n```\n")


def test_doctest_failure(follow: Callable[[str], int]) -> None:
    with pytest.raises(ExampleError, match=r"(?s)page\.md:2: .*Expected:.*3.*Got:.*2"):
        follow("```python\n>>> 1 + 1\n3\n```\n")


def test_background_command_is_awaited_and_ended(
    follow: Callable[[str], int], tmp_path: Path
) -> None:
    page = """
```console
$ (sleep 0.3; echo ready; while true; do echo >> beats; sleep 0.02; done) &
ready
$ sleep 0.1
```
"""
    assert follow(page) == 1
    beats = tmp_path / "page" / "beats"
    size = beats.stat().st_size
    assert size > 0
    time.sleep(0.3)
    assert beats.stat().st_size == size


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a"], "a\n", True),
        (["a"], "a\nb\n", False),
        (["a", "..."], "a\n", True),
        (["a", "...", "c"], "a\nb\nb\nc\n", True),
        (["a", "...", "c"], "a\nb\n", False),
        (["cost ... USD"], "cost 1.25 USD\n", True),
        (["cost ... USD"], "cost 1\n25 USD\n", False),
        (["a.c"], "abc\n", False),
        (["a", "", "b", ""], "a\n\nb\n", True),
    ],
)
def test_matching(expected: list[str], printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
