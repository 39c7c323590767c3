"""The idealized runtime: fitted, held out, and an API's times beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from architecture_known import LLAMA_8B

from farthing.core.errors import DataError
from farthing.cost.architecture import read as read_config
from farthing.cost.devices import find
from farthing.cost.runtime import Server, compare, fit
from farthing.cost.runtime.idealized import Timed, read

GRID = [(n, o) for n in (64, 512, 2048, 8192) for o in (1, 32, 128)]


def true(n: int, o: int) -> float:
    return 0.02 + 3e-5 * n + 2e-9 * n**2 + 0.011 * (o - 1)


def test_the_fit_finds_what_made_the_points() -> None:
    found = fit([Timed(n, o, true(n, o)) for n, o in GRID])
    assert found.fixed == pytest.approx(0.02)
    assert found.per_input == pytest.approx(3e-5)
    assert found.per_pair == pytest.approx(2e-9)
    assert found.per_output == pytest.approx(0.011)
    assert found.worst_error is not None
    assert found.worst_error < 1e-6
    assert found.seconds(1000, 400) == pytest.approx(true(1000, 400))


def test_queries_not_profiled_are_told_under_noise() -> None:
    rng = np.random.default_rng(1)
    points = [Timed(n, o, true(n, o) * rng.normal(1, 0.03)) for n, o in GRID for _ in range(3)]
    found = fit(points)
    for n, o in ((100, 300), (3000, 64), (6000, 200)):
        assert found.seconds(n, o) == pytest.approx(true(n, o), rel=0.05)
    assert found.mean_error is not None
    assert 0.01 < found.mean_error < 0.06


def test_a_servers_roofline_is_told_by_its_fit() -> None:
    """Prompts long enough to be bound by compute, and answers of one batch."""
    server = Server(read_config(LLAMA_8B), find("h100-sxm"))
    found = fit([Timed(n, o, server.request(n, o)) for n, o in GRID if n > 64])
    for n, o in ((1000, 64), (4000, 100)):
        assert found.seconds(n, o) == pytest.approx(server.request(n, o), rel=0.05)


@pytest.mark.parametrize(
    ("factor", "tail", "names"),
    [
        (1.0, 0.0, ("as ideal",)),
        (0.5, 0.0, ("optimisation",)),
        (2.0, 0.0, ("slower stack",)),
        (1.0, 2.0, ("contention",)),
        (0.4, 2.0, ("optimisation", "contention")),
    ],
)
def test_verdicts_are_those_of_what_was_injected(
    factor: float, tail: float, names: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(2)
    calls = []
    for _ in range(200):
        n, o = GRID[rng.integers(len(GRID))]
        waiting = 1 + rng.exponential(tail) if tail else 1.0
        calls.append(Timed(n, o, true(n, o) * factor * waiting * rng.normal(1, 0.02)))
    assert compare(calls, true).names == names


def test_too_little_is_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        fit([Timed(1, 1, 1.0)])
    with pytest.raises(DataError, match="same output_tokens"):
        fit([Timed(n, 5, 1.0) for n in range(1, 8)])
    with pytest.raises(DataError, match="no measured calls"):
        compare([], true)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("input_tokens,seconds\n1,2\n", "p.csv:1: no column output_tokens"),
        ("input_tokens,output_tokens,seconds\n1,1,0.5\n1,x,1\n", "p.csv:3: want numbers"),
        ("input_tokens,output_tokens,seconds\n1,1,-1\n", "p.csv:2: no such call"),
    ],
)
def test_mistakes_of_a_file_name_the_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "p.csv")
    assert told in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "none.csv")
