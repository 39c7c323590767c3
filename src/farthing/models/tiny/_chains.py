"""Chains of arithmetic modulo 10: problems, exact solutions, exact checks of every step.

A chain such as ``3+4*2-5`` is worked strictly from left to right, and every intermediate value is
reduced modulo 10: 3+4=7, 7*2=4, 4-5=9. Its working is these values in order, ``7 4 9``, and its
answer is the last of them. A chain has one to `MAX_STEPS` steps; operands are single digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from farthing.core.errors import RequestError

MAX_STEPS = 6
OPERATORS = "+-*"
EXAMPLE = "3 + 4 * 2 - 5 ="

_EXPRESSION = re.compile(r"(?<![\w.+\-*/^%])\d+(?:\s*[-+*/^%]\s*\d+)+(?![\w.]*\d)")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Check:
    """How far a working is right; true exactly if its answer is.

    Attributes:
        correct: whether the last number of the working is the chain's answer.
        steps: how many steps the chain has.
        steps_right: how many values are right before the first wrong or missing one.
    """

    correct: bool
    steps: int
    steps_right: int

    def __bool__(self) -> bool:
        return self.correct


def problem(rng: np.random.Generator, steps: int) -> str:
    """A random chain of `steps` steps, such as ``3+4*2-5``; RequestError if too long or short."""
    if not 1 <= steps <= MAX_STEPS:
        raise RequestError(f"a chain has 1 to {MAX_STEPS} steps, not {steps}")
    digits = rng.integers(10, size=steps + 1).tolist()
    operators = rng.integers(len(OPERATORS), size=steps).tolist()
    tail = "".join(f"{OPERATORS[o]}{d}" for o, d in zip(operators, digits[1:], strict=True))
    return f"{digits[0]}{tail}"


def prompt(chain: str) -> str:
    """The question that a person would ask about `chain`."""
    return f"Work out left to right modulo 10: {' '.join(chain)} ="


def parse(text: str) -> str:
    """The last chain in `text`, without spaces.

    Raises RequestError if there is none, or if it has a number of more than one digit, an
    operator other than + - *, or too many steps.
    """
    expressions = _EXPRESSION.findall(text)
    if not expressions:
        raise _unreadable("there is none in the last user message")
    chain = "".join(expressions[-1].split())
    for number in _NUMBER.findall(chain):
        if len(number) > 1:
            raise _unreadable(f"{number} in {chain!r} has more than one digit")
    operators = chain[1::2]
    for operator in operators:
        if operator not in OPERATORS:
            raise _unreadable(f"{operator!r} in {chain!r} is not an operator it knows")
    if len(operators) > MAX_STEPS:
        raise _unreadable(f"{chain!r} has {len(operators)} steps")
    return chain


def solve(text: str) -> tuple[int, ...]:
    """The value after each step of the last chain in `text`; RequestError as `parse`."""
    chain = parse(text)
    value = int(chain[0])
    values = []
    for operator, digit in zip(chain[1::2], chain[2::2], strict=True):
        value = _apply(value, operator, int(digit))
        values.append(value)
    return tuple(values)


def check(text: str, answer: str) -> Check:
    """Compare the working `answer` with the solution of the last chain in `text`."""
    values = solve(text)
    given = [int(number) for number in _NUMBER.findall(answer)]
    right = 0
    while right < min(len(values), len(given)) and values[right] == given[right]:
        right += 1
    return Check(bool(given) and given[-1] == values[-1], len(values), right)


def _apply(value: int, operator: str, digit: int) -> int:
    if operator == "+":
        return (value + digit) % 10
    if operator == "-":
        return (value - digit) % 10
    return value * digit % 10


def _unreadable(reason: str) -> RequestError:
    return RequestError(
        f"no readable chain: {reason}. The tiny models answer one kind of question: a chain of "
        f"one to {MAX_STEPS} additions, subtractions and multiplications of single digits, worked "
        f"left to right modulo 10, such as {EXAMPLE!r}",
        param="messages",
        code="unreadable_prompt",
    )
