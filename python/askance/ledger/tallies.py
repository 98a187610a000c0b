"""How far each partition is done, and what was counted of its documents: one row a version and a block of offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from askance.records import Tally
from askance.rules.tally import merged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from askance.records import Position

BLOCK = 4096
"""Offsets a row stands for: a million documents are 245 rows. Windows begin and end with a block."""

_COLUMNS = "documents, uncovered, confidences, uncertainties, predicted"
_COUNTS = msgspec.json.Decoder(dict[str, int])
_BINS = msgspec.json.Decoder(tuple[int, ...])


def advance(connection: sqlite3.Connection, positions: Sequence[Position], bookmark: str | None) -> None:
    """Add what these deliveries counted and move on, inside the transaction that makes them durable."""
    connection.executemany(
        "INSERT INTO progress VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE SET"
        " next_offset = excluded.next_offset, documents = documents + excluded.documents,"
        " accepted = accepted + excluded.accepted, dead_letters = dead_letters + excluded.dead_letters,"
        " bookmark = excluded.bookmark",
        [
            (
                position.topic,
                position.partition,
                position.next_offset,
                position.documents,
                position.accepted,
                position.dead_letters,
                bookmark,
            )
            for position in positions
        ],
    )
    for position in positions:
        for tally in position.tallies:
            _add(connection, position.topic, position.partition, tally)


def count_once(connection: sqlite3.Connection, positions: Iterable[Position]) -> None:
    """As `advance`, but what begins below a partition's progress was counted before, and is left.

    At least once, a batch that a crash left without its commit is counted again, cut otherwise: then a part of it,
    less than a batch, is in no count.
    """
    for position in positions:
        row = connection.execute(
            "SELECT next_offset FROM progress WHERE topic = ? AND partition = ?", (position.topic, position.partition)
        ).fetchone()
        if row is None or all(tally.first_offset >= row[0] for tally in position.tallies):
            advance(connection, [position], None)


def _add(connection: sqlite3.Connection, topic: str, partition: int, tally: Tally) -> None:
    block = tally.first_offset // BLOCK
    key = (topic, partition, block, tally.version or "", tally.is_shadow)
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM tallies"  # noqa: S608 - a constant
        " WHERE topic = ? AND partition = ? AND block = ? AND version = ? AND is_shadow = ?",
        key,
    ).fetchone()
    if row is not None:
        tally = merged([_tally(topic, partition, block, tally.version, tally.is_shadow, *row), tally]) or tally
    connection.execute(
        f"INSERT OR REPLACE INTO tallies (topic, partition, block, version, is_shadow, {_COLUMNS})"  # noqa: S608 - a constant
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            tally.documents,
            tally.uncovered,
            tally.confidences,
            msgspec.json.encode(tally.uncertainties).decode(),
            msgspec.json.encode(tally.predicted).decode(),
        ),
    )


def read_tallies(connection: sqlite3.Connection, *, shadow: bool = False) -> list[Tally]:
    """Every row, by topic, partition and block; `first_offset` is the block's."""
    rows = connection.execute(
        f"SELECT topic, partition, block, version, is_shadow, {_COLUMNS} FROM tallies WHERE is_shadow = ?"  # noqa: S608 - a constant
        " ORDER BY topic, partition, block, version",
        (shadow,),
    )
    return [_tally(*row) for row in rows]


def _tally(
    topic: str,
    partition: int,
    block: int,
    version: str | None,
    is_shadow: int,
    documents: int,
    uncovered: int,
    *rest: Any,
) -> Tally:
    confidences, uncertainties, predicted = rest
    return Tally(
        first_offset=block * BLOCK,
        version=version or None,
        documents=documents,
        uncovered=uncovered,
        confidences=confidences,
        uncertainties=_BINS.decode(uncertainties),
        predicted=_COUNTS.decode(predicted),
        is_shadow=bool(is_shadow),
        topic=topic,
        partition=partition,
    )
