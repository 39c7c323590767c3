"""Reading the fields of a request's body; RequestError names the one that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from farthing.core.errors import RequestError

Fields = Mapping[str, Any]

MAX_DEPTH = 200
"""Levels of objects and lists in a body; what reads it is recursive, and Python's stack is not
endless."""

_decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is."""
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise RequestError("the body is not a JSON object", code="invalid_json")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_deep(fields):
        raise RequestError(
            f"the body is nested deeper than {MAX_DEPTH} levels", code="invalid_json"
        )
    return fields


def _is_deep(value: dict[str, Any]) -> bool:
    """Whether `value` has more than `MAX_DEPTH` levels; it is not recursive itself."""
    layer: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner = (x for outer in layer for x in (outer.values() if type(outer) is dict else outer))
        layer = [x for x in inner if type(x) is dict or type(x) is list]
        if not layer:
            return False
    return True


def wrong(param: str, wanted: str) -> RequestError:
    """The error for a field that is not what is `wanted`."""
    return RequestError(f"{param!r} must be {wanted}", param=param, code="invalid_value")


def unsupported(param: str, what: str) -> RequestError:
    """The error for a field that only a model of the request's own format can do."""
    return RequestError(
        f"{what} cannot be told to this model or plan: leave {param!r} out, or ask a model whose "
        "upstream has this format",
        param=param,
        code="unsupported",
    )


def flag(fields: Fields, name: str) -> bool:
    """True or false; false if it is absent."""
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise wrong(name, "true or false")


def whole(
    fields: Fields, name: str, least: int | None = None, most: int | None = None
) -> int | None:
    """A whole number within its bounds; None if it is absent."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(name, "a whole number")
    if (least is not None and value < least) or (most is not None and value > most):
        raise wrong(name, f"at least {least}" + (f" and at most {most}" if most else ""))
    return value


def number(fields: Fields, name: str) -> float | None:
    """A number that is not negative; None if it is absent."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise wrong(name, "a number that is not negative")
    return value


def text(fields: Fields, name: str, at: str = "") -> str:
    """A text that is not empty; `at` is where `fields` stand."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise wrong(f"{at}.{name}" if at else name, "a text that is not empty")
    return value


def objects(value: Any, param: str) -> list[dict[str, Any]]:
    """A list of objects; empty if it is absent."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong(param, "a list of objects")
    return value


def mapping(fields: Fields, name: str) -> dict[str, Any]:
    """An object; empty if it is absent."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(name, "an object")
    return value
