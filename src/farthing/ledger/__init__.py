"""The ledger: an append-only store of operations and their attempts."""

from farthing.ledger.rows import (
    AttemptRow,
    ChargeRow,
    OperationRow,
    OutcomeRow,
    ReservationRow,
    Status,
    new_id,
)
from farthing.ledger.sql import Ledger
from farthing.ledger.store import MemoryLedger, Store

__all__ = [
    "AttemptRow",
    "ChargeRow",
    "Ledger",
    "MemoryLedger",
    "OperationRow",
    "OutcomeRow",
    "ReservationRow",
    "Status",
    "Store",
    "new_id",
]
