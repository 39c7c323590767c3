"""Card files: TOML, one device each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from farthing.core.errors import ConfigError, MoneyError
from farthing.cost.devices.card import Device


def load(path: Path) -> Device:
    """The card in a file; ConfigError with the file and the key if it is none."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", path=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is no text in UTF-8", path=str(path)) from error


def parse(text: str, path: str) -> Device:
    """The card in a TOML text; `path` is named in errors, which are ConfigErrors."""
    try:
        device = msgspec.convert(tomllib.loads(text), Device)
        if device.price is not None:
            _ = device.price.cost
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"no TOML: {error}", path=path) from error
    except MoneyError as error:
        raise ConfigError(str(error), path=path, key="price.usd_per_hour") from error
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        raise ConfigError(message, path=path, key=place.rstrip("`")) from error
    return device


def dump(device: Device) -> str:
    """The card as TOML; what is unknown is left out."""
    made: dict[str, Any] = msgspec.to_builtins(device)
    scalars = {k: v for k, v in made.items() if v not in (None, "") and not isinstance(v, dict)}
    tables = {k: v for k, v in made.items() if isinstance(v, dict)}
    return tomlkit.dumps(scalars | tables)
