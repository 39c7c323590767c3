"""The configuration file: read, checked, and every mistake told with its line."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from farthing.core.errors import ConfigError
from farthing.gateway._toml import key_lines
from farthing.gateway.model_sections import (
    KINDS,
    BreakerConfig,
    ModelConfig,
    PriceConfig,
    PriceEntry,
    ReplicaConfig,
)
from farthing.gateway.sections import (
    GatewayConfig,
    LedgerConfig,
    OnAlarm,
    PlanConfig,
    PlansConfig,
    Section,
    Stickiness,
)

NAME = re.compile(r"[A-Za-z0-9][\w.:/@#+-]{0,127}", re.ASCII)
_SECTIONS = ("gateway", "ledger", "models", "plans")
_PATH_IN_ERROR = re.compile(r"^(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_FIELD_IN_ERROR = re.compile(r"unknown field `(?P<field>[^`]*)`")


SectionType = TypeVar("SectionType", bound=Section)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration.

    Attributes:
        path: the file, as the user named it.
        plan_files: plans to serve, as paths that hold from the working directory.
        plans: plans that have a table instead of a file, by name.
        sticky: whether sessions stay with the stronger model, where a plan does not say.
        on_alarm, alarm_level: as in `PlansConfig`.
        lines: where the keys stand in the file.
    """

    path: str
    gateway: GatewayConfig
    ledger: LedgerConfig
    models: Mapping[str, ModelConfig]
    plan_files: tuple[Path, ...]
    plans: Mapping[str, PlanConfig] = {}
    sticky: Stickiness = "escalate"
    on_alarm: OnAlarm = "widen"
    alarm_level: float = 0.01
    lines: Mapping[tuple[str, ...], int] = {}

    def error(self, message: str, *key: str) -> ConfigError:
        """A ConfigError that names the file, the key and the key's line.

        An element of an array is named by its index, "[0]" for the first.
        """
        return _error(self.path, self.lines, message, key)

    def file(self, path: str) -> Path:
        """A path of the file, which is relative to the file's folder."""
        return Path(self.path).parent / Path(path).expanduser()


def load(
    path: str | Path,
    *,
    host: str | None = None,
    port: int | None = None,
    plans: Sequence[str | Path] = (),
) -> Config:
    """The configuration in `path`; `host`, `port` and `plans` come from the command line.

    Raises ConfigError, with file, key and line, for whatever is wrong with it.
    """
    name = str(path)
    try:
        text = Path(path).read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            "there is no such file; `farthing init` writes one to start from", path=name
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"the file cannot be read: {reason}", path=name) from error
    try:
        tables = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(name, text, error) from error
    return _build(name, tables, key_lines(text), host, port, plans)


def _build(
    path: str,
    tables: dict[str, Any],
    lines: Mapping[tuple[str, ...], int],
    host: str | None,
    port: int | None,
    plans: Sequence[str | Path],
) -> Config:
    for section in tables:
        if section not in _SECTIONS:
            raise _error(
                path, lines, f"unknown section{_did_you_mean(section, _SECTIONS)}", [section]
            )
    gateway = _section(path, lines, tables, GatewayConfig, "gateway")
    changes = {"host": host, "port": port}
    gateway = msgspec.structs.replace(
        gateway, **{key: value for key, value in changes.items() if value is not None}
    )
    told = tables.get("plans", {})
    named = {
        name: _plan(path, lines, name, table)
        for name, table in (told.items() if isinstance(told, dict) else ())
        if isinstance(table, dict) and name not in PlansConfig.__struct_fields__
    }
    if named:
        told = {key: value for key, value in told.items() if key not in named}
    plan_settings = _section(path, lines, {"plans": told}, PlansConfig, "plans")
    models = tables.get("models")
    if not isinstance(models, dict) or not models:
        raise _error(path, lines, "no model is configured; add a table [models.NAME]", ["models"])
    config = Config(
        path=path,
        gateway=gateway,
        ledger=_section(path, lines, tables, LedgerConfig, "ledger"),
        models={name: _model(path, lines, models, name) for name in models},
        plan_files=(),
        plans=named,
        sticky=plan_settings.sticky,
        on_alarm=plan_settings.on_alarm,
        alarm_level=plan_settings.alarm_level,
        lines=lines,
    )
    asks = gateway.token_env or gateway.keys
    if not (asks or gateway.allow_open or _is_loopback(gateway.host)):
        raise config.error(
            f"{gateway.host} can be reached from other machines, and nothing asks them for a "
            "token or key: set token_env or keys, or allow_open = true if that is meant",
            "gateway",
            "host",
        )
    found = (*(config.file(file) for file in plan_settings.files), *(Path(plan) for plan in plans))
    return msgspec.structs.replace(config, plan_files=tuple(dict.fromkeys(found)))


def _model(
    path: str, lines: Mapping[tuple[str, ...], int], models: dict[str, Any], name: str
) -> ModelConfig:
    key = ("models", name)
    table = models[name]
    if not NAME.fullmatch(name):
        raise _error(
            path, lines, "a model's name is made of letters, digits and . _ : / @ # + -", key
        )
    if not isinstance(table, dict):
        raise _error(path, lines, f"expected a table [models.{name}]", key)
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        known = ", ".join(f'"{known}"' for known in KINDS)
        hint = _did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        where = (*key, "kind") if "kind" in table else key
        raise _error(path, lines, f"kind must be one of {known}{hint}", where)
    return _section(path, lines, models, KINDS[kind], *key)


def _plan(
    path: str, lines: Mapping[tuple[str, ...], int], name: str, table: dict[str, Any]
) -> PlanConfig:
    key = ("plans", name)
    if not NAME.fullmatch(name):
        message = "a plan's name is made of letters, digits and . _ : / @ # + -"
        raise _error(path, lines, message, key)
    own = {k: v for k, v in table.items() if k in ("kind", "answer", "sticky")}
    plan = _section(path, lines, {name: own}, PlanConfig, *key)
    params = {k: _floats(v) for k, v in table.items() if k not in own}
    return msgspec.structs.replace(plan, params=params)


def _floats(value: Any) -> Any:
    """`value` with floats for the decimals that it is made of."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_floats(item) for item in value]
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    return value


def _section(
    path: str,
    lines: Mapping[tuple[str, ...], int],
    tables: Mapping[str, Any],
    kind: type[SectionType],
    *key: str,
) -> SectionType:
    try:
        return msgspec.convert(tables.get(key[-1], {}), kind)
    except msgspec.ValidationError as error:
        parts = _PATH_IN_ERROR.match(str(error))
        assert parts is not None
        place = re.findall(r"[^.\[\]]+|\[\d+\]", parts["path"] or "")
        inner = [part for part in place if not part.startswith("[")]
        text = parts["text"].replace("`", "")
        unknown = _FIELD_IN_ERROR.search(str(error))
        if unknown:
            owners: dict[str, Any] = {
                "price": PriceConfig,
                "prices": PriceEntry,
                "breaker": BreakerConfig,
                "replicas": ReplicaConfig,
            }
            owner = owners.get(inner[0], kind) if len(inner) == 1 else kind
            field = unknown["field"]
            place.append(field)
            text = f"unknown key{_did_you_mean(field, owner.__struct_encode_fields__)}"
        text = text.replace("Object missing required field", "missing key")
        text = text[:1].lower() + text[1:]
        if place[:1] in (["prices"], ["replicas"]) and len(place) > 1:
            text = f"entry {int(place[1].strip('[]')) + 1}: {text}"
        raise _error(path, lines, text, [*key, *place]) from error


def _error(
    path: str, lines: Mapping[tuple[str, ...], int], message: str, key: Sequence[str]
) -> ConfigError:
    line = next(
        (lines[tuple(key[:n])] for n in range(len(key), 0, -1) if tuple(key[:n]) in lines), None
    )
    shown = ".".join(part for part in key if not part.startswith("["))
    return ConfigError(message, path=path, key=shown, line=line)


def _syntax_error(path: str, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    told = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
    message = str(error)[: told.start()] if told else str(error)
    line = int(told[1]) if told and told[1] else len(text.splitlines())
    column = f" in column {told[2]}" if told and told[2] else ", at the end of the file"
    return ConfigError(f"this is not TOML: {message}{column}", path=path, line=line)


def _did_you_mean(word: str, known: Sequence[str] | Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
