"""The ledger: an append-only store of operations and their attempts."""

from farthing.ledger.rows import AttemptRow, OperationRow, OutcomeRow, Status, new_id
from farthing.ledger.sqlite import Ledger
from farthing.ledger.store import MemoryLedger, Store

__all__ = [
    "AttemptRow",
    "Ledger",
    "MemoryLedger",
    "OperationRow",
    "OutcomeRow",
    "Status",
    "Store",
    "new_id",
]
