"""Looking over a configuration and all that it names, before or while it is served."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from farthing.core.errors import FarthingError, LedgerError
from farthing.core.protocols import Model
from farthing.gateway.build import build_models, build_plans, build_prices, build_service
from farthing.gateway.config import Config, load
from farthing.gateway.ledger_address import ledger_address
from farthing.gateway.ledger_options import ledger_options
from farthing.gateway.model_sections import HttpConfig, RecordedConfig, ReplicaConfig
from farthing.gateway.server import without_otel
from farthing.gateway.service import ServedPlan
from farthing.gateway.tls import tls_context
from farthing.ledger.address import Address
from farthing.ledger.engines import cause, open_to_write
from farthing.ledger.schema import meta
from farthing.ledger.upgrade import schema_state

Level = Literal["ok", "warning", "error"]
PATIENCE_S = 10.0
_VERSION = "2023-06-01"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about a thing; `message` says what to do where anything is."""

    level: Level
    what: str
    message: str


@dataclass(slots=True)
class _Found:
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: Level, what: str, message: str) -> None:
        self.findings.append(Finding(level, what, message))

    @contextmanager
    def looking(self, what: str) -> Iterator[None]:
        """Notes an error of what is done within."""
        try:
            yield
        except FarthingError as error:
            self.add("error", what, str(error))


def check(path: Path, *, plans: Sequence[Path] = (), offline: bool = False) -> list[Finding]:
    """Findings about the configuration in `path`; nothing is changed, and no call costs money.

    Args:
        plans: plan files besides those of the configuration.
        offline: ask no upstream.
    """
    found = _Found()
    with found.looking("configuration"):
        config = load(path, plans=plans)
        found.add("ok", "configuration", str(path))
        _variables(found, config)
        models = _models(found, config)
        _plans(found, config, models)
        _prices(found, config, models)
        _rest(found, config)
        _ledger(found, config)
        if not offline:
            asyncio.run(_upstreams(found, config))
    return found.findings


def _variables(found: _Found, config: Config) -> None:
    """That the environment has what the configuration names."""
    gateway = config.gateway
    named = [
        (gateway.token_env, ("gateway", "token_env")),
        (gateway.budget_webhook_env, ("gateway", "budget_webhook_env")),
        (config.ledger.url_env, ("ledger", "url_env")),
    ]
    for name, model in config.models.items():
        if isinstance(model, HttpConfig):
            for number, upstream in enumerate(model.upstreams):
                place = ("replicas", f"[{number}]") if model.replicas else ()
                named.append((upstream.key_env, ("models", name, *place, "key_env")))
    told: set[str] = set()
    for variable, key in named:
        if variable is None or variable in told:
            continue
        told.add(variable)
        if os.environ.get(variable, "").strip():
            found.add("ok", f"variable {variable}", "is set")
        else:
            with found.looking(f"variable {variable}"):
                raise config.error(f"environment variable {variable} is not set", *key)


def _models(found: _Found, config: Config) -> dict[str, Model]:
    """The models that can be made."""
    made: dict[str, Model] = {}
    for name, settings in config.models.items():
        with found.looking(f"model {name}"):
            alone = msgspec.structs.replace(config, models={name: settings})
            made |= build_models(alone)
            found.add("ok", f"model {name}", f"kind {settings.kind}")
    return made


def _plans(found: _Found, config: Config, models: dict[str, Model]) -> None:
    if len(models) < len(config.models):
        if config.plan_files or config.plans:
            found.add("warning", "plans", "are not looked at until all models can be made")
        return
    none = msgspec.structs.replace(config, plan_files=(), plans={})
    each: list[tuple[str, dict[str, Any]]] = [
        (str(file), {"plan_files": (file,)}) for file in config.plan_files
    ]
    each += [(name, {"plans": {name: table}}) for name, table in config.plans.items()]
    for name, alone in each:
        with found.looking(f"plan {name}"):
            (plan,) = build_plans(msgspec.structs.replace(none, **alone), models).values()
            found.add("ok", f"plan {plan.name}", f"asks {', '.join(plan.models)}")
            _certificate(found, config, plan)


def _certificate(found: _Found, config: Config, plan: ServedPlan) -> None:
    """What the ledger knows of the plan's promise; one that cannot be read is told elsewhere."""
    watched = plan.watched
    if watched is None:
        return
    from farthing.ledger.watches import read_watches

    try:
        watches = read_watches(ledger_address(config)[0])
    except FarthingError:
        return
    for watch in watches:
        if (watch.plan, watch.digest) != (watched.plan, watched.digest):
            continue
        for told, since in (
            ("does not hold", watch.alarm_at),
            ("may not hold, costs are not as they were recorded", watch.drift_at),
        ):
            if since is not None:
                found.add(
                    "warning",
                    f"certificate of {plan.name}",
                    f"{told}, since {since}; make the plan anew from what its models answer now: "
                    f"{watch.advice}",
                )
        if watch.alarm_at is None and watch.drift_at is None:
            found.add("ok", f"certificate of {plan.name}", f"holds, e-value {watch.e_value:.3g}")


def _prices(found: _Found, config: Config, models: dict[str, Model]) -> None:
    with found.looking("prices"):
        book = build_prices(config)
        for name, model in models.items():
            if isinstance(config.models[name], RecordedConfig):
                continue
            price = book.price(model.card)
            if price is not None:
                found.add("ok", f"price of {name}", price.source)
                continue
            found.add(
                "warning",
                f"price of {name}",
                "is not known: what it costs is booked as unknown, and budgets charge what they "
                f"reserved; state price in [models.{name}]",
            )


def _rest(found: _Found, config: Config) -> None:
    """What only shows when the whole is put together."""
    before = {finding.message for finding in found.findings}
    try:
        build_service(config)
        tls_context(config)
        ledger_options(config)
        if config.gateway.traces and not _has_otel():
            raise without_otel(config)
    except FarthingError as error:
        if str(error) not in before:
            found.add("error", "configuration", str(error))


def _has_otel() -> bool:
    try:
        import_module("farthing.gateway.traces")
        import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError:
        return False
    return True


def _ledger(found: _Found, config: Config) -> None:
    with found.looking("ledger"):
        address, _ = ledger_address(config)
        if address.path is not None and not address.path.exists():
            folder = address.path.parent
            if folder.is_dir() and os.access(folder, os.W_OK):
                found.add("ok", "ledger", f"{address} is made when the gateway starts")
            else:
                found.add("error", "ledger", f"{folder} is no folder that can be written to")
            return
        state = schema_state(address)
        _try_to_write(address)
        found.add("ok", "ledger", f"{address} has schema {state.version} and can be written")


def _try_to_write(address: Address) -> None:
    """Write a row and take it back; LedgerError if that cannot be done."""
    engine = open_to_write(address, create=False)
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            connection.execute(insert(meta), {"key": "checked", "value": "never kept"})
            transaction.rollback()
    except SQLAlchemyError as error:
        raise LedgerError(f"cannot write to the ledger {address}: {cause(error)}") from None
    finally:
        engine.dispose()


async def _upstreams(found: _Found, config: Config) -> None:
    """Ask each upstream which models it has: that costs nothing, and needs the key."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        asked = [
            _upstream(http, name, settings, upstream)
            for name, settings in config.models.items()
            if isinstance(settings, HttpConfig)
            for upstream in settings.upstreams
        ]
        found.findings += await asyncio.gather(*asked)


async def _upstream(
    http: aiohttp.ClientSession, name: str, settings: HttpConfig, upstream: ReplicaConfig
) -> Finding:
    what = f"upstream {upstream.base_url} of {name}"
    url = f"{(upstream.base_url or '').rstrip('/')}/models"
    key = os.environ.get(upstream.key_env or "", "").strip()
    headers = {"User-Agent": "farthing", **(upstream.headers or {})}
    if settings.api == "anthropic":
        headers |= {"anthropic-version": _VERSION} | ({"x-api-key": key} if key else {})
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        async with http.get(url, headers=headers, allow_redirects=False) as answer:
            status, body = answer.status, await answer.content.read(2**22)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        text = "did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        return Finding(
            "error", what, f"cannot be reached ({text}); check base_url and the upstream"
        )
    wanted = upstream.model or name
    match status:
        case 200:
            has = _names(body)
            if has is None or wanted in has:
                return Finding("ok", what, "answers" + (f" and has {wanted}" if has else ""))
            return Finding("warning", what, f"does not list {wanted}; check the model's name")
        case 401 | 403:
            where = f"the key in {upstream.key_env}" if upstream.key_env else "key_env, not set"
            return Finding("error", what, f"does not let us in (status {status}); check {where}")
        case 404 | 405:
            return Finding(
                "warning", what, "answers, but has no list of models to check the key by"
            )
    return Finding("warning", what, f"answers with status {status}; try again, or ask its operator")


def _names(body: bytes) -> set[str] | None:
    """The models in an upstream's list; None if it is not to be understood."""
    try:
        listed = msgspec.json.decode(body)["data"]
        return {entry["id"] for entry in listed} or None
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
