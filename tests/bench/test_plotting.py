"""Files of plots."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from farthing.bench.plotting import check_plot, save
from farthing.core.errors import DataError


def test_what_can_be_written_is_written(tmp_path: Path) -> None:
    for name in ("a.png", "b.SVG", "c.pdf"):
        check_plot(tmp_path / name)
        save(Figure(), tmp_path / name)
        assert (tmp_path / name).stat().st_size > 100


def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt: no plot is written as '\.txt'"):
        check_plot(tmp_path / "a.txt")
    with pytest.raises(DataError, match="there is no folder"):
        check_plot(tmp_path / "none" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"folder\.png: cannot be written"):
        save(Figure(), tmp_path / "folder.png")
