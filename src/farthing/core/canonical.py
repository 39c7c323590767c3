"""JSON values in one spelling, so that equal values can be told by equal texts."""

from __future__ import annotations

import json
from typing import Any


def canonical(value: Any) -> str:
    """`value` as JSON with sorted keys and without white space; 1.0 is 1."""
    return json.dumps(
        _plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str
    )


def canonical_json(text: str) -> str | None:
    """The JSON in `text` as `canonical` writes it; None if it is none."""
    try:
        return canonical(json.loads(text, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
