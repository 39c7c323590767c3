"""Chains of arithmetic modulo 10: problems, exact solutions, exact checks of every step.

A chain such as ``3+4*2-5`` is evaluated strictly from left to right, and every intermediate value
is reduced modulo 10: 3+4=7, 7*2=4, 4-5=9. Its working is those values in order, ``7 4 9``, and its
answer is the last of them. A chain has one to ``MAX_STEPS`` steps.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_STEPS = 6
OPERATORS = "+-*"

_CHAIN = re.compile(r"\d(?:\s*[-+*]\s*\d)+(?!\s*[-+*]?\s*\d)")
_DIGIT_RUN = re.compile(r"\d+")
_INTEGER = re.compile(r"\d+")
_OPERAND_BEFORE = re.compile(r"[\d.]\s*[-+*/]?\s*$")


class Draws(Protocol):
    """What :func:`problem` needs of a random generator: ``numpy.random.Generator`` has it."""

    def integers(self, low: int, high: int) -> int:
        """One integer in ``low .. high - 1``."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """How far a working is right."""

    correct: bool
    """The last number of the working is the chain's answer."""

    steps_right: int
    """How many steps from the first on are right, each taken from the true value before it."""

    steps: int
    """How many steps the chain has."""

    complete: bool
    """The working has exactly one number a step and all of them are right."""


