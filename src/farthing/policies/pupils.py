"""Small classifiers of texts that learn an item at a time, in numpy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np

from farthing.models.recording import Floats, Ints

FEATURES = 2**12
HIDDEN = 32
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Hashed:
    """A text as few of `FEATURES` numbers: which ones, and values of unit length."""

    places: Ints
    values: Floats


def words(text: str) -> Hashed:
    """Words and pairs of words."""
    found = _WORD.findall(text.lower())
    return _hashed([*found, *(f"{a} {b}" for a, b in pairwise(found))])


def pieces(text: str) -> Hashed:
    """Words, and three to four characters within them."""
    found = _WORD.findall(text.lower())
    parts = [
        word[i : i + size]
        for word in (f"<{one}>" for one in found)
        for size in (3, 4)
        for i in range(len(word) - size + 1)
    ]
    return _hashed([*found, *parts])


def _hashed(tokens: list[str]) -> Hashed:
    codes = [crc32(token.encode("utf-8", "surrogatepass")) % FEATURES for token in tokens]
    places, counts = np.unique(np.array(codes, np.int64), return_counts=True)
    values = np.sqrt(counts)
    return Hashed(places, values / max(float(np.sqrt((values**2).sum())), 1.0))


class LinearPupil:
    """Softmax regression on words, by stochastic gradient descent with a constant step.

    A constant step forgets: it follows what shifts, and does not settle.
    """

    name = "logistic"
    STEP = 2.0

    def __init__(self, classes: int) -> None:
        self.weights: Floats = np.zeros((FEATURES, classes))
        self.bias: Floats = np.zeros(classes)

    def chances(self, text: str) -> Floats:
        """The probability of each class, shape (classes,)."""
        told = words(text)
        return _softmax(told.values @ self.weights[told.places] + self.bias)

    def learn(self, text: str, label: int) -> None:
        """One step towards the label."""
        told = words(text)
        wrong = _softmax(told.values @ self.weights[told.places] + self.bias)
        wrong[label] -= 1.0
        self.weights[told.places] -= self.STEP * told.values[:, None] * wrong
        self.bias -= 0.1 * self.STEP * wrong

    def arrays(self) -> dict[str, Floats]:
        """All that it has learnt, by name; the arrays themselves."""
        return {"weights": self.weights, "bias": self.bias}


class NetworkPupil:
    """One hidden layer on words and parts of words; needs more items, and gets further.

    It sees each item `PASSES` times among the `KEPT` latest ones.
    """

    name = "network"
    STEP, PASSES, KEPT = 0.5, 4, 256

    def __init__(self, classes: int) -> None:
        rng = np.random.default_rng(0)
        self.inner: Floats = rng.normal(0, 1.0, (FEATURES, HIDDEN))
        self.shift: Floats = np.zeros(HIDDEN)
        self.outer: Floats = np.zeros((HIDDEN, classes))
        self.bias: Floats = np.zeros(classes)
        self.lately: list[tuple[str, int]] = []
        self.learnt = 0

    def chances(self, text: str) -> Floats:
        """The probability of each class, shape (classes,)."""
        told = pieces(text)
        hidden = np.tanh(told.values @ self.inner[told.places] + self.shift)
        return _softmax(hidden @ self.outer + self.bias)

    def learn(self, text: str, label: int) -> None:
        """Steps towards the label, and towards some of the labels before."""
        self.lately = [*self.lately[1 - self.KEPT :], (text, label)]
        self._step(text, label)
        rng = np.random.default_rng(self.learnt)
        for place in rng.integers(0, len(self.lately), self.PASSES - 1):
            self._step(*self.lately[place])
        self.learnt += 1

    def _step(self, text: str, label: int) -> None:
        told = pieces(text)
        rows = self.inner[told.places]
        hidden = np.tanh(told.values @ rows + self.shift)
        wrong = _softmax(hidden @ self.outer + self.bias)
        wrong[label] -= 1.0
        back = (self.outer @ wrong) * (1 - hidden**2)
        self.outer -= 0.2 * self.STEP * np.outer(hidden, wrong)
        self.bias -= 0.2 * self.STEP * wrong
        self.inner[told.places] = rows - self.STEP * np.outer(told.values, back)
        self.shift -= 0.1 * self.STEP * back

    def arrays(self) -> dict[str, Floats]:
        """All that it has learnt but the latest items, by name; the arrays themselves."""
        return {
            "inner": self.inner, "shift": self.shift, "outer": self.outer, "bias": self.bias,
        }  # fmt: skip


class Doubt:
    """How likely a pupil is to be wrong, by how sure it is: logistic regression, step by step.

    It begins with doubt, and learns from items whose label became known after the pupil
    had said what it thinks.
    """

    STEP = 0.1

    def __init__(self) -> None:
        self.weights: Floats = np.array([2.0, 0.0, 0.0])

    def chance(self, chances: Floats) -> float:
        """The probability that the likeliest class is not the label's."""
        return float(1 / (1 + np.exp(-float(self._features(chances) @ self.weights))))

    def learn(self, chances: Floats, wrong: bool) -> None:
        """One step towards what was so."""
        self.weights -= self.STEP * (self.chance(chances) - wrong) * self._features(chances)

    @staticmethod
    def _features(chances: Floats) -> Floats:
        best = np.sort(chances)[::-1]
        margin = best[0] - (best[1] if len(best) > 1 else 0.0)
        return np.array([1.0, 2 * margin - 1, -float(np.log(max(1.0 - best[0], 1e-3)))])


def copy_arrays(source: dict[str, Any], target: dict[str, Floats]) -> None:
    """Write numbers by name, as lists or arrays, into arrays; ValueError where they do not fit."""
    for name, array in target.items():
        values = np.asarray(source[name], float)
        if values.shape != array.shape:
            raise ValueError(f"{name} has shape {values.shape}, want {array.shape}")
        array[...] = values


def _softmax(odds: Floats) -> Floats:
    powers = np.exp(odds - odds.max())
    chances: Floats = powers / powers.sum()
    return chances
