"""Copies of records that differ in some fields, for where `dataclasses.replace` takes too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")
_Slots = dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]]

_KNOWN: dict[type, _Slots] = {}


def changed(record: T, **changes: Any) -> T:
    """`record`, of a dataclass with slots and without `__post_init__`, with these fields changed.

    Raises TypeError for a field that it does not have.
    """
    kind = type(record)
    slots = _KNOWN.get(kind) or _slots(kind)
    if not changes.keys() <= slots.keys():
        raise TypeError(f"{kind.__name__} has no {min(changes.keys() - slots.keys())}")
    new = object.__new__(kind)
    for name, (get, put) in slots.items():
        put(new, changes[name] if name in changes else get(record))
    return new


def _slots(kind: type) -> _Slots:
    """What reads and writes each field."""
    if hasattr(kind, "__post_init__"):
        raise TypeError(f"{kind.__name__} checks its fields: use dataclasses.replace")
    slots = {field.name: kind.__dict__[field.name] for field in fields(kind)}
    found = _KNOWN[kind] = {name: (slot.__get__, slot.__set__) for name, slot in slots.items()}
    return found
