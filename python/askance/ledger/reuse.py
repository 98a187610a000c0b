"""Do not pay twice: queries whose text, or nearly, was asked about before end with that answer, inside a transaction.

Owns the promise that the same text is never under way twice: a query that is like one that is being asked waits for
that one's answer (its `twin`), and is asked itself only when that one ends without a label. Copies are never copied, so
likeness does not drift from one to the next.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from askance.records import Coordinates, Outcome, Query
from askance.rules.likeness import bands, likeness, signatures, text_hash
from askance.rules.outcome import is_audited

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.calls import Order

# An answer is reused only when it was given, or is going to be, under the same key, and is no copy itself.
_USABLE = (
    " FROM queries LEFT JOIN labels ON labels.query = queries.number LEFT JOIN calls ON calls.number = queries.call"
    " {join} WHERE queries.number <> ? AND {which} AND ("
    "(queries.status = 'labelled' AND labels.key IS ? AND labels.twin IS NULL)"
    " OR (queries.status = 'asked' AND calls.key IS ?)"
    " OR (queries.status = 'pending' AND queries.twin IS NULL AND text_hash IS NOT NULL{condition}))"
)
# So many documents of a band are looked at: boilerplate that half of a stream shares must not cost more than a miss.
_MOST_OF_A_BAND = 8
_MOST_CANDIDATES = 16
_SIGNED_AT_ONCE = 500

Row = tuple[int, float, int, Query]
"""A candidate: its number, tries, bad replies, and the query."""


class _Twin(NamedTuple):
    number: int
    likeness: float | None
    """None: the same text."""


class Sieve:
    """Takes out of the candidates of reservations those that need not be paid for; one for each ledger object."""

    def __init__(self) -> None:
        self._signed_up_to = 0

    def sift(
        self, connection: sqlite3.Connection, order: Order, rows: Sequence[Row], condition: str
    ) -> tuple[list[Row], int]:
        """The rows that have to be asked, and how many of the others have ended; the rest wait for one that is asked.

        `condition` is SQL that narrows which pending queries are waited for.
        """
        if order.key is None and order.alike is None:
            return list(rows), 0
        signed: Sequence[NDArray[np.uint32] | None] = [None] * len(rows)
        if order.alike is not None:
            self._sign_labelled(connection, order.key)
            signed = list(signatures([row[3].text for row in rows]))
        looked = _Look(connection, order, condition)
        fresh, copied = [], 0
        for row, signature in zip(rows, signed, strict=True):
            twin = looked.twin(row, signature)
            if twin is None:
                fresh.append(row)
                continue
            connection.execute(
                "UPDATE queries SET twin = ?, likeness = ? WHERE number = ?", (twin.number, twin.likeness, row[0])
            )
            copied += end_twins(connection, twin.number, order.audit_share)
        return fresh, copied

    def _sign_labelled(self, connection: sqlite3.Connection, key: str | None) -> None:
        """What was labelled before near-duplicates were looked for, or elsewhere; some of it each time."""
        rows = connection.execute(
            "SELECT labels.number, labels.query, text, signatures.query IS NOT NULL FROM labels"
            " JOIN queries ON queries.number = labels.query LEFT JOIN signatures ON signatures.query = labels.query"
            " WHERE labels.number > ? AND outcome = ? AND labels.key IS ? AND labels.twin IS NULL"
            " ORDER BY labels.number LIMIT ?",
            (self._signed_up_to, Outcome.LABELLED, key, _SIGNED_AT_ONCE),
        ).fetchall()
        missing = [(query, text) for _, query, text, is_signed in rows if not is_signed]
        for (query, _), signature in zip(missing, signatures([text for _, text in missing]), strict=True):
            _sign(connection, query, signature)
        if rows:
            self._signed_up_to = rows[-1][0]


class _Look:
    """The search for a twin, and what makes others find this one."""

    def __init__(self, connection: sqlite3.Connection, order: Order, condition: str) -> None:
        self._connection = connection
        self._order = order
        self._same_sql = "SELECT queries.number" + _USABLE.format(join="", which="text_hash = ?", condition=condition)
        self._like_sql = "SELECT signature" + _USABLE.format(
            join="JOIN signatures ON signatures.query = queries.number", which="queries.number = ?", condition=condition
        )

    def twin(self, row: Row, signature: NDArray[np.uint32] | None) -> _Twin | None:
        """Whose answer will do; None when the row has to be asked, and can be found from now on."""
        number, _, _, query = row
        # What was asked before is itself what others wait for.
        (known,) = self._connection.execute("SELECT text_hash FROM queries WHERE number = ?", (number,)).fetchone()
        if known is not None:
            return None
        name = text_hash(query.text)
        twin = self._same(number, name) or self._alike(number, signature)
        if twin is None:
            self._connection.execute("UPDATE queries SET text_hash = ? WHERE number = ?", (name, number))
            if signature is not None:
                _sign(self._connection, number, signature)
        return twin

    def _same(self, number: int, name: bytes) -> _Twin | None:
        key = self._order.key
        if key is None:
            return None
        found = self._connection.execute(self._same_sql + " LIMIT 1", (number, name, key, key)).fetchone()
        return _Twin(found[0], None) if found else None

    def _alike(self, number: int, signature: NDArray[np.uint32] | None) -> _Twin | None:
        if signature is None or self._order.alike is None:
            return None
        shared: Counter[int] = Counter()
        for band, piece in enumerate(bands(signature)):
            rows = self._connection.execute(
                "SELECT query FROM bands WHERE band = ? AND hash = ? LIMIT ?", (band, piece, _MOST_OF_A_BAND)
            )
            shared.update(found for (found,) in rows)
        best: _Twin | None = None
        key, least = self._order.key, self._order.alike
        for found, _ in shared.most_common(_MOST_CANDIDATES):
            row = self._connection.execute(self._like_sql, (number, found, key, key)).fetchone()
            how = 0.0 if row is None else likeness(signature, np.frombuffer(row[0], dtype=np.uint32))
            if row is not None and how >= least and (best is None or how > (best.likeness or 0.0)):
                best = _Twin(found, how)
        return best


def end_twins(connection: sqlite3.Connection, number: int, audit_share: float) -> int:
    """Let the queries that wait for this one end with its label, or be asked themselves if it has ended without.

    Returns how many ended. Those of a near-duplicate are audited like labels that were paid for: how often the teacher
    would have said the same is what the copies' share of an estimate may be wrong by.
    """
    (status,) = connection.execute("SELECT status FROM queries WHERE number = ?", (number,)).fetchone()
    if status in ("pending", "asked"):
        return 0
    if status != Outcome.LABELLED:
        let_go(connection, number)
        return 0
    waiting = connection.execute(
        "SELECT number, likeness, topic, partition, \"offset\" FROM queries WHERE twin = ? AND status = 'pending'",
        (number,),
    ).fetchall()
    # A near-duplicate's confidence is unknown: the teacher has not seen it.
    connection.executemany(
        "INSERT INTO labels (query, outcome, label, raw, confidence, confidence_source, rationale, teacher,"
        " latency_seconds, key, twin, likeness)"
        " SELECT ?1, outcome, label, raw, iif(?2 IS NULL, confidence, NULL), iif(?2 IS NULL, confidence_source, NULL),"
        " rationale, teacher, 0.0, key, query, ?2 FROM labels WHERE query = ?3",
        [(one, how, number) for one, how, *_ in waiting],
    )
    connection.executemany(
        "UPDATE queries SET status = ? WHERE number = ?", [(Outcome.LABELLED, one) for one, *_ in waiting]
    )
    connection.executemany(
        "INSERT INTO audits (query) VALUES (?) ON CONFLICT DO NOTHING",
        [
            (one,)
            for one, how, *coordinates in waiting
            if how is not None and is_audited(Coordinates(*coordinates), audit_share)
        ],
    )
    return len(waiting)


def let_go(connection: sqlite3.Connection, number: int) -> None:
    """Let nobody wait for this one any more."""
    connection.execute(
        "UPDATE queries SET twin = NULL, likeness = NULL WHERE twin = ? AND status = 'pending'", (number,)
    )


def let_go_of_others(connection: sqlite3.Connection, condition: str) -> None:
    """Let nobody wait for a query that this worker may not ask; `condition` says which it may."""
    connection.execute(
        "UPDATE queries SET twin = NULL, likeness = NULL WHERE twin IS NOT NULL AND status = 'pending'"  # noqa: S608 - ours
        f" AND twin IN (SELECT number FROM queries WHERE status = 'pending' AND NOT (1{condition}))"
    )


def remember(connection: sqlite3.Connection, number: int) -> None:
    """An answer that somebody else paid for, and published: its text need not be asked about here either."""
    (text,) = connection.execute("SELECT text FROM queries WHERE number = ?", (number,)).fetchone()
    connection.execute("UPDATE queries SET text_hash = ? WHERE number = ?", (text_hash(text), number))


def _sign(connection: sqlite3.Connection, number: int, signature: NDArray[np.uint32]) -> None:
    connection.execute("INSERT OR REPLACE INTO signatures VALUES (?, ?)", (number, signature.tobytes()))
    connection.executemany(
        "INSERT OR IGNORE INTO bands VALUES (?, ?, ?)",
        [(band, piece, number) for band, piece in enumerate(bands(signature))],
    )
