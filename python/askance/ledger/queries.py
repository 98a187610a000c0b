"""The rows of `queries`: stored, read back, and what a contract waits for among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from askance.records import Answer, Coordinates, Label, Outcome, Query, Settled, Standing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

_NAMES = (
    "topic",
    "partition",
    '"offset"',
    "document_id",
    "text",
    "predicted",
    "confidence",
    "uncertainty",
    "propensity",
    "version",
    "seed",
    "standing",
    "threshold",
    "held_until",
    '"key"',
    "shadow_version",
    "shadow_predicted",
    "shadow_confidence",
)
QUERY_COLUMNS = ", ".join(_NAMES)
"""In the order of the fields of `Query`."""
_QUERY = ", ".join(f"queries.{name}" for name in _NAMES)
_LABEL = (
    "outcome, label, teacher, latency_seconds, raw, labels.confidence, confidence_source, error, prompt_tokens,"
    " completion_tokens"
)
SETTLED_COLUMNS = f"{_QUERY}, {_LABEL}"
"""What `settled_of` and `query_and_label` take, of labels joined to queries."""

_INSERT = f"INSERT INTO queries ({QUERY_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))}) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
_IS_AWAITED = f"standing IN ('{Standing.HELD}', '{Standing.PROVISIONAL}')"


def add_queries(connection: sqlite3.Connection, queries: Iterable[Query]) -> None:
    """Store them; one that is stored already is left as it is."""
    connection.executemany(_INSERT, [_row(query) for query in queries])


def query_and_label(row: Sequence[Any]) -> tuple[Query, Label | None]:
    """Of `SETTLED_COLUMNS`; no label where the query has not ended."""
    width = len(_NAMES)
    query = Query(Coordinates(*row[:3]), *row[3:width])
    outcome, label, teacher, latency = row[width : width + 4]
    if outcome is None:
        return query, None
    answer = Answer(*row[width + 4 :])
    return query, Label(query.coordinates, Outcome(outcome), label, teacher or "", answer, latency or 0.0)


def settled_of(row: Sequence[Any]) -> Settled:
    """Of `SETTLED_COLUMNS`, where the query has ended."""
    query, label = query_and_label(row)
    if label is None:
        raise AssertionError
    return Settled(query, label)


def due_answers(connection: sqlite3.Connection, now: float, limit: int) -> list[tuple[Query, Label | None]]:
    """Awaited queries that have ended, and held ones whose deadline has passed, oldest first."""
    rows = connection.execute(
        f"SELECT {SETTLED_COLUMNS} FROM queries LEFT JOIN labels ON labels.query = queries.number"  # noqa: S608 - constants
        f" WHERE {_IS_AWAITED} AND (status NOT IN ('pending', 'asked') OR (standing = ? AND held_until <= ?))"
        " ORDER BY queries.number LIMIT ?",
        (Standing.HELD, now, limit),
    )
    return [query_and_label(row) for row in rows.fetchall()]


def count_awaited(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many queries are held, and how many a provisional prediction waits for."""
    counts = dict(
        connection.execute(f"SELECT standing, count(*) FROM queries WHERE {_IS_AWAITED} GROUP BY standing").fetchall()  # noqa: S608 - a constant
    )
    return counts.get(Standing.HELD, 0), counts.get(Standing.PROVISIONAL, 0)


def stand(connection: sqlite3.Connection, standings: Iterable[tuple[Coordinates, str]]) -> None:
    """What has been sent for awaited queries."""
    connection.executemany(
        'UPDATE queries SET standing = ? WHERE topic = ? AND partition = ? AND "offset" = ?',
        [(standing, *coordinates) for coordinates, standing in standings],
    )


def _row(query: Query) -> tuple[object, ...]:
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
        query.standing,
        query.threshold,
        query.held_until,
        query.key,
        query.shadow_version,
        query.shadow_predicted,
        query.shadow_confidence,
    )
