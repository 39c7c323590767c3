"""Three small real language models that run in numpy: no torch, no network, known answers.

They work chains of single-digit arithmetic modulo 10 and show every step, so that each answer
and each step of it can be checked exactly.
"""

from farthing.models.tiny._chains import (
    MAX_STEPS,
    OPERATORS,
    Check,
    check,
    parse,
    problem,
    prompt,
    solve,
)
from farthing.models.tiny.model import TINY_SIZES, TinyModel, TinyState, load, rates

__all__ = [
    "MAX_STEPS",
    "OPERATORS",
    "TINY_SIZES",
    "Check",
    "TinyModel",
    "TinyState",
    "check",
    "load",
    "parse",
    "problem",
    "prompt",
    "rates",
    "solve",
]
