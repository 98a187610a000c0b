"""The ledger: queries, labels and progress in one SQLite file, safe against a crash at any moment."""

from askance.ledger.sqlite import SqliteLedger

__all__ = ["SqliteLedger"]
