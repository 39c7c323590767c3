"""Device cards: the shipped ones, files, mistakes, and measuring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from farthing.cli import device as _command  # noqa: F401 (registers itself)
from farthing.cli._app import app
from farthing.core.errors import ConfigError, DataError, MoneyError
from farthing.core.money import Cost
from farthing.cost.devices import Device, dump, find, load, measuring, names
from farthing.cost.devices.file import parse

WANTED = {
    "a100-40",
    "a100-80",
    "b200",
    "h100-pcie",
    "h100-sxm",
    "h200",
    "l4",
    "l40s",
    "m3-max",
    "mi300x",
    "rtx-4090",
    "tpu-v5e",
    "epyc-2core",
}


def test_every_card_has_a_source_a_date_and_an_estimated_price() -> None:
    assert set(names()) >= WANTED
    for name in names():
        card = find(name)
        assert card.source
        assert len(card.date) == 10
        assert card.price is None or (card.price.basis == "estimated" and card.price.cost.pico > 0)
        assert card.basis == "measured" or max(card.reached) < 1


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_card_written_is_read_as_it_was(name: str, tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_text(dump(find(name)))
    assert load(path) == find(name) == find(str(path))


def test_types_that_a_device_lacks_are_computed_in_another() -> None:
    assert find("a100-80").rate("fp8") == (312e12, "bf16")
    assert find("b200").rate("fp4")[1] == "fp4"
    assert find("h100-sxm").rate("fp4") == (1978.9e12, "fp8")
    assert find("tpu-v5e").rate("fp16") == (197e12, "bf16")
    with pytest.raises(DataError, match="no rate for fp32: it has bf16, int8"):
        find("tpu-v5e").rate("fp32")


def test_the_price_of_an_hour_is_exact() -> None:
    price = find("h100-sxm").price
    assert price is not None
    assert price.cost == Cost.from_usd("2.99")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("memory = 80e9", 'memory = "much"'), "memory: Expected `float`, got `str`"),
        (("memory = 80e9", "memory = -1.0"), "memory must be above zero"),
        (("bf16 = 989.4e12", "bf16 = 0.0"), "flops.bf16 must be above zero"),
        (("watts = 700", "wats = 700"), "unknown field `wats`"),
        (("watts = 700", "compute_share = 1.5"), "compute_share must be above 0 and at most 1"),
        (("watts = 700", "watts = ="), "no TOML"),
        (('"2.99"', '"dear"'), "price.usd_per_hour: 'dear' is not an amount"),
    ],
)
def test_mistakes_name_file_and_key(change: tuple[str, str], told: str) -> None:
    shipped = Path(measuring.__file__).parent / "cards" / "h100-sxm.toml"
    with pytest.raises(ConfigError) as caught:
        parse(shipped.read_text().replace(*change), "mine.toml")
    assert "mine.toml" in str(caught.value)
    assert told in str(caught.value)


def test_a_card_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no device 'h900': there are a100-40"):
        find("h900")
    with pytest.raises(ConfigError, match="cannot be read"):
        find("nowhere.toml")


def test_this_machine_is_measured(tmp_path: Path) -> None:
    card = measuring.measure("cpu", seconds=0.02, stream_bytes=2**25)
    assert card.basis == "measured"
    assert card.reached == (1.0, 1.0)
    assert 1e8 < card.flops["fp32"] < 1e14
    assert 1e8 < card.bandwidth < 1e13
    (tmp_path / "mine.toml").write_text(dump(card))
    assert find(str(tmp_path / "mine.toml")) == card


@pytest.mark.local
def test_torch_measures_what_numpy_does() -> None:
    """The code that measures an accelerator, on the processor."""
    torch = pytest.importorskip("torch")
    rates = measuring.torch_products(torch, "cpu", 0.02, side=256)
    assert set(rates) == {"fp32", "bf16", "fp16"}
    assert min(rates.values()) > 1e6
    assert measuring.torch_bandwidth(torch, "cpu", 0.02, 2**25) > 1e8


def test_the_best_of_several_runs_counts() -> None:
    waits = iter([0.03, 0.03, 0.004, 0.02, 0.02])
    clock = [0.0]

    def run() -> None:
        clock[0] += next(waits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring.time, "perf_counter", lambda: clock[0])
        assert np.isclose(measuring.best(run, 0.05), 0.004)


def test_the_command_lists_shows_and_measures(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(app, ["device", "list"])
    assert "h100-sxm" in listed.output
    assert "2.99 (estimated)" in listed.output
    as_json = json.loads(run(app, ["device", "list", "--json"]).output)
    assert {one["name"] for one in as_json["devices"]} == set(names())
    shown = json.loads(run(app, ["device", "show", "l4", "--json"]).output)
    assert shown["memory"] == 24e9
    assert (shown["compute_share"], shown["bandwidth_share"]) == (0.7, 0.8)
    path = tmp_path / "mine.toml"
    asked = "device measure --on cpu --seconds 0.01 --usd-per-hour 0.04 --watts 30 --out"
    done = run(app, [*asked.split(), str(path)])
    assert done.exit_code == 0, done.output
    card = load(path)
    assert isinstance(card, Device)
    assert card.watts == 30
    assert card.price is not None
    assert card.price.cost == Cost.from_usd("0.04")
    wrong = run(app, ["device", "measure", "--seconds", "0.01", "--usd-per-hour", "x"])
    assert isinstance(wrong.exception, MoneyError)
