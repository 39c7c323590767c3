"""Vendors' overlapping token counters, read into disjoint leaves.

Which counter contains which is data, in `farthing.cost.shapes`. One piece of code takes the parts
out of their wholes, so that no token is in two leaves and none is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.core.errors import UsageError
from farthing.core.response import Basis
from farthing.core.usage import LEAVES, Usage
from farthing.cost.calls import read_calls
from farthing.cost.shapes import SHAPES, Counter, Parent, Path, Shape

_STANDARD_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})
_ENVELOPES = ("message", "response")


def read_usage(payload: Mapping[str, Any]) -> tuple[Usage | None, Basis]:
    """The token counts that an answer tells, split into disjoint leaves.

    `payload` is a response, the last chunk of a stream, or the `usage` object itself; the shape
    is recognised. A count of zero is a count; one that is absent or null is unknown, unless
    others tell it. The result is `(None, "unknown")` when the input or the output is not told.

    Raises:
        UsageError: counters that are not whole numbers, or that contradict each other.
    """
    told = payload.get("usage", payload)
    if told is not None and not isinstance(told, Mapping):
        raise UsageError(f"usage is not an object: {told!r}")
    objects = {("usage",): told or {}, ("timings",): payload.get("timings")}
    view = _View({path: at if isinstance(at, Mapping) else {} for path, at in objects.items()})
    model = payload.get("model")
    for shape in SHAPES:
        if shape.model and not (isinstance(model, str) and shape.model in model):
            continue
        if (shape.marks and not view.has_any(shape.marks)) or view.has_any(shape.unless):
            continue
        read = _Reading(view).read(shape)
        if read is not None:
            return read
    return None, "unknown"


def read_service_tier(payload: Mapping[str, Any]) -> str | None:
    """The service tier that an answer says it was given at; None for the standard one."""
    usage = payload.get("usage")
    inner = usage.get("service_tier") if isinstance(usage, Mapping) else None
    return standard_tier(inner or payload.get("service_tier"))


def standard_tier(name: Any) -> str | None:
    """A service tier's name as prices call it; None for the standard tier."""
    if not isinstance(name, str) or name.lower() in _STANDARD_TIERS:
        return None
    return name.lower()


class UsageReader:
    """Reads the usage that the events of a streamed answer tell.

    Each event's counters replace those told before: vendors repeat them as they grow, and tell
    some at the beginning, some at the end.
    """

    def __init__(self) -> None:
        self._payload: dict[str, Any] = {}
        self._shrunk: str | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Note what `event`, a decoded one of any vendor's, tells about usage."""
        kind = event.get("type")
        for name in _ENVELOPES:
            inner = event.get(name)
            if isinstance(kind, str) and isinstance(inner, Mapping):
                event = inner
        if isinstance(event.get("output"), list):
            self._payload["output"] = event["output"]
        for name in ("model", "service_tier"):
            if isinstance(event.get(name), str):
                self._payload[name] = event[name]
        if isinstance(event.get("timings"), Mapping):
            self._payload["timings"] = event["timings"]
        usage = event.get("usage")
        if usage is None:
            return
        if not isinstance(usage, Mapping):
            self._payload["usage"] = usage
            return
        if kind == "message_start":  # the output is not yet known, whatever it says
            usage = {name: count for name, count in usage.items() if name != "output_tokens"}
        old = self._payload.get("usage")
        if isinstance(old, dict):
            if kind == "message_delta":
                self._compare(old, usage)
            old.pop("total_tokens", None)
            _merge(old, usage)
        else:
            self._payload["usage"] = _merge({}, usage)

    def read(self) -> tuple[Usage | None, Basis]:
        """The counts told so far; UsageError as `read_usage`."""
        if self._shrunk:
            raise UsageError(self._shrunk)
        return read_usage({"usage": None, **self._payload})

    @property
    def calls(self) -> dict[str, int]:
        """The calls told so far that are billed each; UsageError as `read_calls`."""
        return read_calls({"usage": None, **self._payload})

    @property
    def service_tier(self) -> str | None:
        """As told; None for the standard tier."""
        return read_service_tier(self._payload)

    def _compare(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Note a counter of the prompt that has become smaller in the course of the answer."""
        for name, count in new.items():
            before = old.get(name)
            if "input" not in name or not isinstance(count, int) or not isinstance(before, int):
                continue
            if count < before:
                self._shrunk = f"counter {name!r} fell from {before} to {count} in the stream"


class _View:
    """The objects of a payload that hold counters, by their paths."""

    def __init__(self, objects: dict[Parent, Mapping[str, Any]]) -> None:
        self._objects = objects
        self.keys = set[str]().union(*objects.values())

    def has_any(self, paths: tuple[Path, ...]) -> bool:
        return any(name in self.at(parent) for parent, name in paths)

    def at(self, path: Parent) -> Mapping[str, Any]:
        """The object at `path`; an empty one if there is none."""
        found = self._objects.get(path)
        if found is None:
            inner = self.at(path[:-1]).get(path[-1])
            found = self._objects[path] = inner if isinstance(inner, Mapping) else {}
        return found


class _Reading:
    """One reading of one payload by one shape."""

    def __init__(self, view: _View) -> None:
        self._view = view
        self._leaves = dict.fromkeys(LEAVES, 0)
        self._basis: Basis = "exact"

    def read(self, shape: Shape) -> tuple[Usage, Basis] | None:
        asked, told = self._whole(shape.input), self._whole(shape.output)
        total = self._told(shape.total)
        if total is not None:
            if told is None and asked is not None:
                told = _rest(total, asked)
            elif asked is None and told is not None:
                asked = _rest(total, told)
        if asked is None or told is None:
            return None
        if total is not None and total != asked + told:
            told += self._beside(shape, asked, told, total)
        self._split(shape.input, asked)
        self._split(shape.output, told - self._leaves["reasoning"])
        return Usage(**self._leaves), self._basis

    def _beside(self, shape: Shape, asked: int, told: int, total: int) -> int:
        """The reasoning that the total counts and the output does not."""
        extra = total - asked - told
        reasoning = next((p for p in shape.output.parts if p.leaf == "reasoning"), None)
        counted = self._whole(reasoning) if reasoning else None
        if extra > 0 and counted is None and shape.reasoning_untold:
            self._leaves["reasoning"] = extra
        elif extra <= 0 or counted != extra:
            raise UsageError(
                f"{asked} input and {told} output tokens do not add up to {total} in all"
            )
        return extra

    def _whole(self, counter: Counter) -> int | None:
        """The count of all tokens of `counter`; None if it is not told."""
        told = self._told(counter.paths) if counter.paths else None
        if not counter.adds:
            return told
        counts = [self._whole(part) for part in counter.parts]
        known = [count for count in counts if count is not None]
        if told is not None:
            if len(known) == len(counts) and sum(known) != told:
                raise UsageError(f"parts of {known} tokens do not add up to {told}")
            return told
        if not known:
            return None
        for count, part in zip(counts, counter.parts, strict=True):
            if count is None and part.required:
                return None
        return sum(known)

    def _split(self, counter: Counter, whole: int) -> None:
        """Put the `whole` tokens of `counter` into leaves."""
        rest = whole
        for part in counter.parts:
            count = None if part.keys.isdisjoint(self._view.keys) else self._whole(part)
            if not count:
                continue
            cached = self._told(part.cached) if part.cached else None
            if cached:
                _rest(whole - rest, cached)
                count = _rest(count, cached)
                self._basis = "estimated"  # there is no leaf, hence no price, of their own
            if cached is None and part.overlaps and rest < count <= whole:
                if rest:
                    self._basis = "estimated"  # how many of them are cached is not told
                count = rest
            if count > rest:
                raise UsageError(
                    f"{count} {part.leaf} tokens do not fit into the {rest} of {whole} "
                    f"{counter.leaf} tokens that are nothing else"
                )
            rest -= count
            if part.parts:
                self._split(part, count)
            else:
                self._leaves[part.leaf] += count
        self._leaves[counter.leaf] += rest

    def _told(self, paths: tuple[Path, ...]) -> int | None:
        """The count told at any of `paths`."""
        found: int | None = None
        for parent, name in paths:
            count = self._view.at(parent).get(name)
            if count is None:
                continue
            if type(count) is not int or count < 0:
                raise UsageError(f"usage counter {name!r} is not a number of tokens: {count!r}")
            if found is not None and found != count:
                raise UsageError(f"usage tells {name!r} twice, and they differ: {found}, {count}")
            found = count
        return found


def _rest(total: int, part: int) -> int:
    if part > total:
        raise UsageError(f"a part of {part} tokens does not fit into {total} in all")
    return total - part


def _merge(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with what `new` tells; null tells nothing."""
    for name, value in new.items():
        if isinstance(value, Mapping):
            inner = old.get(name)
            old[name] = _merge(inner if isinstance(inner, dict) else {}, value)
        elif value is not None or name not in old:
            old[name] = value
    return old
