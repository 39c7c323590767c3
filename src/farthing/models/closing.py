"""Ending the use of models."""

from __future__ import annotations

from collections.abc import Iterable

from farthing.core.protocols import Model


async def close_models(models: Iterable[Model]) -> None:
    """Close those that hold connections, threads or the like."""
    for model in models:
        close = getattr(model, "aclose", None)
        if close is not None:
            await close()
