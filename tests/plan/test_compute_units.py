"""Units of spending: samples and rounds of a recording, their success and what they cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import farthing.cli.saturation  # noqa: F401
from farthing.cli._app import app
from farthing.core.errors import DataError
from farthing.models.recording import load_recording
from farthing.plan.compute_saturation import pass_at, saturation
from farthing.plan.compute_units import Units, units

QUESTIONS, ROUNDS = 400, 8


def outcomes(seed: int = 0) -> np.ndarray:
    """Whether each question is right after each round: each mends a third of what is wrong."""
    rng = np.random.default_rng(seed)
    solvable = rng.random((QUESTIONS, 1)) < 0.8
    mended = np.cumsum(rng.random((QUESTIONS, ROUNDS)) < 1 / 3, axis=1) > 0
    return (solvable & mended).astype(float)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Round k costs k thousandths of a dollar; rows are in no order."""
    rows = [
        {
            "question": f"q{question}", "model": "thinker", "sample": k, "answer": str(right),
            "correct": right, "cost_usd": (k + 1) / 1000,
        }
        for question, rights in enumerate(outcomes())
        for k, right in enumerate(rights)
    ]  # fmt: skip
    rows += [
        {"question": f"q{question}", "model": "once", "sample": 0, "answer": "1", "correct": 1.0,
         "cost_usd": 0.5}
        for question in range(QUESTIONS)
    ]  # fmt: skip
    order = np.random.default_rng(1).permutation(len(rows))
    file = tmp_path / "rounds.jsonl"
    file.write_text("".join(json.dumps(rows[place]) + "\n" for place in order))
    return file


def only(path: Path, **settings: object) -> Units:
    found, left_out = units(load_recording(path), ["thinker", "once"], **settings)  # type: ignore[arg-type]
    assert left_out == {"once": "1 samples of each question, 4 are needed"}
    (one,) = found
    return one


def test_rounds_are_taken_in_their_order(path: Path) -> None:
    one = only(path, rounds=True)
    fit = one.fits[0]
    assert [success for _, success, _ in fit.measured] == pytest.approx(outcomes().mean(axis=0))
    assert one.usd == pytest.approx(np.cumsum(np.arange(1, ROUNDS + 1)) / 1000)
    assert fit.ceiling_interval[0] < 0.8 < fit.ceiling_interval[1]
    assert fit.chance_interval[0] < 1 / 3 < fit.chance_interval[1]
    assert fit.fits
    # 0.8 / 3 * (2 / 3) ** n falls below 0.05 from n = 4.1 on
    assert only(path, rounds=True, least_gain=0.05).fits[0].stop in (4, 5)


def test_the_first_rounds_are_those_taken(path: Path) -> None:
    one = only(path, rounds=True, most=5)
    measured = [success for _, success, _ in one.fits[0].measured]
    assert measured == pytest.approx(outcomes()[:, :5].mean(axis=0))


def test_samples_count_in_any_order(path: Path) -> None:
    one = only(path)
    measured = [success for _, success, _ in one.fits[0].measured]
    assert measured == pytest.approx(pass_at(outcomes()).mean(axis=0))
    assert one.usd == pytest.approx(4.5 * np.arange(1, ROUNDS + 1) / 1000, rel=0.05)


def test_the_law_at_its_stop() -> None:
    for law in ("one chance", "mixed"):
        fit = saturation(outcomes(), law=law)
        assert fit.at(0) == 0
        told = [(fit.at(count), said) for count, _, said in fit.measured]
        assert told == [(pytest.approx(said, abs=1e-9), said) for _, said in told]


def test_what_units_beyond_the_recording_cost(path: Path) -> None:
    one = only(path, rounds=True)
    assert one.usd_of(None) is None
    assert one.usd_of(0) == 0
    assert one.usd_of(3) == pytest.approx(0.006)
    assert one.usd_of(ROUNDS + 2) == pytest.approx(0.036 + 2 * 0.008)


def test_rounds_without_numbers(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    row = {"question": "q", "model": "m", "answer": "1", "correct": 1.0, "cost_usd": 0.1}
    file.write_text("".join(json.dumps({**row, "question": f"q{n}"}) + "\n" for n in range(20)))
    with pytest.raises(DataError, match="column 'sample'"):
        units(load_recording(file), ["m"], rounds=True)


def test_unknown_rightness_is_told(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    next(line for line in lines if line["model"] == "thinker")["correct"] = None
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match="correct of answers of 'thinker' is not known"):
        units(load_recording(path), ["thinker"])


class TestCommand:
    def run(self, *arguments: str) -> tuple[int, str]:
        found = CliRunner().invoke(app, ["saturation", *arguments])
        return found.exit_code, found.output if found.exit_code else found.stdout

    def test_json_says_what_the_table_does(self, path: Path, tmp_path: Path) -> None:
        plot = tmp_path / "plot.png"
        code, text = self.run(str(path), "--rounds", "--gain", "0.05", "--plot", str(plot))
        assert code == 0, text
        assert plot.read_bytes()[:4] == b"\x89PNG"
        assert "rounds that pay" in text
        code, told = self.run(str(path), "--rounds", "--gain", "0.05", "--json")
        assert code == 0
        (one,) = json.loads(told)
        first = one["laws"][0]
        assert first["stop_usd"] == pytest.approx(one["usd"][first["stop"] - 1])
        assert f"{first['success_at_stop']:.1%}" in text

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--models", "nobody"], "nobody"),
            (["--models", "once"], "no model has samples enough"),
            (["--gain", "2"], "least_gain"),
            (["--plot", "plot.xyz"], "no plot is written"),
        ],
    )
    def test_mistakes_are_told(self, path: Path, arguments: list[str], told: str) -> None:
        found = CliRunner().invoke(app, ["saturation", str(path), *arguments])
        assert found.exit_code != 0
        assert told in f"{found.output}{found.exception}"
