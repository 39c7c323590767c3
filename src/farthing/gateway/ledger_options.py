"""How the ledger is kept, as the configuration says it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from farthing.core.errors import LedgerError
from farthing.gateway.config import Config
from farthing.ledger.retention import Retention, days


def ledger_options(config: Config) -> dict[str, Any]:
    """The arguments of `Ledger.open` that `config` decides; ConfigError for times that are none."""
    ledger = config.ledger
    keep, keep_texts = _days(config, "keep"), _days(config, "keep_texts")
    return {
        "texts": config.gateway.store_prompts,
        "sync": ledger.sync,
        "on_failure": ledger.on_ledger_failure,
        "spool": config.file(ledger.spool),
        "retention": Retention(keep, keep_texts) if keep or keep_texts else None,
    }


def _days(config: Config, key: str) -> timedelta | None:
    text = getattr(config.ledger, key)
    try:
        return None if text is None else days(text)
    except LedgerError as error:
        raise config.error(str(error), "ledger", key) from error
