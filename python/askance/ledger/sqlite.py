"""The SQLite ledger.

Owns the invariant that no query is paid for twice: `reserve` is on the disk before anyone asks, a reservation that a
crash orphaned ends as `lost`, and an ended query never becomes pending again.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from askance.errors import LedgerError
from askance.ledger.schema import connect, transaction
from askance.ledger.tallies import BLOCK, add_tallies, read_tallies
from askance.records import Coordinates, Judged, LabelCounts, Labelled, Outcome, Progress, Query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from askance.records import Label, Position, Tally

QUERY_COLUMNS = (
    'topic, partition, "offset", document_id, text, predicted, confidence, uncertainty, propensity, version, seed'
)


class SqliteLedger:
    """Implements `protocols.Ledger` in one file; any number of processes may have it open.

    Its methods block and may be called from any thread, one at a time.
    """

    block = BLOCK

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect(path)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file; the ledger cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as exc:
                msg = f"the ledger {self._path} failed: {exc}; check free space and whether another program holds it"
                raise LedgerError(msg) from exc

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection, transaction(connection):
            yield connection

    def commit(self, queries: Sequence[Query], positions: Sequence[Position], bookmark: str | None) -> None:
        """Store queries and advance positions in one transaction; a query already stored is left as it is.

        `bookmark` is the stream adapter's own note, kept beside every position given here.
        """
        with self._writing() as connection:
            connection.executemany(
                f"INSERT INTO queries ({QUERY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant
                " ON CONFLICT DO NOTHING",
                [query_row(query) for query in queries],
            )
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
            add_tallies(connection, positions)

    def tallies(self) -> list[Tally]:
        """What was counted of all documents, by block of offsets and version."""
        with self._reading() as connection:
            return read_tallies(connection)

    def judged(self, *, since: int = 0, newest: int | None = None) -> list[Judged]:
        """Every query from offset `since` on, or only the `newest` so many, with how it ended, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                'SELECT topic, partition, "offset", document_id, predicted, version, propensity, queries.confidence,'
                " status, label FROM queries LEFT JOIN labels ON labels.query = queries.number"
                ' WHERE "offset" >= ? ORDER BY queries.number DESC LIMIT ?',
                (since, -1 if newest is None else newest),
            ).fetchall()
        rows.reverse()
        return [Judged(Coordinates(topic, partition, offset), *rest) for topic, partition, offset, *rest in rows]

    def progress(self) -> dict[tuple[str, int], Progress]:
        """By (topic, partition): how far the stream is done."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT topic, partition, next_offset, documents, accepted, dead_letters, bookmark FROM progress"
            )
            return {(topic, partition): Progress(*rest) for topic, partition, *rest in rows}

    def reserve(self, limit: int) -> list[Query]:
        """Take up to `limit` pending queries, oldest first, and mark them asked before anyone asks."""
        return self._reserve(limit, "")

    def _reserve(self, limit: int, condition: str) -> list[Query]:
        pending = f"FROM queries WHERE status = 'pending'{condition} ORDER BY number LIMIT ?"
        with self._reading() as connection:
            # Most polls find nothing: do not take the write lock for them.
            if connection.execute(f"SELECT 1 {pending}", (1,)).fetchone() is None:
                return []
        with self._writing() as connection:
            rows = connection.execute(f"SELECT number, {QUERY_COLUMNS} {pending}", (limit,)).fetchall()
            connection.executemany(
                "UPDATE queries SET status = 'asked' WHERE number = ?", [(number,) for number, *_ in rows]
            )
            return [Query(Coordinates(topic, partition, offset), *rest) for _, topic, partition, offset, *rest in rows]

    def release(self, queries: Sequence[Query]) -> None:
        """Give back reserved queries that were certainly not sent."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE queries SET status = 'pending' WHERE topic = ? AND partition = ? AND \"offset\" = ?"
                " AND status = 'asked'",
                [query.coordinates for query in queries],
            )

    def settle(self, labels: Sequence[Label]) -> None:
        """Write down how asked queries ended; a label for a query that has already ended is an error."""
        with self._writing() as connection:
            for label in labels:
                if not self._insert_label(connection, label, published=False):
                    msg = f"the query {label.coordinates} was not under way, so its label cannot be settled"
                    raise LedgerError(msg)

    def _insert_label(self, connection: sqlite3.Connection, label: Label, *, published: bool) -> bool:
        """Whether the query was waiting for it: under way or, where the label comes from elsewhere, pending too."""
        row = connection.execute(
            'SELECT number, status FROM queries WHERE topic = ? AND partition = ? AND "offset" = ?', label.coordinates
        ).fetchone()
        waiting = ("asked", "pending") if published else ("asked",)
        if row is None or row[1] not in waiting:
            return False
        answer = label.answer
        connection.execute(
            "INSERT INTO labels (query, outcome, label, raw, confidence, confidence_source, error, prompt_tokens,"
            " completion_tokens, teacher, latency_seconds, published) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row[0],
                label.outcome,
                label.label,
                answer.raw,
                answer.confidence,
                answer.confidence_source,
                answer.error,
                answer.prompt_tokens,
                answer.completion_tokens,
                label.teacher,
                label.latency_seconds,
                published,
            ),
        )
        connection.execute("UPDATE queries SET status = ? WHERE number = ?", (label.outcome, row[0]))
        return True

    def abandon_orphans(self) -> int:
        """Mark every query a dead process left asked as lost; returns how many."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO labels (query, outcome, error) SELECT number, ?, 'the process died while asking'"
                " FROM queries WHERE status = 'asked'",
                (Outcome.LOST,),
            )
            return connection.execute("UPDATE queries SET status = ? WHERE status = 'asked'", (Outcome.LOST,)).rowcount

    def counts(self) -> LabelCounts:
        """How many queries stand where."""
        with self._reading() as connection:
            return LabelCounts(**dict(connection.execute("SELECT status, count(*) FROM queries GROUP BY status")))

    def labelled(self, newest: int | None = None) -> list[Labelled]:
        """Every query with a valid label, or only the `newest` so many, in the order the labels came."""
        with self._reading() as connection:
            rows = connection.execute(
                'SELECT topic, partition, "offset", text, label, predicted, version, propensity, labels.confidence'
                " FROM labels JOIN queries ON queries.number = labels.query"
                " WHERE outcome = ? ORDER BY labels.number DESC LIMIT ?",
                (Outcome.LABELLED, -1 if newest is None else newest),
            ).fetchall()
        rows.reverse()
        return [Labelled(Coordinates(topic, partition, offset), *rest) for topic, partition, offset, *rest in rows]


def query_row(query: Query) -> tuple[object, ...]:
    """The values of `QUERY_COLUMNS`."""
    return (
        *query.coordinates,
        query.document_id,
        query.text,
        query.predicted,
        query.confidence,
        query.uncertainty,
        query.propensity,
        query.version,
        query.seed,
    )
