"""The stability limit of a queue whose server has a bounded cache.

While the queue is never empty, the server alternates between reading prompts and steps that write
a token of each running request. A request holds its prompt and what it has written so far, for as
many steps as it has tokens to write: its token-steps. A cache that is full delivers its capacity
in token-steps every step, and so finishes capacity / (mean token-steps) requests a step, each of
which also took its prefill. The rate at which it does so is the largest that can arrive: a queue
with less empties now and then, one with more grows without end.

Where requests are let in as soon as their prompts fit, the newest are thrown out when the cache
runs full, and read again. Between two requests that finish, those that run write as many tokens
as a request has, on average; taken to vary as intervals of a Poisson stream do, what exceeds the
free share of the cache must be taken from the newest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from farthing.core.errors import DataError
from farthing.cost.queueing.engine import WATERMARK, Engine
from farthing.cost.queueing.workload import Lengths


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest sustainable rate, modelled.

    Attributes:
        requests_per_s: of arrivals.
        batch: requests that run at once at the limit, on average.
        held: tokens in the cache at the limit, on average.
        step_s: of a decode step then.
        prefill_s: mean, of a request.
        thrown_out: times that a request is read again, on average.
        binds: "cache" if the cache decides how many run, else "batch", the most that may.
    """

    requests_per_s: float
    batch: float
    held: float
    step_s: float
    prefill_s: float
    thrown_out: float
    binds: Literal["cache", "batch"]


_REFILLS = 3
"""Times that the cache refills before the newest is thrown out: read off simulations of short
prompts with long answers, as a mean; prompts of 30 to 300 tokens, answers of 300 to 1,200."""


def limit(engine: Engine, lengths: Lengths) -> Limit:
    """The largest rate of such requests that the engine sustains.

    DataError if some request does not fit into the cache by itself: see `Lengths.within`.
    """
    n, o = lengths.inputs.astype(float), lengths.outputs.astype(float)
    if (n + o).max() > engine.capacity:
        raise DataError(
            f"a request of {int((n + o).max())} tokens does not fit into a cache of "
            f"{engine.capacity}"
        )
    steps = o - 1
    prefill = float(np.mean([engine.prefill(int(tokens)) for tokens in lengths.inputs]))
    if steps.mean() == 0:
        return Limit(1 / prefill, 1.0, float(n.mean()), 0.0, prefill, 0.0, "cache")
    seen = n * steps + steps * (steps + 1) / 2
    if engine.admission == "whole":
        held, waiting = (n + o) * steps, n + o
        room = float(engine.capacity)
    else:
        held, waiting = seen, n
        room = engine.capacity * (1 - WATERMARK)
    room -= float((waiting**2).mean() / waiting.mean()) / 2
    batch = max(1.0, room * steps.mean() / held.mean())
    binds: Literal["cache", "batch"] = "cache"
    if batch > engine.most:
        batch, binds = float(engine.most), "batch"
    context = batch * float(seen.mean() / steps.mean())
    step = engine.step(max(1, round(batch)), context)
    seconds = prefill + float(steps.mean()) * step / batch
    thrown_out = 0.0
    if engine.admission == "grow" and binds == "cache":
        thrown_out, again = _thrown_out(engine, float(n.mean()), float(steps.mean()), batch)
        seconds += again
    return Limit(1 / seconds, batch, context, step, prefill, thrown_out, binds)


def _thrown_out(engine: Engine, prompt: float, written: float, batch: float) -> tuple[float, float]:
    """How often a request is thrown out, and the seconds of reading it again."""
    free = engine.capacity * WATERMARK
    lost = written * math.exp(-free / written)
    each = prompt + _REFILLS * (free + written) / batch
    times = lost / each
    return times, times * engine.prefill(max(1, round(each)))


def devices_needed(rate: float, found: Limit, devices: int = 1, utilisation: float = 0.8) -> int:
    """Devices to buy for `rate` requests a second, in servers of `devices` each.

    Each server is given `utilisation` of its limit at most, below 1, for the queue to be short.
    """
    if not rate > 0 or not 0 < utilisation < 1:
        raise DataError(f"want a rate above zero and a utilisation below 1: {rate}, {utilisation}")
    return devices * math.ceil(rate / (found.requests_per_s * utilisation))
