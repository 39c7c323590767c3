"""The tokenizer of the tiny models: one token a character, 17 tokens in all.

A prompt is `BOS`, the chain's steps, its first number, `EQUALS`; the working that follows is one
digit a step, then `EOS`. The steps stand in reverse, so that the first to be worked is nearest to
the working: ``3+4*2-5`` is read as ``-5 *2 +4 3 =``. In that order the distance from a digit of
the working to the step that it needs does not depend on the length of the chain; read from left
to right, whole lengths of chain stay at chance for long.
"""

from __future__ import annotations

from collections.abc import Iterable

from farthing.core.errors import RequestError

PAD, BOS, EOS = 0, 1, 2
CHARACTERS = "0123456789+-*="
FIRST = 3
EQUALS = FIRST + CHARACTERS.index("=")
VOCABULARY = FIRST + len(CHARACTERS)

_ID = {character: FIRST + i for i, character in enumerate(CHARACTERS)}


def encode(chain: str) -> list[int]:
    """The prompt's tokens for a chain without spaces, such as ``3+4*2-5``."""
    steps = [chain[at : at + 2] for at in range(len(chain) - 2, 0, -2)]
    return [BOS, *(_ID[character] for character in "".join((*steps, chain[0]))), EQUALS]


def encode_working(text: str) -> list[int]:
    """The tokens of the beginning of a working, such as ``7 4``; empty for an empty one.

    RequestError if it has anything but characters that the models write, and white space.
    """
    characters = "".join(text.split())
    unknown = next((c for c in characters if c not in _ID), None)
    if unknown is not None:
        raise RequestError(
            f"cannot go on from {text!r}: a last message of the assistant is the beginning of a "
            f"working, such as '7 4', and {unknown!r} is in none",
            param="messages",
            code="unreadable_prefix",
        )
    return [_ID[character] for character in characters]


def piece(token: int) -> str:
    """The character of `token`; empty for `PAD`, `BOS` and `EOS`."""
    return CHARACTERS[token - FIRST] if token >= FIRST else ""


def decode(tokens: Iterable[int]) -> str:
    """The text of a working: its characters, parted by spaces, such as ``7 4 9``."""
    return " ".join(filter(None, map(piece, tokens)))
