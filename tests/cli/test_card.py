"""`farthing card`: counts, times and money of a model on a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from architecture_known import LLAMA_8B
from typer.testing import CliRunner, Result

from farthing.cli import card as _command  # noqa: F401 (registers itself)
from farthing.cli._app import app
from farthing.cli.card import sizes
from farthing.core.errors import ConfigError, DataError
from farthing.core.money import Cost


def ask(folder: Path, *arguments: str, change: dict[str, Any] | None = None) -> Result:
    (folder / "config.json").write_text(json.dumps(LLAMA_8B | (change or {})))
    return CliRunner().invoke(app, ["card", str(folder), *arguments])


def told(folder: Path, *arguments: str) -> dict[str, Any]:
    result = ask(folder, "--device", "h100-sxm", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_counts_times_and_money(tmp_path: Path) -> None:
    found = told(tmp_path, "--batch", "1..64")
    assert found["model"]["parameters"] == 8_030_261_248
    assert [row["batch"] for row in found["batches"]] == [1, 2, 4, 8, 16, 32, 64]
    one, many = found["batches"][0], found["batches"][-1]
    assert one["prefill"]["binds"] == "compute"
    assert one["decode_last"]["binds"] == "bandwidth"
    assert Cost.from_usd(many["usd_per_million_output"]) < Cost.from_usd(
        one["usd_per_million_output"]
    )
    assert one["decode_first"]["kv_bytes"] == 4097 * 131_072
    assert found["energy"]["basis"] == "unknown"
    assert found["energy"]["joules_per_output_token"] is None


def test_what_does_not_fit_has_no_price(tmp_path: Path) -> None:
    row = told(tmp_path, "--batch", "1024")["batches"][0]
    assert not row["fits"]
    assert row["usd_per_million_output"] is None
    assert "–" in ask(tmp_path, "--device", "h100-sxm", "--batch", "1024").output


def test_lower_bits_and_more_devices(tmp_path: Path) -> None:
    plain = told(tmp_path, "--batch", "1")
    low = told(tmp_path, "--batch", "1", "--weights", "fp8", "--kv-bits", "8")
    two = told(tmp_path, "--batch", "1", "--devices", "2")
    assert low["model"]["kv_bytes_per_token"] == 65_536
    assert low["device"]["computes_in"] == "fp8"
    seconds = [x["batches"][0]["decode_last"]["seconds"] for x in (plain, low, two)]
    assert seconds[1] < 0.6 * seconds[0]
    assert seconds[2] == seconds[0] / 2


def test_energy_is_modelled_only_when_asked(tmp_path: Path) -> None:
    given = told(tmp_path, "--joules-per-token", "0.5", "--pue", "1.2", "--facility-watts", "600")
    assert given["energy"]["basis"] == "measured"
    assert given["energy"]["energy_ceiling_tokens_per_s"] == pytest.approx(1000)
    modelled = told(tmp_path, "--batch", "8", "--model-energy")
    rate = modelled["batches"][0]["output_tokens_per_s"]
    assert modelled["energy"]["basis"] == "modelled"
    assert modelled["energy"]["joules_per_output_token"] == pytest.approx(700 / rate)


def test_queue_and_devices_to_buy(tmp_path: Path) -> None:
    rows = "".join(f"{100 + 10 * i},{20 + i}\n" for i in range(100)) + "9000000,1\n"
    (tmp_path / "trace.csv").write_text("input_tokens,output_tokens\n" + rows)
    trace = ["--lengths", str(tmp_path / "trace.csv")]
    queue = told(tmp_path, *trace, "--rate", "500")["queue"]
    assert queue["left_out"] == 1
    assert (queue["devices"] - 1) * 0.8 * queue["largest_rate_per_s"] < 500
    assert queue["devices"] * 0.8 * queue["largest_rate_per_s"] >= 500
    output = ask(tmp_path, "--device", "h100-sxm", *trace, "--rate", "500").output
    assert f"For 500 requests/s: {queue['devices']} devices." in output
    assert ask(tmp_path, "--device", "h100-sxm", "--rate", "5").exit_code == 2


def test_an_apis_times_beside_the_ideal(tmp_path: Path) -> None:
    header = "input_tokens,output_tokens,seconds\n"
    grid = [(n, o) for n in (100, 1000, 4000) for o in (1, 50, 100)]
    (tmp_path / "p.csv").write_text(
        header + "".join(f"{n},{o},{0.01 + n * 1e-5 + o * 0.01}\n" for n, o in grid)
    )
    (tmp_path / "api.csv").write_text(
        header + "".join(f"{n},{o},{(0.01 + n * 1e-5 + o * 0.01) / 2}\n" for n, o in grid)
    )
    asked = ["--profile", str(tmp_path / "p.csv"), "--measured", str(tmp_path / "api.csv")]
    found = told(tmp_path, *asked)["idealized"]
    assert found["per_output"] == pytest.approx(0.01)
    assert found["measured"]["verdict"] == ["optimisation"]
    assert "optimisation" in ask(tmp_path, "--device", "h100-sxm", *asked).output
    by_card = told(tmp_path, "--measured", str(tmp_path / "api.csv"))["idealized"]
    assert by_card["from"] == "card"


def test_a_roofline_is_plotted(tmp_path: Path) -> None:
    result = ask(tmp_path, "--device", "l4", "--plot", str(tmp_path / "x.svg"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "x.svg").read_text().count("<svg") == 1
    wrong = ask(tmp_path, "--device", "l4", "--plot", str(tmp_path / "x.txt"))
    assert isinstance(wrong.exception, DataError)


def test_mistakes_are_told(tmp_path: Path) -> None:
    for arguments, kind, text in (
        (["--device", "h900"], ConfigError, "no device 'h900'"),
        (["--device", "l4", "--weights", "int3"], ConfigError, "no format 'int3'"),
        (["--device", "l4", "--input", "200000"], DataError, "context window of 131072"),
    ):
        result = ask(tmp_path, *arguments)
        assert isinstance(result.exception, kind)
        assert text in str(result.exception)
    assert ask(tmp_path, "--device", "l4", "--batch", "0").exit_code == 2


@pytest.mark.parametrize("text", ["", "a", "4..2", "0", "1,x", "1..-3"])
def test_batch_sizes_that_are_none(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        sizes(text)


def test_batch_sizes() -> None:
    assert sizes("3..10") == [3, 4, 8, 10]
    assert sizes("5") == [5]
    assert sizes("1,7") == [1, 7]
