"""Measuring the card of this machine: matrix products, memory, the link to an accelerator.

The rates are the best of many short runs: what the machine can do, not what it did on average
while others used it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from farthing.core.errors import ConfigError
from farthing.cost.devices.card import Device

SECONDS = 1.5
SIDE = 1024
STREAM_BYTES = 192 * 2**20
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def measure(
    where: str | None = None, *, seconds: float = SECONDS, stream_bytes: int = STREAM_BYTES
) -> Device:
    """The measured card of this machine.

    Args:
        where: "cpu" or "cuda"; None for the accelerator if torch sees one, else the processor.
        seconds: spent on each rate.
        stream_bytes: of each array of the bandwidth test; more than the caches hold.

    Raises:
        ConfigError: for "cuda" where torch does not see one.
    """
    torch = _torch()
    cuda = torch is not None and bool(torch.cuda.is_available())
    if where == "cuda" and not cuda:
        raise ConfigError("no CUDA device: torch is not installed, or sees none")
    if where == "cuda" or (where is None and cuda):
        return _accelerator(torch, seconds, stream_bytes)
    return _processor(torch, seconds, stream_bytes)


def _processor(torch: Any, seconds: float, stream_bytes: int) -> Device:
    cores = processors()
    flops = {"fp32": _numpy_products(seconds)}
    with_torch = "numpy"
    if torch is not None:
        with_torch = f"numpy and torch {torch.__version__}"
        for kind, rate in torch_products(torch, "cpu", seconds).items():
            flops[kind] = max(rate, flops.get(kind, 0.0))
    return Device(
        title=f"{_processor_name()}, {cores} core{'s' if cores > 1 else ''}",
        kind="cpu",
        basis="measured",
        source=f"farthing device measure, {with_torch}, {platform.system()} {platform.machine()}",
        date=datetime.now(UTC).date().isoformat(),
        memory=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        bandwidth=_bandwidth(cores, seconds, stream_bytes),
        flops=flops,
        notes=f"load before: {os.getloadavg()[0]:.1f}; power and price unknown",
    )


def processors() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _accelerator(torch: Any, seconds: float, stream_bytes: int) -> Device:
    properties = torch.cuda.get_device_properties(0)
    return Device(
        title=str(properties.name),
        kind="gpu",
        basis="measured",
        source=f"farthing device measure, torch {torch.__version__}",
        date=datetime.now(UTC).date().isoformat(),
        memory=float(properties.total_memory),
        bandwidth=torch_bandwidth(torch, "cuda", seconds, 4 * stream_bytes),
        flops=torch_products(torch, "cuda", seconds, side=8192),
        link=_link(torch, seconds, stream_bytes),
    )


def best(run: Callable[[], object], seconds: float) -> float:
    """The least time of a run, in seconds, over at least 3 runs and `seconds`; one to warm up."""
    run()
    least, spent, runs = float("inf"), 0.0, 0
    while runs < 3 or spent < seconds:
        start = time.perf_counter()
        run()
        took = time.perf_counter() - start
        least, spent, runs = min(least, took), spent + took, runs + 1
    return least


def _numpy_products(seconds: float) -> float:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    out = np.empty_like(a)
    return 2 * SIDE**3 / best(lambda: np.matmul(a, b, out=out), seconds)


def torch_products(torch: Any, where: str, seconds: float, *, side: int = SIDE) -> dict[str, float]:
    """FLOP/s of square products by type, on torch's device `where`."""
    found = {}
    for kind, name in _DTYPES.items():
        rate = _torch_rate(torch, where, name, side // 4, 0.0)
        if 2 * side**3 / rate < 1.0:  # else a fallback that is slow, and not worth more time
            rate = max(rate, _torch_rate(torch, where, name, side, seconds))
        found[kind] = rate
    return found


def _torch_rate(torch: Any, where: str, dtype: str, side: int, seconds: float) -> float:
    a, b = (torch.randn(side, side, device=where).to(getattr(torch, dtype)) for _ in range(2))

    def product() -> None:
        torch.matmul(a, b)
        _wait(torch, where)

    return float(2 * side**3 / best(product, seconds))


def torch_bandwidth(torch: Any, where: str, seconds: float, nbytes: int) -> float:
    """Bytes a second of a copy, read and written, on torch's device `where`."""
    a = torch.ones(nbytes // 4, device=where)
    b = torch.empty_like(a)

    def copy() -> None:
        b.copy_(a)
        _wait(torch, where)

    return 2 * nbytes / best(copy, seconds)


def _bandwidth(cores: int, seconds: float, nbytes: int) -> float:
    """Bytes a second of the better of reading (a sum) and copying, a thread a core.

    Weights are read and not written, so that reading counts where it is faster. A copy counts
    what it reads and writes, without the lines that a cache fetches before it writes them.
    """
    share = nbytes // 4 // cores
    arrays = [(np.ones(share, np.float32), np.zeros(share, np.float32)) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:

        def copy() -> None:
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), arrays))

        def add_up() -> None:
            list(pool.map(lambda pair: float(np.dot(pair[0], pair[0])), arrays))

        moved = 4 * share * cores
        return max(2 * moved / best(copy, seconds), moved / best(add_up, seconds))


def _link(torch: Any, seconds: float, nbytes: int) -> float:
    """Bytes a second from pinned memory of the host to the accelerator."""
    there = torch.empty(nbytes // 4, device="cuda")
    here = torch.ones(nbytes // 4, pin_memory=True)

    def copy() -> None:
        there.copy_(here, non_blocking=True)
        _wait(torch, "cuda")

    return nbytes / best(copy, seconds)


def _wait(torch: Any, where: str) -> None:
    if where != "cpu":
        torch.cuda.synchronize()


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
