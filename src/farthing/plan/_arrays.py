"""The arrays of a learnt policy, in a file beside its plan, which stays short enough to review."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from farthing.core.errors import PlanError

LONG = 32
KEY = "array"


def cut(params: Any) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
    """`params` with arrays, and lists of more than `LONG` numbers, replaced by their names.

    None is left out of tables, since TOML has no word for it.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def walk(value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {
                str(key): walk(item, f"{place}.{key}")
                for key, item in value.items()
                if item is not None
            }
        array = _array(value)
        if array is not None:
            name = place.lstrip(".")
            arrays[name] = np.ascontiguousarray(array)
            return {KEY: name}
        if isinstance(value, list | tuple):
            return [walk(item, f"{place}.{index}") for index, item in enumerate(value)]
        return value

    return walk(params, ""), arrays


def paste(params: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """`params` with the names put there by `cut` replaced by their arrays."""
    if isinstance(params, dict):
        if set(params) == {KEY}:
            if params[KEY] not in arrays:
                raise PlanError(f"the arrays of the plan lack {params[KEY]!r}")
            return arrays[params[KEY]]
        return {key: paste(value, arrays) for key, value in params.items()}
    if isinstance(params, list):
        return [paste(value, arrays) for value in params]
    return params


def to_bytes(arrays: dict[str, np.ndarray[Any, Any]]) -> tuple[bytes, str]:
    """The file's content, the same for the same arrays, and its digest."""
    content = save(dict(sorted(arrays.items())))
    return content, digest(content)


def digest(content: bytes) -> str:
    """SHA-256 of the file's content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read(path: Path, expected: str) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays in the file; PlanError if it is missing, or not the one that the plan names."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PlanError(f"{path}, which holds the plan's arrays: {error.strerror}") from error
    if digest(content) != expected:
        raise PlanError(f"{path} is not the file of arrays that the plan was written with")
    try:
        arrays: dict[str, np.ndarray[Any, Any]] = load(content)
    except (SafetensorError, ValueError) as error:
        raise PlanError(f"{path}: not a file of arrays: {error}") from error
    return arrays


def _array(value: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, list | tuple) or not value:
        return None
    flat = value
    while isinstance(flat[0], list | tuple) and flat[0]:
        flat = flat[0]
    if isinstance(flat[0], bool) or not isinstance(flat[0], int | float):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array if array.size > LONG and array.dtype.kind in "if" else None
