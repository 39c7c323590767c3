"""`farthing prices`: which price applies, and why."""

import json

import pytest
from commands import farthing

CONFIG = """\
[models.gpt]
kind = "http"
base_url = "https://api.example.com/v1"
key_env = "NOT_SET_ANYWHERE"
model = "gpt-5"

[[models.gpt.prices]]
from = 2026-01-01
input = "0.15"
output = "0.60"

[[models.gpt.prices]]
from = 2026-01-01
above = 1000
input = "0.30"
output = "0.90"

[[models.gpt.prices]]
from = 2027-01-01
input = "0.12"
output = "0.50"
request = "0.01"

[[models.gpt.prices]]
service_tier = "flex"
input = "0.07"
output = "0.30"

[models.own]
kind = "http"
base_url = "http://127.0.0.1:8000/v1"
price = { per_second = "0.0008" }

[models.plain]
kind = "http"
base_url = "http://127.0.0.1:8000/v1"
price = { input = 1, output = 2 }

[models.searching]
kind = "http"
base_url = "http://127.0.0.1:8000/v1"
price = { input = 1, output = 2, web_search = "0.01" }
"""


@pytest.fixture
def prices(tmp_path):
    (tmp_path / "farthing.toml").write_text(CONFIG)

    def run(*arguments):
        done = farthing(tmp_path, "prices", *arguments, "-c", "farthing.toml")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_overrides_come_first(prices):
    told = json.loads(prices("gpt", "--at", "2026-06-01", "--json"))
    assert (told["known"], told["source"], told["date"]) == (True, "config", "2026-01-01")
    assert told["usd_per_million_tokens"]["cache_write_1h"] == "0.15"
    (tier,) = told["tiers"]
    assert tier["above_input_tokens"] == 1000
    assert tier["usd_per_million_tokens"]["output"] == "0.9"
    first, *others = told["prices"]
    assert (first["service_tier"], first["holds"]) == (None, True)
    assert "configuration" in first["why"]
    flex = next(price for price in others if price["service_tier"] == "flex")
    assert (flex["holds"], flex["usd_per_million_tokens"]["input"]) == (True, "0.07")
    later = next(price for price in others if price["date"] == "2027-01-01")
    assert (later["holds"], later["usd_per_request"]) == (False, "0.01")


def test_before_the_overrides_the_published_price_holds(prices):
    told = json.loads(prices("gpt", "--at", "2025-10-01", "--json"))
    assert told["source"].startswith("genai-prices")
    assert "published" in told["prices"][0]["why"]
    assert [p["date"] for p in told["prices"] if not p["holds"]] == ["2026-01-01", "2027-01-01"]


def test_what_is_printed(prices):
    text = prices("gpt", "--at", "2026-06-01")
    assert text.startswith("gpt: config, since 2026-01-01\n")
    for shown in ("above 1,000 input tokens", "as input", "flex", "2027-01-01", "no"):
        assert shown in text
    assert "0.01 USD per request" in prices("gpt", "--at", "2027-06-01")
    own = prices("own")
    assert "0.0008 USD per second of the call" in own
    assert "tokens" not in own
    assert "the model's config states it" in prices("plain")
    assert "0.01 USD per web search within an answer" in prices("searching")
    assert json.loads(prices("searching", "--json"))["usd_per_call"] == {"web_search": "0.01"}


def test_a_model_that_is_not_configured_is_looked_up_by_its_provider_s_name(prices):
    assert "published for 'gpt-4o-mini'" in " ".join(prices("gpt-4o-mini").split())
    told = json.loads(prices("nobody's", "--json"))
    assert (told["known"], told["source"], told["prices"]) == (False, None, [])
