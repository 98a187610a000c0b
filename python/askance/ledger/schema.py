"""Opens the ledger's file and brings its schema up to date."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING

from askance.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_TIMEOUT_SECONDS = 30.0


def connect(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode with every migration applied; raises `LedgerError` naming the file.

    `synchronous=FULL`: a reservation must have reached the disk before the teacher is paid, even if the power fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as exc:
        msg = f"cannot open the ledger {path}: {exc}; check the folder's rights and free space"
        raise LedgerError(msg) from exc
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection)
    except sqlite3.Error as exc:
        connection.close()
        msg = f"the ledger {path} cannot be read: {exc}; restore it, or start anew with another --state folder"
        raise LedgerError(msg) from exc
    except LedgerError:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Everything inside becomes durable together, or nothing does."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection) -> None:
    steps = sorted(
        (entry for entry in resources.files("askance.ledger.migrations").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    with transaction(connection):
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL) WITHOUT ROWID"
        )
        applied = {name for (name,) in connection.execute("SELECT name FROM migrations")}
        unknown = applied - {step.name for step in steps}
        if unknown:
            msg = f"the ledger was written by a newer askance (migration {max(unknown)}); upgrade askance"
            raise LedgerError(msg)
        for step in steps:
            if step.name not in applied:
                for statement in _statements(step.read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute("INSERT INTO migrations VALUES (?, datetime('now'))", (step.name,))


def _statements(script: str) -> Iterator[str]:
    # `executescript` would commit the transaction the migration runs in.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
