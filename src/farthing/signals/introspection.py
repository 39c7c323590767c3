"""What a model says of its own answer while it writes it, in a sample's `fields["heads"]`.

A model that shows "heads" says after each token, where `extra["heads"]` asks for it, how likely
another answer would not be better, and how the answer's being right goes together with the number
of tokens that remain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farthing.core.errors import RequestError
from farthing.core.response import Sample


@dataclass(frozen=True, slots=True)
class Introspection:
    """What is said after one token.

    Attributes:
        enough: the probability that another answer would not be better.
        wrong, right: the probabilities of a wrong and of a right answer after 0, 1, ... further
            tokens, the last standing for that many or more; all sum to 1.
    """

    enough: float
    wrong: tuple[float, ...]
    right: tuple[float, ...]

    @property
    def likely(self) -> float:
        """The probability that the answer comes to be right."""
        return sum(self.right)

    @property
    def lengths(self) -> tuple[float, ...]:
        """The probabilities of 0, 1, ... further tokens."""
        return tuple(map(sum, zip(self.wrong, self.right, strict=True)))

    @property
    def remaining(self) -> float:
        """The expected number of further tokens, at least: the last place counts as its least."""
        return sum(place * share for place, share in enumerate(self.lengths))


def introspections(sample: Sample) -> tuple[Introspection, ...] | None:
    """What was said after each token; None if nothing was.

    RequestError if the field is not of its form.
    """
    told = sample.fields.get("heads")
    if told is None:
        return None
    try:
        return tuple(_introspection(one) for one in told)
    except (TypeError, KeyError, ValueError) as error:
        raise RequestError(
            f"what the model says in `heads` is not of its form: {error!r}", param="heads"
        ) from error


def _introspection(told: Mapping[str, Any]) -> Introspection:
    wrong, right = (_row(row) for row in told["joint"])
    if len(wrong) != len(right):
        raise ValueError("joint has rows of two lengths")
    return Introspection(float(told["enough"]), wrong, right)


def _row(row: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(one) for one in row)
