"""The configuration file: what it may hold, and where a mistake is said to be."""

from __future__ import annotations

import os
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.cli.init import TEMPLATE
from farthing.core.errors import ConfigError, PlanError
from farthing.gateway._toml import key_lines
from farthing.gateway.build import build_models, open_service
from farthing.gateway.config import HttpConfig, TinyConfig, load

GPT = """\
[models.gpt]
kind = "http"
base_url = "https://api.example.com/v1"
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
        (GPT + "key_env = 'NOT_SET_ANYWHERE'", 4, "models.gpt.key_env", "is not set"),
        ("[models.a]\nkind='http'\nbase_url='x/v1'", 3, "models.a.base_url", "not an http"),
        ("[models.a]\nkind='tiny'\nsize='huge'", 3, "models.a.size", "huge"),
        ("[models.a]\nkind='recorded'\npath='no'\nmodel='x'", 3, "models.a.path", "no"),
        ("[plans]\nfiles = [\n'a',\n3 ]\n" + GPT, 2, "plans.files", "expected str, got int"),
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
    }


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
