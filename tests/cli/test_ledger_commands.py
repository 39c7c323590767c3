import json

import commands
import pyarrow.parquet as pq
import pytest
from ledger_rows import attempt, book, operation, outcome

from farthing.core.money import Cost
from farthing.core.usage import Usage
from farthing.ledger import Ledger

PLAN = {"plan": "cheap", "strongest": "large", "requested": "cheap"}


def farthing(*arguments, cwd):
    return commands.farthing(cwd, *map(str, arguments))


@pytest.fixture
async def folder(tmp_path):
    async with Ledger.open(tmp_path / "farthing.db") as ledger:
        for n in range(20):
            await book(
                ledger,
                operation(n, **PLAN),
                attempt(n, cost=10**9),
                *([attempt(n, 1, model="large", cost=10**10)] if n % 4 == 0 else []),
                outcome(n, budget=Cost(5 * 10**9), alpha=0.5),
            )
        failed = {"status": "failed", "tokens": None, "samples": (), "shares": ()}
        await book(ledger, operation(99), attempt(99, **failed), outcome(99, "failed"))
    return tmp_path


def test_report_prints_what_was_spent_and_saved(folder):
    done = farthing("report", "--by", "model", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "small 21 21 0.02* 2,000 200" in text
    assert "large 5 5 0.05 500 50" in text
    assert "all 21 26 0.07*" in text
    assert "The cost of 1 of 26 attempts (3.8%) is unknown and in no sum. They are in" in text
    assert "in 1 of 21 operations (4.8%), with 0 of 2,750 tokens (0.0%)." in text
    assert "The tokens of 1 of 26 attempts (3.8%) are unknown." in text
    assert "Attempts: 1 failed, 0 cancelled." in text
    assert "20 answered, 1 failed, 0 cancelled, 0 in flight" in text
    assert "large alone would have cost 0.2 USD (estimated; asked itself in 5 of 20)" in text
    assert "beside 0.07 USD spent (counted): saving 65.0%, 95% interval" in text
    assert "over the budget of 0.005 USD: 5 of 20 operations (counted), rate 0.250" in text
    assert "certified at most 0.5" in text


def test_report_in_json(folder):
    done = farthing("report", "--by", "plan", "--since", "2026-01-01", "--json", cwd=folder)
    told = json.loads(done.stdout)
    assert [(g["name"], g["spend_usd"]) for g in told["groups"]] == [(None, "0"), ("cheap", "0.07")]
    assert told["plans"][0]["saving"] == pytest.approx(0.65)
    assert told["plans"][0]["significant"] is True


def test_report_without_a_ledger(tmp_path):
    done = farthing("report", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ("farthing: there is no ledger at farthing.db; name it with --db\n")
    assert farthing("report", "--since", "noon", cwd=tmp_path).returncode == 2


def test_export_writes_a_recording(folder):
    done = farthing("export", "--since", "2026-01-31", "--out", "x.parquet", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "25 rows written to x.parquet; 1 attempts that failed, were cancelled or gave no answer "
        "left out; tokens estimated in 0 rows.\n"
    )
    assert pq.read_table(folder / "x.parquet").num_rows == 25


def test_prices(tmp_path):
    done = farthing("prices", "gpt-4o-mini", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["usd_per_million_tokens"]["cache_read"] == "0.075"
    assert told["source"].startswith("genai-prices")
    assert "0.075" in farthing("prices", "gpt-4o-mini", cwd=tmp_path).stdout
    done = farthing("prices", "no-such-model", cwd=tmp_path)
    assert done.returncode == 0
    assert "unknown" in done.stdout


CONFIG = """\
[models.small]
kind = "http"
base_url = "http://127.0.0.1:1/v1"

[models.large]
kind = "http"
base_url = "http://127.0.0.1:1/v1"
model = "gpt-4o"
key_env = "NOT_SET_ANYWHERE"
price = { input = "10", output = "100" }
"""


@pytest.fixture
async def rare(tmp_path):
    usage = Usage(input=100, cache_write=7, cache_write_1h=8, input_image=9, output=10)
    async with Ledger.open(tmp_path / "farthing.db") as ledger:
        await book(
            ledger,
            operation(1, **PLAN),
            attempt(1, cost=10**9, usage=usage, usage_basis="estimated"),
            outcome(1, stopped="cap"),
            operation(2),
            outcome(2, "refused", error="too dear"),
        )
    return tmp_path


def test_report_shows_rare_tokens_where_there_are_any(rare):
    done = farthing("report", "--by", "kind", cwd=rare)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "kind operations attempts USD input" in text
    for shown in ("cache write", "1h cache write", "images in"):
        assert shown in text
    for hidden in ("cached ", "audio", "reasoning "):
        assert hidden not in text.split(" USD and tokens")[0]
    assert "sample 1 1 0.001 100 7 8 9 10" in text
    assert "The tokens of 1 of 1 attempts (100.0%) are estimated: 134 of 134 tokens" in text
    assert "Refused, so that nothing was called: 1 operations." in text
    assert "answered with what they had: 1 operations." in text


def test_report_takes_prices_from_a_configuration(rare):
    (rare / "farthing.toml").write_text(CONFIG)
    done = farthing("report", "--json", cwd=rare)
    (plan,) = json.loads(done.stdout)["plans"]
    assert plan["strongest_usd"] is None  # nobody publishes a price for "large"
    done = farthing("report", "--json", "--config", "farthing.toml", cwd=rare)
    (plan,) = json.loads(done.stdout)["plans"]
    assert (plan["strongest_usd"], plan["strongest_basis"]) == ("0.00224", "modelled")
    done = farthing("report", "--config", "none.toml", cwd=rare)
    assert (done.returncode, "none.toml: there is no such file" in done.stderr) == (1, True)
