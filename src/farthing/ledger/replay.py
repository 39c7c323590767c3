"""A journal that was left over, written into its ledger."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from farthing.core.errors import LedgerError
from farthing.ledger._journal import Journal
from farthing.ledger.address import Where
from farthing.ledger.engines import cause, open_to_write

logger = logging.getLogger("farthing.ledger")


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a journal's batches.

    Attributes:
        added: written to the ledger.
        known: left out, since the ledger had them already.
        rejected: moved to the file `.rejected` beside the journal, since no ledger can hold them.
    """

    added: int
    known: int
    rejected: int = 0


def replay(journal: str | Path, where: Where) -> Replayed:
    """Write the batches of the journal to the ledger at `where`, each once; then empty it.

    Raises LedgerError if there is no such journal or ledger, another process has the journal, it
    is damaged, or the ledger cannot be written. What was written by then is, and is not written
    again.
    """
    engine = open_to_write(where, create=False)
    try:
        return replay_into(engine, journal)
    finally:
        engine.dispose()


def replay_into(engine: Engine, path: str | Path) -> Replayed:
    """As `replay`, by an engine that writes."""
    journal = Journal.open(path, create=False)
    added = 0
    try:
        with engine.connect() as connection:
            while journal.pending:
                added += journal.replay(connection)
        known = journal.records - added - journal.rejected
        replayed = Replayed(added, known, journal.rejected)
        journal.clear()
    except SQLAlchemyError as error:
        raise LedgerError(
            f"cannot write the journal {path} to the ledger: {cause(error)}; the rest of it is kept"
        ) from None
    except OSError as error:
        raise LedgerError(f"cannot write the journal {path}: {error.strerror}") from error
    finally:
        journal.close()
    if replayed.added or replayed.known:
        logger.info(
            "of the batches in %s, %d were added and %d were in the ledger",
            path,
            replayed.added,
            replayed.known,
        )
    return replayed
