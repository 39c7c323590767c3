"""The configuration file: what it may hold, and where a mistake is said to be."""

from __future__ import annotations

import os
import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.cli.init import TEMPLATE
from farthing.core.errors import ConfigError, PlanError
from farthing.core.money import Rates
from farthing.core.usage import Usage
from farthing.cost import Price
from farthing.gateway._toml import key_lines
from farthing.gateway.build import build_models, build_prices, open_service, price_card
from farthing.gateway.config import load
from farthing.gateway.model_sections import HttpConfig, TinyConfig

GPT = """\
[models.gpt]
kind = "http"
base_url = "https://api.example.com/v1"
"""
PRICES = """\
[[models.gpt.prices]]
input = 1
output = 2
# and, unless the line that comes next says otherwise, once more
[[models.gpt.prices]]
input = 1
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "farthing.toml"
    path.write_text(text, "utf-8")
    return path


def mistake(folder: Path, text: str, **options: Any) -> ConfigError:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        open_service(load(path, **options))
    assert caught.value.path == str(path)
    assert str(caught.value).startswith(f"{path}:{caught.value.line}: ")
    return caught.value


def test_the_template_is_valid_and_shows_the_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, TEMPLATE))
    assert config.models == {
        size: TinyConfig(kind="tiny", size=size)  # type: ignore[arg-type]
        for size in ("small", "mid", "large")
    }
    lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines()]
    shown = [line for line in lines if " = " in line or line.startswith("[")]
    everything = load(write(tmp_path, "\n".join(shown)))
    assert everything.gateway.token_env == "FARTHING_TOKEN"
    silent = {**tomllib.loads("\n".join(shown))["gateway"]}
    del silent["token_env"]
    for key, value in silent.items():
        assert getattr(config.gateway, key) == value
    gpt = everything.models["gpt"]
    assert isinstance(gpt, HttpConfig)
    assert gpt.price is not None
    assert gpt.price.cache_read == Decimal("0.075")
    assert everything.plan_files == (tmp_path / "plan.toml",)


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("x =", 1, "", "this is not TOML"),
        ("[gateway]\n\nport = \n[ledger]", 3, "", "this is not TOML"),
        ("[gateway]\nhost = '''\n\n", 3, "", "this is not TOML"),
        ("# none\n[ledger]\npath = 'x'", None, "models", "no model is configured"),
        (GPT + "[gatway]\nport = 1", 4, "gatway", "did you mean 'gateway'"),
        (GPT + "[gateway]\n# a comment\nprt = 1", 6, "gateway.prt", "did you mean 'port'"),
        (GPT + "[gateway]\nport = 'x'", 5, "gateway.port", "expected int, got str"),
        (GPT + "[gateway]\nport = true", 5, "gateway.port", "expected int, got bool"),
        (GPT + "[gateway]\nport = 70000", 5, "gateway.port", "<= 65535"),
        (GPT + "[gateway]\nrequest_timeout_s = 0", 5, "gateway.request_timeout_s", "> 0"),
        (GPT + "gateway.port = 'x'", 4, "models.gpt.gateway", "unknown key"),
        ("gateway = 3\n" + GPT, 1, "gateway", "expected object"),
        ("models = 3", 1, "models", "no model"),
        ("[models]\ngpt = 3", 2, "models.gpt", "expected a table"),
        ('[models."g t"]\nkind = "tiny"', 1, "models.g t", "letters, digits"),
        ("[models.gpt]\nsize = 'small'", 1, "models.gpt", "kind must be one of"),
        ("[models.gpt]\nkind = 'htpp'", 2, "models.gpt.kind", "did you mean 'http'"),
        ("[models.gpt]\nkind = 'http'", 1, "models.gpt", "missing key base_url"),
        (GPT + "timeout = 3", 4, "models.gpt.timeout", "did you mean 'timeout_s'"),
        (GPT + "headers = { a = 1 }", 4, "models.gpt.headers", "expected str, got int"),
        (GPT + "price = { input = '1' }", 4, "models.gpt.price", "missing key output"),
        (GPT + "price = { input = 'x', output = '1' }", 4, "models.gpt.price.input", "decimal"),
        (GPT + "price = { inptu = '1', output = '1' }", 4, "models.gpt.price.inptu", "'input'"),
        (GPT + "price = { input = '-1', output = '1' }", 4, "models.gpt.price", "negative"),
        (
            GPT + "[models.gpt.price]\ninput = '0.00000001'\noutput = '1'",
            4,
            "models.gpt.price",
            "decimals",
        ),
        (GPT + "price = { per_second = '-1' }", 4, "models.gpt.price", "negative"),
        (GPT + "price = { request = '1' }", 4, "models.gpt.price", "missing key input"),
        (
            GPT + PRICES + "outptu = '1'",
            10,
            "models.gpt.prices.outptu",
            "entry 2: unknown key; did",
        ),
        (GPT + PRICES, 8, "models.gpt.prices", "entry 2: missing key output"),
        (GPT + PRICES + "output = 'x'", 10, "models.gpt.prices.output", "entry 2: invalid dec"),
        (GPT + PRICES + "output = '2'", 8, "models.gpt.prices", "entry 2: another has the same"),
        (GPT + PRICES + "output = '2'\nabove = -1", 11, "models.gpt.prices.above", ">= 0"),
        (GPT + PRICES + "output = '-2'\nabove = 9", 8, "models.gpt.prices", "negative"),
        (
            GPT + PRICES + "output = 2\nfrom = 2026-01-01\nabove = 9",
            8,
            "models.gpt.prices",
            "needs",
        ),
        (GPT + PRICES + "output = 2\nfrom = 'May'", 11, "models.gpt.prices.from", "date"),
        (GPT + PRICES + "output = 2\nabove = 9\nper_second = 1", 8, "models.gpt.prices", "seconds"),
        (
            GPT + "[[models.gpt.prices]]\nper_second = 1\n" + PRICES + "output = 2\nabove = 9",
            6,
            "models.gpt.prices",
            "entry 2: another has the same",
        ),
        (
            GPT + "prices = [\n{ per_second = 1 },\n\n{ input = 1, output = 2, above = 9 }\n]",
            5,
            "models.gpt.prices",
            "entry 1: seconds",
        ),
        (GPT + "prices = [\n{ per_second = 1 },\n3]", 6, "models.gpt.prices", "entry 2: expected"),
        (
            GPT + "prices = [{ per_second = 1 },\n{ input = 1 }]",
            5,
            "models.gpt.prices",
            "entry 2: missing key output",
        ),
        (GPT + "price = { per_second = 1, web_search = '-1' }", 4, "models.gpt.price", "negative"),
        (
            GPT + "price = { input = 1, output = 1 }\n" + PRICES + "output = 2\nabove = 9",
            1,
            "models.gpt",
            "either price or prices",
        ),
        (
            GPT + PRICES + "output = 2\nabove = 9\nweb_search = 1",
            8,
            "models.gpt.prices",
            "entry 2: web_search has no price above",
        ),
        (GPT + "key_env = 'NOT_SET_ANYWHERE'", 4, "models.gpt.key_env", "is not set"),
        ("[models.a]\nkind='http'\nbase_url='x/v1'", 3, "models.a.base_url", "not an http"),
        ("[models.a]\nkind='tiny'\nsize='huge'", 3, "models.a.size", "huge"),
        ("[models.a]\nkind='recorded'\npath='no'\nmodel='x'", 3, "models.a.path", "no"),
        ("[plans]\nfiles = [\n'a',\n3 ]\n" + GPT, 4, "plans.files", "expected str, got int"),
        ("[gateway]\ntoken_env = 'NOT_SET_ANYWHERE'\n" + GPT, 2, "gateway.token_env", "not set"),
        ("[gateway]\nanswer = 'lats-line'\n" + GPT, 2, "gateway.answer", "no way to read"),
        ("[gateway]\nhost = '0.0.0.0'\n" + GPT, 2, "gateway.host", "allow_open"),
        ("[ledger]\npath = 'no/such/folder/x.db'\n" + GPT, 2, "ledger.path", "cannot open"),
    ],
)
def test_mistakes_are_told_with_their_place(
    tmp_path: Path, text: str, line: int | None, key: str, says: str
) -> None:
    if line is None:
        with pytest.raises(ConfigError) as caught:
            load(write(tmp_path, text))
        error = caught.value
    else:
        error = mistake(tmp_path, text)
    assert (error.line, error.key) == (line, key)
    assert says in str(error)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="farthing init"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "x.toml")
    if os.geteuid() != 0:
        (tmp_path / "x.toml").chmod(0)
        with pytest.raises(ConfigError, match="Permission"):
            load(tmp_path / "x.toml")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(tmp_path: Path, host: str) -> None:
    assert load(write(tmp_path, GPT), host=host, port=0).gateway.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_other_addresses_need_one(tmp_path: Path, host: str) -> None:
    path = write(tmp_path, GPT)
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        load(path, host=host)
    path.write_text(GPT + "[gateway]\nallow_open = true")
    assert load(path, host=host).gateway.host == host
    path.write_text(GPT + "[gateway]\ntoken_env = 'X'")
    assert load(path, host=host).gateway.host == host


def test_prices_are_exact(tmp_path: Path) -> None:
    text = GPT + "price = { input = 0.15, output = '0.60', cache_read = 1 }"
    model = build_models(load(write(tmp_path, text)))["gpt"]
    assert model.card.rates is not None
    assert model.card.price_source == "config"
    rates = model.card.rates
    assert (rates.input, rates.output, rates.cache_read) == (150_000, 600_000, 1_000_000)


OVERRIDES = (
    GPT
    + """\
[[models.gpt.prices]]
from = 2026-01-01
above = 200_000
input = "0.30"
output = "0.90"

[[models.gpt.prices]]
from = 2026-01-01
input = "0.15"
output = "0.60"
cache_write_1h = "0.45"
input_audio = 40
request = "0.0001"

[[models.gpt.prices]]
from = "2027-01-01"
input = 0.12
output = 0.5

[[models.gpt.prices]]
service_tier = "Flex"
input = 0.07
output = 0.3

[models.own]
kind = "http"
base_url = "http://127.0.0.1:8000/v1"
price = { per_second = "0.0008" }

[models.both]
kind = "http"
base_url = "http://127.0.0.1:8000/v1"
prices = [{ input = 1, output = 2, per_second = "0.5" }]
"""
)


def test_prices_by_date_size_service_tier_and_second(tmp_path: Path) -> None:
    config = load(write(tmp_path, OVERRIDES))
    models, book = build_models(config), build_prices(config)
    gpt, own, both = (models[name].card for name in ("gpt", "own", "both"))
    assert (gpt.rates, own.rates) == (None, None)
    for name, model in models.items():
        card = price_card(config, name)
        assert (card.rates, card.upstream_name) == (model.card.rates, model.card.upstream_name)
    at = datetime(2026, 6, 1, tzinfo=UTC)
    base = Rates(150_000, 600_000, request=10**8, cache_write_1h=450_000, input_audio=40 * 10**6)
    now = Price(base, "config", "2026-01-01", ((200_000, Rates(300_000, 900_000)),))
    assert book.price(gpt, at) == now
    assert book.price(gpt, datetime(2027, 1, 1, tzinfo=UTC)) == Price(
        Rates(120_000, 500_000), "config", "2027-01-01"
    )
    flex = Price(Rates(70_000, 300_000), "config", service_tier="flex")
    assert book.price(gpt, at, service_tier="flex") == flex
    assert book.price(gpt, datetime(2025, 1, 1, tzinfo=UTC)) is None
    source = "config, 0.0008 USD per second"
    assert book.price(own) == Price(Rates(0, 0), source, per_second=800_000_000)
    cost, _ = book.cost(both, Usage(input=10, output=1), seconds=2)
    assert str(cost) == "1.000012"


async def test_what_is_served_is_priced_by_the_configuration(tmp_path: Path) -> None:
    service = open_service(load(write(tmp_path, OVERRIDES)))
    assert service.prices.overrides.keys() == {"gpt", "own", "both"}
    await service.ledger.close()


def test_keys_are_read_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    config = load(write(tmp_path, GPT + "key_env = 'SOME_KEY'"))
    assert "secret" not in repr(config)
    assert "secret" not in repr(build_models(config)["gpt"])


def test_plans_of_the_command_line_come_after_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, GPT + "[plans]\nfiles = ['a.toml', '/b.toml']")
    config = load(path, plans=[Path("c.toml"), tmp_path / "a.toml"])
    assert config.plan_files == (tmp_path / "a.toml", Path("/b.toml"), Path("c.toml"))


def test_a_plan_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, PlanError), match="none"):
        open_service(load(write(tmp_path, GPT), plans=[tmp_path / "none.toml"]))


def test_lines_of_keys() -> None:
    text = (
        'a.b = 1\n"q x".c = """\nfoo # = \n"""\n[t] # [u]\nx = [1,\n {y=2}, # c ]\n]\n'
        "z = {k = '#', l = {m = 2}}\n[[arr]]\nv = 1.5\n[u.w]\nd = 07:32:00\n"
    )
    tomllib.loads(text)
    lines = {".".join(path): line for path, line in key_lines(text).items()}
    assert lines == {
        **{"a": 1, "a.b": 1, "q x": 2, "q x.c": 2, "t": 5, "t.x": 6, "t.z": 9, "t.z.k": 9},
        **{"t.z.l": 9, "t.z.l.m": 9, "arr": 10, "arr.v": 11, "u": 12, "u.w": 12, "u.w.d": 13},
        **{"t.x.[0]": 6, "t.x.[1]": 7, "t.x.[1].y": 7, "t.x.y": 7, "arr.[0]": 10, "arr.[0].v": 11},
    }


def test_lines_of_the_elements_of_arrays() -> None:
    text = (
        "[[a.b]]\nx = 1\n[a.b.t]\ny = 2\n[[a.b.c]]\nz = 3\n[[a.b]]\nx = 4\n"
        "[[a.b.c]]\nz = 5\n[[a.b.c]]\nz = 6\nl = [[1,\n2], [\n{ k = 7 }]]\n"
    )
    tomllib.loads(text)
    lines = {".".join(path): line for path, line in key_lines(text).items()}
    wanted = {
        **{"a.b.[0].x": 2, "a.b.[0].t": 3, "a.b.[0].t.y": 4, "a.b.[0].c.[0].z": 6},
        **{"a.b.[1]": 7, "a.b.[1].x": 8, "a.b.[1].c.[0].z": 10, "a.b.[1].c.[1].z": 12},
        **{"a.b.[1].c.[1].l.[0].[1]": 14, "a.b.[1].c.[1].l.[1].[0].k": 15},
        **{"a": 1, "a.b": 1, "a.b.x": 2, "a.b.c.z": 6},
    }
    assert {key: lines.get(key) for key in wanted} == wanted


VALUES = st.sampled_from(
    [
        "1",
        "'a = 1'",
        '"# x"',
        "[1, [2], '']",
        "{ k = 1, 'l m' = [] }",
        "'''\n[t]\n'''",
        '"""a\nb"""',
    ]
)


@given(st.lists(st.tuples(st.booleans(), VALUES), max_size=12))
def test_every_key_is_found_where_it_stands(items: list[tuple[bool, str]]) -> None:
    lines, wanted, table = [], {}, ""
    for number, (is_table, value) in enumerate(items):
        place = sum(line.count("\n") + 1 for line in lines) + 1
        if is_table:
            table = f"t{number}."
            lines.append(f"[t{number}]")
            wanted[f"t{number}"] = place
        else:
            lines.append(f"k{number} = {value} # k0 = 1")
            wanted[f"{table}k{number}"] = place
    text = "\n".join(lines)
    tomllib.loads(text)
    found = {".".join(path): line for path, line in key_lines(text).items()}
    assert {key: found[key] for key in wanted} == wanted
