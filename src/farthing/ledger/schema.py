"""The ledger's tables.

Times are text in UTC, `2026-01-31T12:34:56.789012Z`, so that they sort and `substr` cuts days.
Money is a whole number of picodollars (1e-12 USD). Unknown is NULL, never zero.

What is here is the newest version. A change of it is a new file in `farthing.ledger.migrations`,
which brings older files to the same tables, and a new `SCHEMA_VERSION`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)

from farthing.ledger.migrations.types import Text

SCHEMA_VERSION = 6
"""The version of the tables below; the number of the newest migration."""

LEAVES_OF_VERSION_2 = ("cache_write_1h", "input_audio", "output_audio", "input_image")
"""Leaves of usage that attempts have had since version 2; NULL in rows of version 1."""

metadata = MetaData()

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text))

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_at", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("prompt", Text),
    Column("requested", Text, nullable=False),
    Column("plan", Text),
    Column("strongest", Text),
    Column("key", Text),
    Column("tags", Text, nullable=False),
    Column("answer_reader", Text),
    Column("stream", Integer, nullable=False),
    Column("gateway", Text),
    Index("operations_started_at", "started_at"),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("operation_id", Text, ForeignKey("operations.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("node", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("input", BigInteger),
    Column("cache_read", BigInteger),
    Column("cache_write", BigInteger),
    Column("output", BigInteger),
    Column("reasoning", BigInteger),
    Column("usage_basis", Text, nullable=False),
    Column("cost_pico", BigInteger),
    Column("price_source", Text),
    Column("price_date", Text),
    Column("latency_s", Double),
    Column("ttft_s", Double),
    Column("temperature", Double),
    Column("upstream_id", Text),
    Column("cache_write_1h", BigInteger),
    Column("input_audio", BigInteger),
    Column("output_audio", BigInteger),
    Column("input_image", BigInteger),
    Column("service_tier", Text),
    Column("kind", Text, nullable=False, server_default="sample"),
    Index("attempts_operation", "operation_id", "number"),
    sqlite_with_rowid=False,
)

samples = Table(
    "samples",
    metadata,
    Column("attempt_id", Text, ForeignKey("attempts.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("text", Text),
    Column("answer", Text),
    Column("finish_reason", Text),
    Column("mean_logprob", Double),
    Column("min_logprob", Double),
    Column("output_tokens", BigInteger),
    Column("cost_pico", BigInteger),
    Column("basis", Text, nullable=False),
    sqlite_with_rowid=False,
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("operation_id", Text, ForeignKey("operations.id"), primary_key=True),
    Column("finished_at", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("answered_by", Text),
    Column("answer", Text),
    Column("signal", Double),
    Column("budget_pico", BigInteger),
    Column("alpha", Double),
    Column("error", Text),
    Column("stopped", Text),
    Column("certificate", Text),
    Column("calls", Integer),
    sqlite_with_rowid=False,
)

keys = Table(
    "keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", Text, nullable=False),
    Column("user_name", Text),
    Column("team", Text),
    Column("tags", Text, nullable=False),
    Column("models", Text),
    Column("plans", Text),
    sqlite_with_rowid=False,
)

key_secrets = Table(
    "key_secrets",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("key_name", Text, ForeignKey("keys.name"), nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("expires_at", Text),
    Index("key_secrets_id", "id", unique=True),
)

key_events = Table(
    "key_events",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("key_name", Text, ForeignKey("keys.name"), nullable=False),
    Column("secret_id", Text, ForeignKey("key_secrets.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("ends_at", Text, nullable=False),
)

budgets = Table(
    "budgets",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("scope", Text),
    Column("limit_pico", BigInteger),
    Column("window", Text),
    Column("zone", Text),
    Column("alpha", Double),
    Column("mode", Text),
    Column("soft", Integer),
    Column("per_operation_pico", BigInteger),
    Column("requests", BigInteger),
    Column("tokens", BigInteger),
)
"""A row for each time that a budget was "set" or "removed", or "topup" raised its limit."""

reservations = Table(
    "reservations",
    metadata,
    Column("operation_id", Text, ForeignKey("operations.id"), primary_key=True),
    Column("budget", Text, primary_key=True),
    Column("counted_as", Integer, nullable=False),
    Column("held_pico", BigInteger, nullable=False),
    Column("at", Text, nullable=False),
    Column("gateway", Text, nullable=False),
    Index("reservations_gateway", "gateway"),
    sqlite_with_rowid=False,
)
"""What was held for an operation in a budget when it was admitted."""

charges = Table(
    "charges",
    metadata,
    Column("operation_id", Text, ForeignKey("operations.id"), primary_key=True),
    Column("budget", Text, primary_key=True),
    Column("counted_as", Integer, nullable=False),
    Column("pico", BigInteger, nullable=False),
    Column("held_pico", BigInteger, nullable=False),
    Column("at", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("since", Text, nullable=False),
    Index("charges_budget", "budget", "at"),
    sqlite_with_rowid=False,
)
"""What an operation was charged in a budget, in place of what was held for it."""

spending = Table(
    "spending",
    metadata,
    Column("counted_as", Integer, primary_key=True),
    Column("gateway", Text, primary_key=True),
    Column("since", Text, primary_key=True),
    Column("pico", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Sums of charges, so that no budget needs to be added up anew."""

leases = Table(
    "leases",
    metadata,
    Column("counted_as", Integer, primary_key=True),
    Column("gateway", Text, primary_key=True),
    Column("pico", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The part of a budget that a gateway may spend without asking the others."""

gateways = Table(
    "gateways",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_at", Text, nullable=False),
    Column("seen_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("ended_by", Text),
    sqlite_with_rowid=False,
)
"""The processes that write, and when each was last seen alive."""

replays = Table(
    "replays",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("at", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""The batches of a journal that are in the ledger already."""

removals = Table(
    "removals",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("operations", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("cost_pico", BigInteger, nullable=False),
    Column("unknown_cost", BigInteger, nullable=False),
)
"""What was taken out of the ledger by its rule of retention."""

certificates = Table(
    "certificates",
    metadata,
    Column("plan", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("models", Text, nullable=False),
    Column("budget_pico", BigInteger, nullable=False),
    Column("alpha", Double, nullable=False),
    Column("mode", Text, nullable=False),
    Column("level", Double, nullable=False),
    Column("since", Text, nullable=False),
    Column("seen_at", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("looks", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("alarm_at", Text),
    Column("drift_at", Text),
    sqlite_with_rowid=False,
)
"""What live traffic says of each plan file's certificate; see `farthing.ledger.watches`."""

alembic_version = Table(
    "alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Which migration the file is at, as Alembic itself writes it."""


def revision(version: int) -> str:
    """The migration that makes a schema version, as Alembic names it."""
    return f"{version:04}"


def create(connection: Connection) -> None:
    """Make the newest tables in an empty database."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(meta.insert(), {"key": "schema_version", "value": str(SCHEMA_VERSION)})
    connection.execute(alembic_version.insert(), {"version_num": revision(SCHEMA_VERSION)})
