"""The configuration file: read, checked, and every mistake told with its line."""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from farthing.core.errors import ConfigError
from farthing.cost.calls import PRICED as PRICED_CALLS
from farthing.gateway._toml import key_lines

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Name = Annotated[str, msgspec.Meta(min_length=1)]

NAME = re.compile(r"[A-Za-z0-9][\w.:/@#+-]{0,127}", re.ASCII)
_SECTIONS = ("gateway", "ledger", "models", "plans")
_PATH_IN_ERROR = re.compile(r"^(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_FIELD_IN_ERROR = re.compile(r"unknown field `(?P<field>[^`]*)`")


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class GatewayConfig(_Section, frozen=True, kw_only=True):
    """How requests come in.

    Attributes:
        host: address to listen on.
        port: 0 takes any free one.
        token_env: environment variable with the token that clients must send.
        keys: whether clients must send a key made by `farthing keys create`.
        allow_open: whether other machines may come in without a token or key.
        answer: how final answers are read from texts for the ledger.
        max_body_mb: largest request, in megabytes of 1,048,576 bytes.
        request_timeout_s: seconds for a request in all.
        keepalive_s: seconds between signs of life while a plan decides.
        shutdown_s: seconds that requests in flight are given on shutdown.
        store_prompts: whether prompts and answers go into the ledger.
        budget_webhook_env: environment variable with the address that is told of soft budgets
            that are exceeded.
        max_connections: of clients, in each worker.
        read_timeout_s: seconds for a request's head, and between two pieces of its body.
        write_timeout_s: seconds within which a client must take something of its answer.
        tls_cert, tls_key: files in PEM format, for HTTPS.
        metrics_open: whether `/metrics` is for everybody.
        traces: whether spans are sent to OpenTelemetry.
        log: whether every operation is logged, and in which form.
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8080
    token_env: Name | None = None
    keys: bool = False
    allow_open: bool = False
    answer: Name = "text"
    max_body_mb: Annotated[float, msgspec.Meta(gt=0, le=4096)] = 20
    request_timeout_s: Seconds = 600
    keepalive_s: Seconds = 3
    shutdown_s: Seconds = 30
    store_prompts: bool = True
    budget_webhook_env: Name | None = None
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    read_timeout_s: Seconds = 30
    write_timeout_s: Seconds = 60
    tls_cert: Name | None = None
    tls_key: Name | None = None
    metrics_open: bool = False
    traces: bool = False
    log: Literal["text", "json", "off"] = "off"


class LedgerConfig(_Section, frozen=True, kw_only=True):
    """Where it is booked: one of a file's path, a database's URL and a variable that holds one.

    Attributes:
        path: of an SQLite file, "farthing.db" if nothing is named.
        url: of a PostgreSQL database, without a password.
        url_env: the environment variable that holds such a URL, with or without a password.
        sync: "relaxed" finishes answers before they are booked on disk.
        on_ledger_failure: whether requests are refused while the ledger cannot be written, or
            booked in the journal `spool`.
        keep, keep_texts: days after which operations, or only their texts, are removed, such as
            "400d"; None is never.
    """

    path: Name | None = None
    url: Name | None = None
    url_env: Name | None = None
    sync: Literal["full", "relaxed"] = "full"
    on_ledger_failure: Literal["refuse", "spool"] = "refuse"
    spool: Name = "farthing.spool"
    keep: Name | None = None
    keep_texts: Name | None = None


Stickiness = Literal["escalate", "off"]
OnAlarm = Literal["widen", "warn"]
Level = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class PlansConfig(_Section, frozen=True, kw_only=True):
    """Which plans are served, beside those that have a table of their own.

    Attributes:
        sticky: whether sessions go on with the stronger model that they came to.
        on_alarm: what becomes of a plan whose certificate is found not to hold: it is answered
            by its strongest model, or goes on.
        alarm_level: the chance of a false alarm over a plan file's whole life.
    """

    files: tuple[Name, ...] = ()
    sticky: Stickiness = "escalate"
    on_alarm: OnAlarm = "widen"
    alarm_level: Level = 0.01


class PlanConfig(_Section, frozen=True, kw_only=True):
    """A plan without a file: a policy, which promises nothing.

    Attributes:
        answer: how final answers are read from texts.
        sticky: as that of all plans, for this one.
        params: the policy's own keys.
    """

    kind: str
    answer: Name = "text"
    sticky: Stickiness | None = None
    params: dict[str, Any] = {}


class PriceConfig(_Section, frozen=True, kw_only=True):
    """A price: USD per million tokens, per call (`request`), or per second of the call.

    `web_search` and `file_search` are USD for each that the model makes within an answer.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    output_audio: Decimal | None = None
    input_image: Decimal | None = None
    request: Decimal | None = None
    per_second: Decimal | None = None
    web_search: Decimal | None = None
    file_search: Decimal | None = None

    def __post_init__(self) -> None:
        tokens = [name for name in TOKEN_PRICES if getattr(self, name) is not None]
        if tokens or self.per_second is None:
            for name in ("input", "output"):
                if getattr(self, name) is None:
                    raise ValueError(f"missing key {name}")


class PriceEntry(PriceConfig, frozen=True, kw_only=True):
    """One of a model's prices, and when it holds.

    Attributes:
        since: first day, in UTC; `from` in the file.
        above: it holds for requests with more input tokens than this.
        service_tier: the service tier that it is for.
    """

    since: date | None = msgspec.field(name="from", default=None)
    above: Annotated[int, msgspec.Meta(ge=0)] = 0
    service_tier: Name | None = None

    def __post_init__(self) -> None:
        PriceConfig.__post_init__(self)
        if self.above and self.per_second is not None:
            raise ValueError("seconds have no price above a number of tokens")
        for name in PRICED_CALLS:
            if self.above and getattr(self, name) is not None:
                raise ValueError(f"{name} has no price above a number of tokens")


TOKEN_PRICES = tuple(
    name
    for name in PriceConfig.__struct_fields__
    if name not in ("request", "per_second", *PRICED_CALLS)
)


class TinyConfig(_Section, frozen=True, kw_only=True):
    """One of the models in the package."""

    kind: str
    size: Literal["small", "mid", "large"]


class RecordedConfig(_Section, frozen=True, kw_only=True):
    """Answers from a recording; `model` is the recording's name for the model."""

    kind: str
    path: Name
    model: Name
    samples: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seed: int = 0


class BreakerConfig(_Section, frozen=True, kw_only=True):
    """When an upstream is left alone; see `farthing.models.breaker.BreakerRule`."""

    failures: Annotated[int, msgspec.Meta(ge=0)] = 5
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    calls: Annotated[int, msgspec.Meta(ge=1)] = 20
    window_s: Seconds = 30
    pause_s: Seconds = 10


class ReplicaConfig(_Section, frozen=True, kw_only=True):
    """One of a model's upstreams; what it leaves out is as the model says."""

    base_url: Name | None = None
    model: Name | None = None
    key_env: Name | None = None
    headers: dict[str, str] | None = None
    label: Name | None = None


class HttpConfig(_Section, frozen=True, kw_only=True):
    """An upstream, or several `replicas` at one price.

    See `farthing.models.http.HttpModel` and `farthing.models.replicas.Upstreams`.
    """

    kind: str
    api: Literal["openai", "anthropic"] = "openai"
    base_url: Name | None = None
    model: Name | None = None
    key_env: Name | None = None
    headers: dict[str, str] = {}
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4096
    timeout_s: Seconds = 120
    connect_timeout_s: Seconds = 10
    n: bool = True
    stream_usage: bool = True
    env_proxy: bool = False
    on_disconnect: Literal["drain", "cancel"] = "drain"
    drain_timeout_s: Seconds = 300
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 2
    retry_after_max_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 20
    total_timeout_s: Seconds | None = None
    affinity: Annotated[float, msgspec.Meta(ge=0)] = 2
    breaker: BreakerConfig = BreakerConfig()
    replicas: tuple[ReplicaConfig, ...] = ()
    price: PriceConfig | None = None
    prices: tuple[PriceEntry, ...] = ()

    def __post_init__(self) -> None:
        if self.price is not None and self.prices:
            raise ValueError("state either price or prices")
        if self.base_url is None:
            if not self.replicas:
                raise ValueError("missing key base_url")
            for number, replica in enumerate(self.replicas):
                if replica.base_url is None:
                    raise ValueError(f"entry {number + 1} of replicas: missing key base_url")

    @property
    def upstreams(self) -> tuple[ReplicaConfig, ...]:
        """Its replicas, with what the model says for all of them; at least one."""
        return tuple(
            ReplicaConfig(
                base_url=replica.base_url or self.base_url,
                model=replica.model or self.model,
                key_env=replica.key_env or self.key_env,
                headers=self.headers if replica.headers is None else replica.headers,
                label=replica.label,
            )
            for replica in self.replicas or (ReplicaConfig(),)
        )


class LlamaConfig(_Section, frozen=True, kw_only=True):
    """A GGUF file in this process; see `farthing.models.llama.LlamaModel`."""

    kind: str
    path: Name
    context: Annotated[int, msgspec.Meta(ge=16, le=10_000_000)] = 4096
    slots: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2
    threads: Annotated[int, msgspec.Meta(ge=1, le=512)] | None = None
    draft: Name | None = None
    system: Name | None = None
    price: PriceConfig | None = None
    prices: tuple[PriceEntry, ...] = ()

    def __post_init__(self) -> None:
        if self.price is not None and self.prices:
            raise ValueError("state either price or prices")


ModelConfig = TinyConfig | RecordedConfig | HttpConfig | LlamaConfig
KINDS: dict[str, type[ModelConfig]] = {
    "tiny": TinyConfig,
    "http": HttpConfig,
    "recorded": RecordedConfig,
    "llama": LlamaConfig,
}
SectionType = TypeVar("SectionType", bound=_Section)


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
