"""Is the stability limit of `farthing.cost.queueing` that of a simulated server?

`python benchmarks/stability.py [TRACES]` prints, for each workload and server, the predicted and
the simulated limit (every request waits from the beginning), and how a queue of Poisson arrivals
grows at 0.9 and 1.1 of the predicted limit: requests that wait more at the end than half way, for
each arrival in between. Without TRACES (Parquet files with input_tokens and output_tokens) only
the synthetic workloads run. Times are modelled by the roofline: no server was measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _common import environment, markdown

from farthing.cost.architecture import read
from farthing.cost.devices import find
from farthing.cost.queueing import Engine, Lengths, limit, load, saturated, simulate
from farthing.cost.runtime import Server

LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
QWEN3_30B: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
}
SERVERS = (
    ("Llama 8B, L4", LLAMA_8B, "l4", 1),
    ("Llama 8B, H100", LLAMA_8B, "h100-sxm", 1),
    ("Llama 70B, 2 H200", LLAMA_70B, "h200", 2),
    ("Qwen3 30B-A3B, A100", QWEN3_30B, "a100-80", 1),
)
SYNTHETIC = {"chat": (500, 200), "reading": (3000, 30), "writing": (60, 600), "essays": (30, 1200)}
COLUMNS = (
    "workload",
    "server",
    "let in",
    "predicted /s",
    "simulated /s",
    "off by",
    "thrown out",
    "grows at 0.9",
    "at 1.1",
)


def workloads(traces: Path | None, requests: int, seed: int) -> Iterator[tuple[str, Lengths]]:
    """Synthetic ones (log-normal, by their means), then the traces."""
    rng = np.random.default_rng(seed)
    for name, means in SYNTHETIC.items():
        inputs, outputs = (
            np.clip(rng.lognormal(np.log(mean) - 0.32, 0.8, requests), 2, 12_000).astype(int)
            for mean in means
        )
        yield f"{name}, made up", Lengths(inputs, outputs)
    for path in sorted(traces.glob("*.parquet")) if traces else ():
        yield path.stem, load(path)


def growth(engine: Engine, lengths: Lengths, rate: float, seed: int) -> float:
    """How much longer the queue is at the end than half way, an arrival."""
    n = len(lengths)
    arrivals = np.random.default_rng(seed).exponential(1 / rate, n).cumsum()
    run = simulate(engine, lengths, arrivals)
    return (run.backlog(arrivals[-1]) - run.backlog(arrivals[n // 2])) / (n - n // 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="?", type=Path)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    rows, errors = [], []
    for name, lengths in workloads(asked.traces, asked.requests, asked.seed):
        for title, config, device, devices in SERVERS:
            for admission in ("grow", "whole"):
                engine = Engine(Server(read(config), find(device), devices), admission=admission)
                drawn = lengths.within(engine.capacity).draw(asked.requests, asked.seed)
                told, run = limit(engine, drawn), saturated(engine, drawn)
                errors.append(told.requests_per_s / run.throughput() - 1)
                grows = [
                    growth(engine, drawn, told.requests_per_s * times, asked.seed)
                    for times in (0.9, 1.1)
                ]
                rows.append(
                    (
                        name,
                        title,
                        admission,
                        f"{told.requests_per_s:.3g}",
                        f"{run.throughput():.3g}",
                        f"{errors[-1]:+.1%}",
                        f"{run.thrown_out / len(drawn):.2f}",
                        *(f"{value:+.3f}" for value in grows),
                    )
                )
    print(environment())
    print()
    print(markdown(COLUMNS, rows))
    worst = max(abs(error) for error in errors)
    print(f"\nOff by {np.mean(np.abs(errors)):.1%} on average, {worst:.1%} at most.")


if __name__ == "__main__":
    main()
