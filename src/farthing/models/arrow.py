"""pyarrow, imported when it is first used: a gateway that reads no recording does without."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:

    class _Late:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(import_module(self._name), attribute)

    pa, pc = _Late("pyarrow"), _Late("pyarrow.compute")

__all__ = ["pa", "pc"]
