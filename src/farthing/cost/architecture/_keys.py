"""Values of a config.json, with errors that name the file and the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.core.errors import ConfigError


class Keys:
    """What a config.json says.

    Args:
        config: its content.
        path: its name, for errors.
    """

    def __init__(self, config: Mapping[str, Any], path: str) -> None:
        self._config, self._path = config, path

    def get(self, *names: str) -> Any:
        """The first of `names` that is there and not null, else None."""
        for name in names:
            if (value := self._config.get(name)) is not None:
                return value
        return None

    def number(self, *names: str, default: int | None = None) -> int:
        """A whole number above zero; ConfigError if it is missing without a default, or none."""
        for name in names:
            value = self._config.get(name)
            if value is None:
                continue
            if type(value) is not int or value < 1:
                raise ConfigError(
                    f"want a whole number above zero, not {value!r}", path=self._path, key=name
                )
            return value
        if default is None:
            raise ConfigError("is missing", path=self._path, key=" or ".join(names))
        return default

    def text(self, name: str) -> str:
        """A text; ConfigError if it is missing or none."""
        value = self._config.get(name)
        if not isinstance(value, str):
            what = "is missing" if value is None else f"want a text, not {value!r}"
            raise ConfigError(what, path=self._path, key=name)
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false; the default where it is missing."""
        value = self._config.get(name)
        return default if value is None else bool(value)

    def wrong(self, name: str, message: str) -> ConfigError:
        """An error about a key."""
        return ConfigError(message, path=self._path, key=name)
