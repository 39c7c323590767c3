"""Asks a gateway what its own page in OpenAPI allows, and what it does not, at random.

    fuzz.py [--cases 5000]

A gateway is started before an upstream of all formats, with models of both shapes, one that runs
in its own process, and plans. schemathesis draws requests from the page that it serves: half of
them keep to the schemas, half break them, and one in twenty comes without the token. An answer
with status 500 is a fault, as is one that the page does not describe: its status, its type, its
headers or its shape. Prints how many cases got which status; exit code 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from _common import environment, markdown
from _live import start
from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.console import Console
from rich.progress import Progress
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes import FakeUpstream, fake_upstream

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
SPARSE = 5  # cases of each kind for what is only read
STRANGERS = 20  # of so many cases, one comes without the token
TOKEN = "fuzz-token"
CONFIG = """\
[gateway]
port = 0
token_env = "FUZZ_TOKEN"
max_body_mb = 1
[ledger]
sync = "relaxed"
[models.gpt]
kind = "http"
base_url = "{url}"
price = {{ input = "1", output = "10" }}
[models.claude]
kind = "http"
api = "anthropic"
base_url = "{url}"
price = {{ input = "1", output = "10" }}
[models.small]
kind = "tiny"
size = "small"
[plans.lone]
kind = "single"
model = "gpt"
[plans.either]
kind = "fallback"
models = ["gpt", "claude"]
"""


@dataclass
class Fuzz:
    """What was asked and answered.

    Attributes:
        seen: cases by endpoint and status.
        faults: what was answered that should not be, with the request that asks for it.
    """

    url: str
    seed: int = 0
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def cases(self) -> int:
        """How many were asked."""
        return sum(self.seen.values())

    def ask(self, case: schemathesis.Case) -> None:
        """Ask one, and judge the answer."""
        known = {"Authorization": f"Bearer {TOKEN}"} if self.cases % STRANGERS else {}
        answer = case.call(self.url, self.session, headers=known, timeout=30)
        self.seen[case.operation.label, answer.status_code] += 1
        try:
            if answer.status_code == 500:
                raise AssertionError(f"status 500: {answer.text}")
            case.validate_response(answer, checks=CHECKS)
        except (AssertionError, BaseExceptionGroup) as fault:
            told = "\n".join(str(one) for one in getattr(fault, "exceptions", [fault]))
            self.faults.append(f"{case.as_curl_command()}\n{told}")

    def run(self, cases: int, progress: Progress | None = None) -> None:
        """Ask at least `cases` of what the page offers."""
        known = {"Authorization": f"Bearer {TOKEN}"}
        page = self.session.get(f"{self.url}/openapi.json", headers=known, timeout=30).json()
        schema = schemathesis.openapi.from_dict(page)
        offered = [found.ok() for found in schema.get_all_operations()]
        read = [operation for operation in offered if operation.method == "get"]
        asked = [operation for operation in offered if operation.method == "post"]
        row = None if progress is None else progress.add_task("asking", total=cases)
        for operation in read:
            self._draw(operation, MODES[0], SPARSE)
        for place, operation in enumerate(asked):
            for number, mode in enumerate(MODES):
                parts = 2 * (len(asked) - place) - number
                self._draw(operation, mode, -(-(cases - self.cases) // parts))
                if progress is not None and row is not None:
                    progress.update(row, completed=self.cases)

    def _draw(self, operation: Any, mode: schemathesis.GenerationMode, count: int) -> None:
        """Draw and ask up to `count` cases; fewer, where there are no more."""

        @seed(self.seed)
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            self.ask(case)

        ask()


@contextmanager
def gateway() -> Iterator[tuple[str, Path]]:
    """A gateway and its upstream, on a loop of their own; its address and its log."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin(stack: AsyncExitStack, folder: Path) -> tuple[str, Path]:
        env = {"FUZZ_TOKEN": TOKEN}
        upstream: FakeUpstream = await stack.enter_async_context(fake_upstream())
        served = await start(folder, CONFIG.format(url=upstream.base_url), env=env)
        stack.push_async_callback(served.stop)
        return served.url.removesuffix("/v1"), served.log

    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    stack = AsyncExitStack()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        try:
            yield wait(begin(stack, Path(name)))
        finally:
            wait(stack.aclose())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def main() -> None:
    """Print the table; exit code 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    options = parser.parse_args()
    began, where = time.perf_counter(), environment()
    with gateway() as (url, log), Progress(console=Console(file=sys.stderr)) as progress:
        fuzz = Fuzz(url, options.seed)
        fuzz.run(options.cases, progress)
        mistakes = [line for line in log.read_text(errors="replace").splitlines() if " in " in line]
    seconds = time.perf_counter() - began
    if options.json:
        seen = [[label, status, count] for (label, status), count in sorted(fuzz.seen.items())]
        print(json.dumps({"cases": fuzz.cases, "seen": seen, "faults": fuzz.faults}))
    else:
        statuses = sorted({status for _, status in fuzz.seen})
        labels = dict.fromkeys(label for label, _ in fuzz.seen)
        rows = [[label, *(f"{fuzz.seen[label, s]:,}" for s in statuses)] for label in labels]
        print(f"{where}; schemathesis {schemathesis.__version__}\n")
        print(markdown(["asked", *map(str, statuses)], rows))
        print(f"\n{fuzz.cases:,} cases in {seconds:.0f} s; {len(fuzz.faults)} faults")
        for fault in fuzz.faults[:20]:
            print(f"\n{fault}")
        for line in mistakes[:20]:
            print(line)
    raise SystemExit(bool(fuzz.faults))


if __name__ == "__main__":
    main()
