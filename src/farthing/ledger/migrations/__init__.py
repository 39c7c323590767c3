"""The steps from each version of the ledger's tables to the next, for Alembic.

Files in `versions` are numbered and only ever added: one that has been released is not changed.
They name columns themselves and import nothing of `farthing.ledger.schema`, which moves on.
"""
