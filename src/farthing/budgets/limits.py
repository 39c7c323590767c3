"""What limits there are: budgets of money, and rates of requests and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from farthing.budgets.windows import Window
from farthing.core.errors import ConfigError, MoneyError
from farthing.core.money import Cost

Mode = Literal["quantile", "worst-case"]
SCOPE = re.compile(r"all|(?:key|user|team|model|plan):[^\s=][^\s]*|tag:[^\s=]+=[^\s]+")
SCOPE_HELP = "all, key:NAME, user:NAME, team:NAME, model:NAME, plan:NAME or tag:KEY=VALUE"
KEYS = ("scope", "limit", "window", "zone", "alpha", "mode", "soft", "per_operation")


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on cost for a scope and a window.

    Attributes:
        name: by which refusals and reports call it.
        scope: whose requests count: "all", "key:alice", "tag:team=search", "model:NAME", ...
        limit: the most that the window's operations may cost together.
        window: over what time it counts.
        alpha: the share of operations that may cost more than was reserved for them; also the
            chance, at each admission, that what is in flight costs more than was held for it.
        mode: "quantile" reserves what an operation costs at most with probability 1 - alpha,
            "worst-case" all it could cost.
        soft: only warn, never refuse.
        per_operation: the most that one operation may cost; None for no such cap.
    """

    name: str
    limit: Cost
    scope: str = "all"
    window: Window = field(default_factory=Window)
    alpha: float = 0.05
    mode: Mode = "quantile"
    soft: bool = False
    per_operation: Cost | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_scope(self.scope)
        if self.limit.pico < 0:
            raise ValueError(f"limit is {self.limit}: want an amount that is not negative")
        if not 0.0001 <= self.alpha <= 0.5:
            raise ValueError(f"alpha is {self.alpha}: want a number from 0.0001 to 0.5")
        if self.mode not in ("quantile", "worst-case"):
            raise ValueError(f'mode is {self.mode!r}: want "quantile" or "worst-case"')
        if self.per_operation is not None and self.per_operation.pico <= 0:
            raise ValueError(f"per_operation is {self.per_operation}: want an amount above 0")

    @classmethod
    def parse(cls, name: str, table: Mapping[str, Any], *, path: str = "") -> Budget:
        """From a table of the configuration, such as one read from TOML.

        `limit` (required) and `per_operation` are USD as strings or whole numbers, `window` is as
        `Window.parse` takes it. Raises ConfigError naming the key that is wrong.
        """

        def wrong(key: str, message: str) -> ConfigError:
            return ConfigError(message, path=path, key=f"budgets.{name}.{key}")

        for key in table:
            if key not in KEYS:
                raise wrong(str(key), f"unknown key; want one of {', '.join(KEYS)}")
        if "limit" not in table:
            raise wrong("limit", 'missing; want an amount in USD, such as limit = "25"')
        values: dict[str, Any] = {}
        for key in ("limit", "per_operation"):
            if key in table:
                try:
                    values[key] = _usd(table[key])
                except (MoneyError, ValueError) as error:
                    raise wrong(key, str(error)) from error
        for key, kind, what in (
            ("scope", str, "a string"),
            ("window", str, "a string"),
            ("zone", str, "a string"),
            ("alpha", (int, float), "a number"),
            ("mode", str, "a string"),
            ("soft", bool, "true or false"),
        ):
            if key in table:
                value = table[key]
                if not isinstance(value, kind) or (key == "alpha" and isinstance(value, bool)):
                    raise wrong(key, f"{value!r}: want {what}")
                values[key] = value
        zone = values.pop("zone", "UTC")
        try:
            values["window"] = Window.parse(values.get("window", "total"), zone)
        except ValueError as error:
            raise wrong("zone" if "time zone" in str(error) else "window", str(error)) from error
        try:
            return cls(name, **values)
        except ValueError as error:
            key = str(error).split()[0]
            raise wrong(key if key in KEYS else "name", str(error)) from error


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit on requests or tokens in any 60 seconds, for a scope.

    Requests count when they are admitted. Tokens count when they are admitted as many as may come
    (see `Ask.tokens`), which settlement corrects to what came.
    """

    name: str
    scope: str = "all"
    requests: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_scope(self.scope)
        if (self.requests is None) == (self.tokens is None):
            raise ValueError(f"rate limit {self.name!r}: want either requests or tokens")
        if self.most < 0:
            raise ValueError(f"rate limit {self.name!r}: want a number that is not negative")

    @property
    def unit(self) -> str:
        """The limit in words."""
        return f"{self.most} {'tokens' if self.requests is None else 'requests'} a minute"

    @property
    def most(self) -> int:
        """How many there may be in 60 seconds."""
        return self.requests if self.requests is not None else self.tokens or 0


def check_name(name: str) -> None:
    """Raise ValueError unless `name` fits a header, a metric and a TOML key."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise ValueError(f"name {name!r}: want up to 64 letters, digits, dots, dashes, underscores")


def check_scope(scope: str) -> None:
    """Raise ValueError unless `scope` is one."""
    if not SCOPE.fullmatch(scope):
        raise ValueError(f"scope {scope!r}: want {SCOPE_HELP}")


def scopes(
    *,
    key: str | None = None,
    user: str | None = None,
    team: str | None = None,
    models: Iterable[str] = (),
    plan: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> frozenset[str]:
    """The scopes that a request falls under; `models` are those that it can call."""
    named = {"key": key, "user": user, "team": team, "plan": plan}
    found = {f"{kind}:{name}" for kind, name in named.items() if name is not None}
    found |= {f"model:{name}" for name in models}
    return frozenset({"all", *found, *(f"tag:{k}={v}" for k, v in (tags or {}).items())})


def _usd(value: object) -> Cost:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(f'{value!r}: want an amount in USD as a string, such as "0.25"')
    return Cost.from_usd(value)
