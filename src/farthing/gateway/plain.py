"""OpenAI's endpoints that are passed on and never translated: completions and embeddings."""

from __future__ import annotations

from typing import Any

from farthing.core.request import Message, Request
from farthing.gateway.endpoint import Endpoint
from farthing.gateway.fields import Fields, whole, wrong

MAX_N = 128
_TOKENS = [{"type": "tokens"}]


def read_completions(fields: Fields, **about: Any) -> Request:
    """What is known of a request: `n` is the number of texts that are generated in all."""
    prompts = _prompts("prompt", fields.get("prompt"))
    samples = max(whole(fields, "n", 1, MAX_N) or 1, whole(fields, "best_of", 1, MAX_N) or 1)
    return Request(
        tuple(prompts),
        n=samples * len(prompts),
        max_tokens=whole(fields, "max_tokens", 0),
        seed=whole(fields, "seed"),
        **about,
    )


def read_embeddings(fields: Fields, **about: Any) -> Request:
    """What is known of a request; it generates no tokens."""
    return Request(tuple(_prompts("input", fields.get("input"))), max_tokens=0, **about)


def _prompts(name: str, value: Any) -> list[Message]:
    """A message for each prompt: a text, or tokens, whose text nobody knows."""
    if isinstance(value, str):
        return [Message("user", value)]
    if not isinstance(value, list) or not value:
        raise wrong(name, "a text, or a list of texts or tokens that is not empty")
    if all(isinstance(item, str) for item in value):
        return [Message("user", item) for item in value]
    if all(type(item) is int for item in value):
        return [Message("user", _TOKENS)]
    if all(isinstance(item, list) for item in value):
        return [Message("user", _TOKENS) for _ in value]
    raise wrong(name, "a text, or a list of texts or tokens that is not empty")


COMPLETIONS = Endpoint("completions", "/v1/completions", read_completions)
EMBEDDINGS = Endpoint("embeddings", "/v1/embeddings", read_embeddings, streams=False)
