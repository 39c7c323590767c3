"""What a tiny model says of its own working after each token: heads beside its output matrix.

They read the pass that chose the token, so that they take no pass of their own: its residual
stream after the first block, before the last feed-forward and at the end; and the
log-probabilities of the working's tokens so far. One hidden layer is shared by two heads:

- `enough`: the probability that another answer to the same prompt would not be better.
- `joint`: the distribution of the final answer's being wrong (row 0) or right (row 1), together
  with the number of tokens that remain after this one, the end token included: columns 0, 1, ...;
  the last stands for that many or more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from farthing.core.errors import RequestError
from farthing.models.tiny._engine import Floats

LENGTHS = 8
"""Columns of `joint`."""
OUTPUTS = 1 + 2 * LENGTHS
PLACES = 3
"""How many places of the residual stream are read."""
EVIDENCE = 4
"""Numbers of the working so far: see `evidence`."""
FILE = "heads.safetensors"

Told = dict[str, Any]
Running = tuple[float, float]
"""Sum and least of the log-probabilities of a working's tokens."""

START: Running = (0.0, 0.0)
_TOTALS = 2**16


class Heads:
    """The heads of one model, in float32."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """From `hidden.weight` (H, 3 E + 4), `hidden.bias`, `out.weight` (17, H), `out.bias`."""
        hidden, out = (tensors[f"{name}.weight"].astype(np.float32) for name in ("hidden", "out"))
        self.width: int = hidden.shape[0]
        self._seen = np.ascontiguousarray(hidden[:, :-EVIDENCE].T)
        self._evidence = np.ascontiguousarray(hidden[:, -EVIDENCE:].T)
        self._bias = tensors["hidden.bias"].astype(np.float32)
        self._out = np.ascontiguousarray(out.T)
        self._out_bias = tensors["out.bias"].astype(np.float32)

    @classmethod
    def load(cls, folder: Path) -> Heads:
        """From the file beside a model's weights."""
        return cls(load_file(folder / FILE))

    @property
    def flops(self) -> int:
        """FLOPs of what they say of one token: two a multiply-add, as of the model."""
        return 2 * self.width * (len(self._seen) + EVIDENCE + OUTPUTS)

    def see(self, stream: Floats) -> Floats:
        """What they make of a pass, whatever token it chooses; shape (B, H) of (B, 3 E)."""
        seen: Floats = stream @ self._seen + self._bias
        return seen

    def tell(self, seen: Floats, evidence: Sequence[tuple[float, float, float, float]]) -> Floats:
        """Probabilities, shape (B, 17), of what `see` gave and each row's `evidence`.

        The first is that of `enough`, the others are `joint`, row after row.
        """
        inner = seen + np.asarray(evidence, np.float32) @ self._evidence
        logits = (inner * (0.5 + 0.5 * np.tanh(0.5 * inner))) @ self._out + self._out_bias
        told: Floats = np.empty(logits.shape, np.float32)
        told[:, 0] = 0.5 + 0.5 * np.tanh(0.5 * logits[:, 0])
        shifted = np.exp(logits[:, 1:] - logits[:, 1:].max(-1, keepdims=True))
        told[:, 1:] = shifted / shifted.sum(-1, keepdims=True)
        return told


def followed(running: Running, logprob: float) -> Running:
    """What `running` becomes with another token."""
    total, least = running
    return total + logprob, min(least, logprob)


def evidence(running: Running, logprob: float, *, ends: bool) -> tuple[float, float, float, float]:
    """What the heads read of a working: its last token, counted in `running`, and all of it."""
    return logprob, running[0], running[1], float(ends)


def shown(told: Floats) -> Told:
    """One row of `Heads.tell` as an answer carries it."""
    joint = told[1:].reshape(2, LENGTHS).tolist()
    return {"enough": float(told[0]), "joint": joint}


def heads_of(wanted: Any) -> bool:
    """Whether a request wants what the heads say; RequestError if that is no truth value."""
    if wanted is not None and not isinstance(wanted, bool):
        raise RequestError(f"heads must be true or false, not {wanted!r}", param="heads")
    return bool(wanted)


class Totals:
    """`Running` of the workings that were written lately, by prompt and working; thread-safe."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, ...], Running] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, tokens: tuple[int, ...]) -> Running | None:
        """That of a prompt and the working after it; None if it is not known."""
        with self._lock:
            return self._known.get(tokens)

    def note(self, tokens: tuple[int, ...], running: Running) -> None:
        """Remember it; the oldest ones are forgotten."""
        with self._lock:
            self._known[tokens] = running
            if len(self._known) > _TOTALS:
                self._known.popitem(last=False)
