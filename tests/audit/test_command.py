"""`farthing audit` as it is used: reports, files, errors, interrupts, and Farthing's ledgers."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from html.parser import HTMLParser

import commands
import planted_logs as planted
import pytest
from ledger_rows import attempt, book, operation, outcome

from farthing.core.money import Rates
from farthing.core.protocols import ModelCard
from farthing.core.usage import Usage
from farthing.cost import PriceBook
from farthing.ledger import Ledger

FARTHING = (sys.executable, "-m", "farthing")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def farthing(*arguments, cwd, code=0):
    done = commands.farthing(cwd, *map(str, arguments))
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "prices.toml").write_text(planted.CONFIG)
    calls = [call for call in planted.plant(3, 4) if not call.written_1h]
    planted.write_lines(tmp_path / "log.jsonl", map(planted.litellm, calls))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write("{oops\n")
    return tmp_path


def test_report_in_the_terminal(folder):
    text = farthing("audit", "log.jsonl", "--prices", "prices.toml", cwd=folder).stdout
    words = " ".join(text.split())
    assert "log.jsonl: LiteLLM spend logs, by" in words
    assert "reasoning tokens not counted" in words
    assert "1 lines not read: not JSON (line" in words
    assert "no price is known of the model (acme-9;" in words
    assert "What could be saved" in words
    assert "Levers overlap: this is not their sum." in words


def test_json_adds_up(folder):
    printed = farthing("audit", "log.jsonl", "--prices", "prices.toml", "--json", cwd=folder)
    told = json.loads(printed.stdout)
    assert told["logs"][0]["format"] == "litellm"
    assert told["lines"] == sum(day["lines"] for day in told["days"])
    assert told["lines"] == sum(model["lines"] for model in told["models"])
    (skipped,) = told["skipped"]
    assert (skipped["lines"], skipped["fault"]) == (1, True)
    assert skipped["examples"] == [{"log": "log.jsonl", "line": told["lines"] + 1}]
    for lever in (*told["levers"], told["together"]):
        low, high = map(float, lever["interval_usd"])
        assert low <= float(lever["saving_usd"]) <= high
        assert lever["assumption"]


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_stands_alone(folder):
    log = folder / "log <b>&.jsonl"
    (folder / "log.jsonl").rename(log)
    farthing("audit", log.name, "--prices", "prices.toml", "--html", "r.html", cwd=folder)
    text = (folder / "r.html").read_text()
    page = _Page()
    page.feed(text)
    assert not page.links
    assert "script" not in page.tags
    assert "b" not in {tag for tag in page.tags if "log <b>" in text}
    assert page.tags.count("svg") == 3
    assert "http" not in text.replace("http://www.w3.org", "")
    for title in ("Why claims differ", "What could be saved", "By model", "By day"):
        assert title in text
    assert "log &lt;b&gt;&amp;.jsonl" in text


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_page_in_a_browser(folder):
    farthing("audit", "log.jsonl", "--prices", "prices.toml", "--html", "r.html", cwd=folder)
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=900,2000")
    subprocess.run(
        [BROWSER, *options, "--screenshot=r.png", (folder / "r.html").as_uri()],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    shot = (folder / "r.png").read_bytes()
    assert shot.startswith(b"\x89PNG")
    assert len(shot) > 20_000


def test_an_interrupt_leaves_nothing_behind(folder):
    log = folder / "long.jsonl"
    line = (folder / "log.jsonl").read_text().splitlines()[0]
    log.write_text((line + "\n") * 100_000)
    before = sorted(path.name for path in folder.iterdir())
    arguments = ("long.jsonl", "--prices", "prices.toml", "--html", "r.html", "--lines", "d.csv")
    running = subprocess.Popen(
        [*FARTHING, "audit", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has them ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (folder / "d.csv.part").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none.jsonl",), 1, "none.jsonl: no such file"),
        (("log.jsonl", "--format", "loglog"), 1, "no format is called 'loglog'; there are ledger"),
        (("log.jsonl", "--map", "model"), 2, "is not FIELD=COLUMN"),
        (("log.jsonl", "--format", "ledger"), 1, "not an SQLite database, hence no ledger"),
        (("log.jsonl", "--prices", "none.toml"), 1, "none.toml"),
        (("log.jsonl", "--html", "no/where.html"), 1, "no/where.html: cannot be written"),
        (("log.jsonl", "--lines", "no/where.csv"), 1, "no/where.csv: cannot be written"),
    ],
)
def test_errors_name_what_is_wrong(folder, arguments, code, message):
    done = farthing("audit", *arguments, cwd=folder, code=code)
    assert message in " ".join(done.stderr.split())


async def test_a_ledger_agrees_with_itself(tmp_path):
    """Costs that the price book reckons, of every leaf and tier; and one that is wrong."""
    card, at = ModelCard("o3", upstream_name="o3"), datetime(2026, 11, 10, tzinfo=UTC)
    async with Ledger.open(tmp_path / "farthing.db") as ledger:
        for n in range(30):
            usage = Usage(100 + n, n, 0, 50 + n, 7 * n)
            tier = (None, "flex", "batch")[n % 3]
            cost, _ = PriceBook().cost(card, usage, at, service_tier=tier)
            more = {"usage": usage, "service_tier": tier, "model": "o3", "started_at": at}
            await book(ledger, operation(n), attempt(n, cost=cost.pico, **more), outcome(n))
        failed = {"status": "failed", "tokens": None, "samples": (), "shares": (), "model": "o3"}
        await book(ledger, operation(98), attempt(98, **failed), outcome(98, "failed"))
    told = json.loads(farthing("audit", "farthing.db", "--json", cwd=tmp_path).stdout)
    assert (told["compared"], told["equal"], told["difference_usd"]) == (30, 30, "0")
    assert [(one["reason"], one["lines"]) for one in told["unpriced"]] == [("unknown_usage", 1)]
    async with Ledger.open(tmp_path / "farthing.db") as ledger:
        usage = Usage(100, 64, 0, 50)
        wrong = Rates.per_million(2, 8).cost(usage)
        one = attempt(99, cost=wrong.pico, usage=usage, model="o3")
        await book(ledger, operation(99), one, outcome(99))
    told = json.loads(farthing("audit", "farthing.db", "--json", cwd=tmp_path).stdout)
    assert [cause["cause"] for cause in told["causes"]] == ["cached_full"]


def test_the_ledger_of_the_demo(tmp_path):
    pytest.importorskip("openai")
    farthing("demo", "--questions", "60", "--json", "--dir", "d", cwd=tmp_path)
    arguments = ("farthing.db", "--prices", "farthing.toml", "--json")
    told = json.loads(farthing("audit", *arguments, cwd=tmp_path / "d").stdout)
    assert told["lines"] == told["compared"] == told["equal"] > 200
    assert told["difference_usd"] == "0"
    assert not told["causes"]
    assert not told["skipped"]
