"""How vendors tell usage: which counter contains which, as data.

A `Shape` for every way. The code that reads them is in `farthing.cost.usage`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Parent = tuple[str, ...]
Path = tuple[Parent, str]


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of a vendor, and the counters that it contains.

    Attributes:
        leaf: where those of its tokens go that are in no part.
        paths: where it may be told; several that are told must agree.
        parts: the counters contained in it.
        adds: the parts are all of it, so that they tell it where it is not told itself.
        required: a sum without this part is not known.
        overlaps: its tokens may also be in the parts before it, which then keep them.
        cached: where it is told how many of its tokens are in the parts before it.
        keys: of the objects of usage and timings; without any of them, nothing of it is told.
    """

    leaf: str
    paths: tuple[Path, ...] = ()
    parts: tuple[Counter, ...] = ()
    adds: bool = False
    required: bool = False
    overlaps: bool = False
    cached: tuple[Path, ...] = ()
    keys: frozenset[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        own = {(*parent, name)[1] for parent, name in self.paths}
        keys = own.union(*(part.keys for part in self.parts))
        object.__setattr__(self, "keys", frozenset(keys))


@dataclass(frozen=True, slots=True)
class Shape:
    """How a vendor tells usage.

    Attributes:
        name: whose shape it is.
        input, output: the counters.
        total: where the sum of both is told.
        marks: it is this shape if one of these is there; always, if there are none to be.
        unless: it is not this shape if one of these is there.
        model: it is this shape only for models with this in their names.
        reasoning_untold: whether what the total has in excess is reasoning that was not told.
    """

    name: str
    input: Counter
    output: Counter
    total: tuple[Path, ...] = ()
    marks: tuple[Path, ...] = ()
    unless: tuple[Path, ...] = ()
    model: str | None = None
    reasoning_untold: bool = False


def _paths(*dotted: str) -> tuple[Path, ...]:
    split = (path.split(".") for path in dotted)
    return tuple((tuple(parents), name) for *parents, name in split)


def _details(whole: tuple[str, str], part: str) -> tuple[str, ...]:
    return tuple(f"usage.{name}_details.{part}" for name in whole)


def _openai(name: str, *cached: str, **fields: Any) -> Shape:
    """Chat spells prompt and completion, responses spells input and output; parts are inside."""
    asked, told = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
    cache_read = Counter(
        "cache_read",
        _paths(
            *_details(asked, "cached_tokens"),
            "usage.prompt_cache_hit_tokens",  # DeepSeek
            "usage.cached_tokens",  # Moonshot
            "usage.cache_read_input_tokens",  # a gateway before Anthropic
            *cached,
        ),
    )
    cache_write = Counter(
        "cache_write",
        _paths(*_details(asked, "cache_write_tokens"), "usage.cache_creation_input_tokens"),
    )
    media = tuple(
        Counter(
            f"input_{kind}",
            _paths(*_details(asked, f"{kind}_tokens")),
            overlaps=True,
            cached=_paths(*_details(asked, f"cached_tokens_details.{kind}_tokens")),
        )
        for kind in ("audio", "image")
    )
    spoken = (
        Counter("reasoning", _paths(*_details(told, "reasoning_tokens"))),
        Counter("output_audio", _paths(*_details(told, "audio_tokens"))),
    )
    return Shape(
        name,
        input=Counter(
            "input", _paths(*(f"usage.{x}" for x in asked)), (cache_read, cache_write, *media)
        ),
        output=Counter("output", _paths(*(f"usage.{x}" for x in told)), spoken),
        total=_paths("usage.total_tokens"),
        **fields,
    )


_TIMINGS = _paths("timings.predicted_n")
SHAPES = (
    # Google's surface leaves thoughts out of the completion, and out of the details too.
    _openai("gemini", model="gemini", reasoning_untold=True),
    # Older servers tell the cached tokens among the timings alone.
    _openai("llama.cpp", "timings.cache_n", marks=_TIMINGS),
    # The input excludes what the cache gave and took.
    Shape(
        "anthropic",
        input=Counter(
            "input",
            parts=(
                Counter("input", _paths("usage.input_tokens"), required=True),
                Counter("cache_read", _paths("usage.cache_read_input_tokens")),
                Counter(
                    "cache_write",
                    _paths("usage.cache_creation_input_tokens"),
                    (
                        Counter(
                            "cache_write",
                            _paths("usage.cache_creation.ephemeral_5m_input_tokens"),
                        ),
                        Counter(
                            "cache_write_1h",
                            _paths("usage.cache_creation.ephemeral_1h_input_tokens"),
                        ),
                    ),
                    adds=True,
                ),
            ),
            adds=True,
        ),
        output=Counter("output", _paths("usage.output_tokens")),
        marks=_paths(
            "usage.cache_read_input_tokens",
            "usage.cache_creation_input_tokens",
            "usage.cache_creation",
        ),
        unless=_paths("usage.prompt_tokens"),
    ),
    # Chat and responses of OpenAI and of all that speak like it, vLLM among them.
    _openai("openai"),
    # llama.cpp without usage: what was reckoned excludes what the cache gave.
    Shape(
        "llama.cpp timings",
        input=Counter(
            "input",
            parts=(
                Counter("input", _paths("timings.prompt_n"), required=True),
                Counter("cache_read", _paths("timings.cache_n"), required=True),
            ),
            adds=True,
        ),
        output=Counter("output", _TIMINGS),
        marks=_TIMINGS,
    ),
)
