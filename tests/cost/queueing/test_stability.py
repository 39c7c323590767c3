"""The stability limit against a simulation of every step, on synthetic lengths."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from architecture_known import LLAMA_8B, SMALL
from pyarrow import parquet

from farthing.core.errors import DataError
from farthing.cost.architecture import read
from farthing.cost.devices import find
from farthing.cost.queueing import Engine, Lengths, devices_needed, limit, load, saturated, simulate
from farthing.cost.runtime import Server

REQUESTS = 4000
WORKLOADS = {"chat": (500, 200), "reading": (3000, 30), "writing": (60, 600)}


@cache
def drawn(name: str) -> Lengths:
    """Lengths with the heavy tails that traces have."""
    rng = np.random.default_rng(7)
    inputs, outputs = (
        np.clip(rng.lognormal(np.log(mean) - 0.32, 0.8, REQUESTS), 2, 12_000).astype(int)
        for mean in WORKLOADS[name]
    )
    return Lengths(inputs, outputs)


@cache
def engine(device: str, admission: Literal["grow", "whole"]) -> Engine:
    return Engine(Server(read(LLAMA_8B), find(device)), admission=admission)


@pytest.mark.parametrize("admission", ["grow", "whole"])
@pytest.mark.parametrize("device", ["h100-sxm", "l4"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_limit_is_within_a_tenth_of_the_simulated(
    workload: str, device: str, admission: Literal["grow", "whole"]
) -> None:
    server, lengths = engine(device, admission), drawn(workload)
    run = saturated(server, lengths)
    assert limit(server, lengths).requests_per_s == pytest.approx(run.throughput(), rel=0.1)
    assert (run.thrown_out == 0) or admission == "grow"


@pytest.mark.parametrize(("times", "grows"), [(0.9, False), (1.1, True)])
def test_queues_hold_below_the_limit_and_grow_above_it(times: float, grows: bool) -> None:
    server, lengths = engine("l4", "grow"), drawn("chat")
    rate = limit(server, lengths).requests_per_s * times
    arrivals = np.random.default_rng(3).exponential(1 / rate, REQUESTS).cumsum()
    run = simulate(server, lengths, arrivals)
    late, middle = run.backlog(arrivals[-1]), run.backlog(arrivals[REQUESTS // 2])
    assert (late - middle > 0.03 * REQUESTS / 2) == grows


def test_every_request_is_finished_in_order_of_time() -> None:
    server, lengths = engine("l4", "grow"), drawn("writing")
    arrivals = np.linspace(0, 100, REQUESTS)
    run = simulate(server, lengths, arrivals)
    alone = [server.prefill(int(n)) for n in lengths.inputs]
    assert (run.finished - arrivals >= np.array(alone) * 0.999).all()
    assert run.thrown_out > 0
    assert run.backlog(run.finished.max()) == 0


def test_a_request_alone_takes_its_prefill_and_its_steps() -> None:
    server = engine("l4", "grow")
    run = simulate(server, Lengths(np.array([100]), np.array([5])), np.array([3.0]))
    steps = sum(server.step(1, seen) for seen in range(101, 105))
    assert run.finished[0] == pytest.approx(3.0 + server.prefill(100) + steps)
    assert run.steps == 4
    assert run.mean_batch == 1


def test_an_engines_step_is_that_of_the_roofline() -> None:
    server = engine("h100-sxm", "grow")
    for batch, context in ((1, 100), (8, 3000), (64, 700)):
        exact = server.server.decode(context, batch).seconds
        assert server.step(batch, batch * context) == pytest.approx(exact, rel=1e-3)


def test_a_bounded_batch_binds() -> None:
    server = Engine(Server(read(LLAMA_8B), find("h200")), most=8)
    found = limit(server, drawn("chat"))
    assert (found.binds, found.batch) == ("batch", 8)
    run = saturated(server, drawn("chat"))
    assert found.requests_per_s == pytest.approx(run.throughput(), rel=0.1)
    assert run.mean_batch <= 8


def test_devices_are_bought_for_a_rate() -> None:
    found = limit(engine("l4", "grow"), drawn("chat"))
    assert devices_needed(found.requests_per_s * 0.79, found) == 1
    assert devices_needed(found.requests_per_s * 0.81, found) == 2
    assert devices_needed(found.requests_per_s * 0.81, found, devices=4) == 8
    with pytest.raises(DataError):
        devices_needed(0, found)


def test_what_does_not_fit_is_said() -> None:
    server = engine("l4", "grow")
    long = Lengths(np.array([server.capacity]), np.array([1]))
    for ask in (lambda: limit(server, long), lambda: saturated(server, long)):
        with pytest.raises(DataError, match="does not fit"):
            ask()
    with pytest.raises(DataError):
        long.within(5)
    big = Engine(Server(read(LLAMA_8B | {"hidden_size": 16384}), find("l4")))
    with pytest.raises(DataError, match="GB of weights"):
        _ = big.capacity
    assert Engine(Server(read(SMALL["llama"]), find("l4"))).capacity > 10**6


def test_traces_are_read(tmp_path: Path) -> None:
    table = pa.table({"input_tokens": [5, 0, 7], "output_tokens": [1, 2, None], "x": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("output_tokens,input_tokens\n1,5\n2,0\n,7\n")
    for name in ("t.parquet", "t.csv"):
        found = load(tmp_path / name)
        assert (found.inputs.tolist(), found.outputs.tolist()) == ([5], [1])
    (tmp_path / "bad.csv").write_text("input_tokens,output_tokens\na,1\n")
    for name in ("bad.csv", "none.csv", "none.parquet"):
        with pytest.raises(DataError, match="no trace"):
            load(tmp_path / name)
    (tmp_path / "empty.csv").write_text("input_tokens,output_tokens\n0,1\n")
    with pytest.raises(DataError, match="no request"):
        load(tmp_path / "empty.csv")
