"""Files of plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farthing.core.errors import DataError, ExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_plot(path: Path) -> None:
    """Raise what would keep a plot from being made: ExtraError, DataError for the file's kind."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ExtraError("matplotlib", "plot") from error
    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise DataError(f"{path}: no plot is written as {path.suffix!r}; try .png or .svg")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}")


def save(figure: Figure, path: Path) -> None:
    """Write a figure; DataError if the file cannot be written."""
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be written: {error}") from error
