"""How a call tells its upstream which trace it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar

Propagate = Callable[[], Mapping[str, str]]

propagate: ContextVar[Propagate | None] = ContextVar("propagate", default=None)
"""Makes the headers of the call that is about to be made; None where nothing is traced."""


def trace_headers() -> Mapping[str, str]:
    """The headers for the call that is about to be made; to be asked for once, in its own task."""
    make = propagate.get()
    return {} if make is None else make()
