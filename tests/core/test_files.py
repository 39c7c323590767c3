"""Files that are there whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from farthing.core.errors import DataError
from farthing.core.files import whole


def test_the_file_is_there_at_the_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with whole(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("page.html", "new")]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="ab"), whole(path) as part:
        part.write_text("half" + str(int("ab")))
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("page.html", "old")]


def test_a_file_that_cannot_be_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"nowhere/page\.html: cannot be written"),
        whole(tmp_path / "nowhere" / "page.html") as part,
    ):
        part.write_text("new")
