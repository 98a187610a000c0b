"""What the ledger counts of documents that were not accepted: one row a version and a block of offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from askance.records import Tally
from askance.rules.tally import merged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from askance.records import Position

BLOCK = 4096
"""Offsets a row stands for: a million documents are 245 rows. Windows begin and end with a block."""

_COLUMNS = "documents, uncovered, confidences, uncertainties, predicted"
_COUNTS = msgspec.json.Decoder(dict[str, int])
_BINS = msgspec.json.Decoder(tuple[int, ...])


def add_tallies(connection: sqlite3.Connection, positions: Iterable[Position]) -> None:
    """Add what these deliveries counted, inside the transaction that makes them durable."""
    for position in positions:
        tally = position.tally
        if tally is None:
            continue
        key = (position.topic, position.partition, tally.first_offset // BLOCK, tally.version or "")
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM tallies WHERE topic = ? AND partition = ? AND block = ? AND version = ?",  # noqa: S608 - a constant
            key,
        ).fetchone()
        if row is not None:
            before = _tally(tally.first_offset, tally.version, *row)
            tally = merged([before, tally]) or tally
        connection.execute(
            "INSERT OR REPLACE INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *key,
                tally.documents,
                tally.uncovered,
                tally.confidences,
                msgspec.json.encode(tally.uncertainties).decode(),
                msgspec.json.encode(tally.predicted).decode(),
            ),
        )


def read_tallies(connection: sqlite3.Connection) -> list[Tally]:
    """Every row, by topic, partition and block; `first_offset` is the block's."""
    rows = connection.execute(
        f"SELECT block, version, {_COLUMNS} FROM tallies ORDER BY topic, partition, block"  # noqa: S608 - a constant
    )
    return [_tally(block * BLOCK, version or None, *rest) for block, version, *rest in rows]


def _tally(
    first_offset: int,
    version: str | None,
    documents: int,
    uncovered: int,
    confidences: float,
    uncertainties: str,
    predicted: str,
) -> Tally:
    return Tally(
        first_offset, version, documents, uncovered, confidences, _BINS.decode(uncertainties), _COUNTS.decode(predicted)
    )
