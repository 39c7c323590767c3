"""What may stand in the configuration file about the gateway, its ledger and its plans."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file, whose keys are its fields."""


class GatewayConfig(Section, frozen=True, kw_only=True):
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


class LedgerConfig(Section, frozen=True, kw_only=True):
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


class PlansConfig(Section, frozen=True, kw_only=True):
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


class PlanConfig(Section, frozen=True, kw_only=True):
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
