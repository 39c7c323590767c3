"""Files that are there whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farthing.core.errors import DataError


@contextmanager
def whole(path: Path, *, by: str = "") -> Iterator[Path]:
    """Where to write what becomes the file `path` at the end; nothing is left if it fails.

    `by` tells those apart that may write the file at the same time. DataError if it cannot be
    written.
    """
    part = path.with_name(f"{path.name}{by}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
