"""What `import farthing` offers is decided here, and nowhere by accident."""

from __future__ import annotations

from types import ModuleType

import farthing

IMPORTED = {"annotations", "TYPE_CHECKING", "Any", "import_module"}
EXPECTED = {
    "AsyncClient",
    "Certificate",
    "Client",
    "Cost",
    "FarthingError",
    "Message",
    "Plan",
    "Promise",
    "Rates",
    "Recording",
    "Replay",
    "Request",
    "Response",
    "Sample",
    "Usage",
    "__version__",
    "load_plan",
    "load_recording",
    "make_plan",
    "replay_plan",
    "save_plan",
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
        if not name.startswith("_") and not isinstance(value, ModuleType) and name not in IMPORTED
    }
    assert public <= EXPECTED
