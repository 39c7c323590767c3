"""What `import farthing` offers is decided here, and nowhere by accident."""

from __future__ import annotations

from types import ModuleType

import farthing

EXPECTED = {
    "__version__",
}


def test_exports_are_the_expected_ones() -> None:
    assert set(getattr(farthing, "__all__", ["__version__"])) == EXPECTED


def test_exports_exist() -> None:
    for name in EXPECTED:
        assert getattr(farthing, name) is not None


def test_nothing_else_leaks() -> None:
    public = {
        name
        for name, value in vars(farthing).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert public <= EXPECTED
