"""How fast logs are audited, and in how much memory.

Made-up logs: LiteLLM's spend logs without texts, and requests and responses with prompts of about
a kilobyte, of which many begin alike. Each is audited by `farthing audit` in a process of its own,
at several lengths, so that the memory can be seen not to grow. `parsing alone` is a process that
does nothing but decode the same lines, by msgspec line by line and by pyarrow in blocks: the floor.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from _common import environment, markdown

START = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = {
    "gpt-4o-mini": (150, 75, 600),
    "gpt-4.1": (2000, 500, 8000),
    "o4-mini": (1100, 275, 4400),
}
"""Nano-dollars a token: input, cached, output."""
SYSTEM = "You answer questions of customers of a shop, shortly, and in a kind voice. " * 8
PROGRAM = """
import resource, sys, time
from farthing.cli import main
sys.argv = ["farthing", "audit", sys.argv[1], "--json"]
sys.stdout = open(sys.argv[0] and "/dev/null", "w")
start = time.perf_counter()
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
took = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_SELF)
print(took, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.__stdout__)
"""
FLOORS = {
    "msgspec, line by line": """
import sys, msgspec
decode = msgspec.json.Decoder().decode
for line in open(sys.argv[1], "rb"):
    decode(line)
""",
    "pyarrow, in blocks": """
import sys, pyarrow.json as pj
for batch in pj.open_json(sys.argv[1], read_options=pj.ReadOptions(block_size=1 << 22)):
    pass
""",
}


def spend_logs(lines: int, rng: random.Random) -> Iterator[str]:
    """LiteLLM's rows, one in fifty with the cached tokens charged twice."""
    for number in range(lines):
        model, asked, told, cached, cost = _call(rng)
        if number % 50 == 0:
            cost += cached * MODELS[model][0]
        begin = START + timedelta(seconds=number * 2)
        usage = _usage(asked, told, cached)
        yield (
            f'{{"request_id":"chatcmpl-{number:032x}","call_type":"acompletion","api_key":"k",'
            f'"spend":{cost / 1e9!r},"prompt_tokens":{asked},"completion_tokens":{told},'
            f'"total_tokens":{asked + told},"startTime":"{begin.isoformat()}","endTime":'
            f'"{begin.isoformat()}","model":"{model}","custom_llm_provider":"openai",'
            f'"cache_hit":"False","status":"success","metadata":{{"usage_object":{usage}}}}}\n'
        )


def chats(lines: int, rng: random.Random) -> Iterator[str]:
    """Requests with prompts, and their responses."""
    for number in range(lines):
        model, asked, told, cached, cost = _call(rng)
        question = f"Question {rng.randrange(lines)}: " + "why is it so? " * rng.randrange(4, 40)
        messages = json.dumps(
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        )
        yield (
            f'{{"timestamp":"{(START + timedelta(seconds=number * 2)).isoformat()}","request":'
            f'{{"model":"{model}","messages":{messages}}},"response":{{"model":"{model}","usage":'
            f'{_usage(asked, told, cached)},"choices":[{{"message":{{"role":"assistant",'
            f'"content":"Because."}}}}]}},"cost":{cost / 1e9!r}}}\n'
        )


def _call(rng: random.Random) -> tuple[str, int, int, int, int]:
    model = rng.choice(list(MODELS))
    plain, read, out = MODELS[model]
    asked, told = rng.randrange(200, 6000), rng.randrange(10, 900)
    cached = asked // 256 * 128 if rng.random() < 0.4 else 0
    return model, asked, told, cached, (asked - cached) * plain + cached * read + told * out


def _usage(asked: int, told: int, cached: int) -> str:
    return (
        f'{{"prompt_tokens":{asked},"completion_tokens":{told},"total_tokens":{asked + told},'
        f'"prompt_tokens_details":{{"cached_tokens":{cached}}}}}'
    )


LOGS = {"spend-logs": spend_logs, "chats": chats}


def audited(path: Path) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and peak MiB of an audit."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, check=True
    )
    seconds, cpu, kib = map(float, done.stdout.split())
    return seconds, cpu, kib / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, nargs="+", default=[500_000, 5_000_000])
    parser.add_argument("--logs", nargs="+", choices=LOGS, default=list(LOGS))
    parser.add_argument("--folder", type=Path, help="for the logs, which are removed (temporary)")
    asked = parser.parse_args()
    print(environment())
    rows = []
    for name in asked.logs:
        for lines in asked.lines:
            with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
                path = Path(folder) / "log.jsonl"
                with path.open("w") as file:
                    file.writelines(LOGS[name](lines, random.Random(lines)))
                size = path.stat().st_size / lines
                seconds, cpu, peak = audited(path)
                rows.append(_row(name, lines, size, "audit", seconds, cpu, f"{peak:.0f}"))
                print(*rows[-1], sep="  ", file=sys.stderr)
                if lines == min(asked.lines):
                    for floor, program in FLOORS.items():
                        begin, cpu = time.perf_counter(), _children()
                        subprocess.run([sys.executable, "-c", program, path], check=True)
                        took, used = time.perf_counter() - begin, _children() - cpu
                        what = f"parsing alone: {floor}"
                        rows.append(_row(name, lines, size, what, took, used, ""))
    head = ("log", "lines", "bytes a line", "what", "seconds", "lines/s", "lines/s of CPU", "MiB")
    print(markdown(head, rows))
    print(environment())


def _children() -> float:
    """Seconds of CPU that finished children took."""
    times = os.times()
    return times.children_user + times.children_system


def _row(
    name: str, lines: int, size: float, what: str, seconds: float, cpu: float, peak: str
) -> tuple[str, ...]:
    rates = f"{lines / seconds:,.0f}", f"{lines / cpu:,.0f}"
    return name, f"{lines:,}", f"{size:.0f}", what, f"{seconds:.1f}", *rates, peak


if __name__ == "__main__":
    main()
