"""The rows of `queries`: stored, read back, and what a contract waits for among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from askance.records import Answer, Coordinates, Label, Outcome, Query, Settled, Standing, Twin

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
    "traceparent",
)
QUERY_COLUMNS = ", ".join(f"queries.{name}" for name in _NAMES)
"""In the order of the fields of `Query`."""
_LABEL = (
    'outcome, label, labels.teacher, latency_seconds, labels.key, twins.topic, twins.partition, twins."offset",'
    " labels.likeness, raw, labels.confidence, confidence_source, error, prompt_tokens, completion_tokens, rationale"
)
SETTLED = (
    f"SELECT {QUERY_COLUMNS}, {_LABEL} FROM queries LEFT JOIN labels ON labels.query = queries.number"  # noqa: S608 - constants
    " LEFT JOIN queries AS twins ON twins.number = labels.twin"
)
"""Queries with their labels, as `settled_of` and `query_and_label` take them."""

_INSERT = f"INSERT INTO queries ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))}) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
_IS_AWAITED = f"queries.standing IN ('{Standing.HELD}', '{Standing.PROVISIONAL}')"


def add_queries(connection: sqlite3.Connection, queries: Iterable[Query]) -> None:
    """Store them; one that is stored already is left as it is."""
    connection.executemany(_INSERT, [_row(query) for query in queries])


def query_and_label(row: Sequence[Any]) -> tuple[Query, Label | None]:
    """Of `SETTLED`; no label where the query has not ended."""
    width = len(_NAMES)
    query = Query(Coordinates(*row[:3]), *row[3:width])
    outcome, label, teacher, latency, key, *twin, likeness = row[width : width + 9]
    if outcome is None:
        return query, None
    raw, confidence, source, error, prompt_tokens, completion_tokens, rationale = row[width + 9 :]
    return query, Label(
        coordinates=query.coordinates,
        outcome=Outcome(outcome),
        label=label,
        teacher=teacher or "",
        answer=Answer(raw, confidence, source, error, prompt_tokens, completion_tokens, rationale=rationale),
        latency_seconds=latency or 0.0,
        key=key,
        twin=None if twin[0] is None else Twin(Coordinates(*twin), likeness),
    )


def settled_of(row: Sequence[Any]) -> Settled:
    """Of `SETTLED`, where the query has ended."""
    query, label = query_and_label(row)
    if label is None:
        raise AssertionError
    return Settled(query, label)


def due_answers(connection: sqlite3.Connection, now: float, limit: int) -> list[tuple[Query, Label | None]]:
    """Awaited queries that have ended, and held ones whose deadline has passed, oldest first."""
    rows = connection.execute(
        f"{SETTLED} WHERE {_IS_AWAITED} AND"
        " (queries.status NOT IN ('pending', 'asked') OR (queries.standing = ? AND queries.held_until <= ?))"
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
        query.traceparent,
    )
