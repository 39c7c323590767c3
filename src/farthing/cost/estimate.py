"""A guess of the usage that an upstream does not tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from farthing.core.request import Request
from farthing.core.response import Basis
from farthing.core.usage import Usage


def four_bytes_a_token(text: str) -> int:
    """A guess of the tokens of `text`: a quarter of its bytes in UTF-8, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def estimate_usage(
    request: Request,
    texts: Sequence[str],
    *,
    count: Callable[[str], int] = four_bytes_a_token,
) -> tuple[Usage | None, Basis]:
    """A guess of the usage of an answer that tells none, from the texts asked and answered.

    The prompt is counted once. Tools, images and audio cannot be guessed: with such parts in the
    request the usage stays unknown.

    Args:
        request: what was asked.
        texts: the texts of the samples, as far as they came.
        count: how many tokens a text has, such as a tokenizer's.
    """
    if request.extra.get("tools") or request.extra.get("functions"):
        return None, "unknown"
    for message in request.messages:
        content = message.content
        parts = () if content is None or isinstance(content, str) else content
        if any(part.get("type", "text") != "text" for part in parts):
            return None, "unknown"
    asked = sum(count(message.text) for message in request.messages)
    return Usage(input=asked, output=sum(map(count, texts))), "estimated"
