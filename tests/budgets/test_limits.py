from __future__ import annotations

import pytest

from farthing.budgets.limits import Budget, RateLimit, scopes
from farthing.budgets.windows import Window
from farthing.core.errors import ConfigError
from farthing.core.money import Cost


def test_parse():
    table = {
        "scope": "key:alice",
        "limit": "25",
        "window": "month",
        "zone": "Europe/Berlin",
        "alpha": 0.1,
        "mode": "worst-case",
        "soft": True,
        "per_operation": "0.5",
    }
    assert Budget.parse("alice", table) == Budget(
        "alice",
        Cost.from_usd(25),
        "key:alice",
        Window.parse("month", "Europe/Berlin"),
        0.1,
        "worst-case",
        True,
        Cost.from_usd("0.5"),
    )
    assert Budget.parse("b", {"limit": 10}) == Budget("b", Cost.from_usd(10))


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ({}, "limit", "missing"),
        ({"limit": 0.25}, "limit", "as a string"),
        ({"limit": "much"}, "limit", "not an amount"),
        ({"limit": "-1"}, "limit", "not negative"),
        ({"limit": "1", "limits": "1"}, "limits", "unknown key; want one of scope, limit"),
        ({"limit": "1", "scope": "alice"}, "scope", "want all, key:NAME"),
        ({"limit": "1", "scope": 3}, "scope", "want a string"),
        ({"limit": "1", "window": "year"}, "window", "want day, week, month"),
        ({"limit": "1", "zone": "Mars"}, "zone", "not an IANA time zone"),
        ({"limit": "1", "alpha": 0}, "alpha", "from 0.0001 to 0.5"),
        ({"limit": "1", "alpha": True}, "alpha", "want a number"),
        ({"limit": "1", "mode": "best"}, "mode", 'want "quantile" or "worst-case"'),
        ({"limit": "1", "soft": "yes"}, "soft", "want true or false"),
        ({"limit": "1", "per_operation": "0"}, "per_operation", "above 0"),
    ],
)
def test_mistakes_are_named(table, key, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Budget.parse("b", table, path="farthing.toml")
    assert caught.value.key == f"budgets.b.{key}"
    assert caught.value.path == "farthing.toml"


@pytest.mark.parametrize("scope", ["all", "key:a", "team:x.y", "model:org/m:free", "tag:a=b"])
def test_scopes(scope):
    assert Budget("b", Cost(1), scope).scope == scope


@pytest.mark.parametrize("scope", ["", "key:", "tag:a", "keys:a", "key:a b"])
def test_no_scopes(scope):
    with pytest.raises(ValueError, match="want all, key:NAME"):
        Budget("b", Cost(1), scope)


def test_scopes_of_a_request():
    assert scopes(key="a", models=["m"], tags={"t": "1"}) == {"all", "key:a", "model:m", "tag:t=1"}


def test_rate_limits_count_one_thing():
    assert RateLimit("r", requests=3).most == 3
    assert RateLimit("r", tokens=0).most == 0
    for wrong in ({}, {"requests": 1, "tokens": 1}, {"requests": -1}):
        with pytest.raises(ValueError, match="rate limit 'r'"):
            RateLimit("r", **wrong)
    with pytest.raises(ValueError, match="name 'a b'"):
        RateLimit("a b", requests=1)
