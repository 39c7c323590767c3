"""The cards that come with Farthing, by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from farthing.core.errors import ConfigError
from farthing.cost.devices.card import Device
from farthing.cost.devices.file import load

_CARDS = Path(__file__).parent / "cards"


@cache
def names() -> tuple[str, ...]:
    """Of all cards, sorted."""
    return tuple(sorted(path.stem for path in _CARDS.glob("*.toml")))


def find(name: str) -> Device:
    """The card of a name, or in a file of that name.

    ConfigError if there is none, or the file is no card.
    """
    if name in names():
        return load(_CARDS / f"{name}.toml")
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return load(path)
    raise ConfigError(
        f"no device {name!r}: there are {', '.join(names())}; or give a card file (.toml), such as "
        "`farthing device measure` writes"
    )
