"""Labels that people give: which queries are worth their time, and what they said, inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from askance.ledger.reuse import end_twins
from askance.records import HUMAN, Coordinates, HumanAnswer, Outcome, Question, Taken

if TYPE_CHECKING:
    import sqlite3

_ENDED = (Outcome.LABELLED, Outcome.INVALID, Outcome.FAILED, Outcome.LOST)


def questions(connection: sqlite3.Connection, below: float | None, limit: int) -> list[Question]:
    """Queries that people may answer, oldest first: those without a label or, with `below`, those whose label's
    confidence is known and lower, the least sure first. What people have answered and what is under way are not among
    them, nor are copies: answering the original answers them.
    """
    which, order = "queries.status IN ('pending', 'invalid', 'failed', 'lost')", "queries.number"
    values: tuple[float, ...] = ()
    if below is not None:
        which, order = "queries.status = 'labelled' AND labels.confidence < ?", "labels.confidence, queries.number"
        values = (below,)
    rows = connection.execute(
        'SELECT queries.topic, queries.partition, queries."offset", document_id, text, predicted, queries.confidence,'  # noqa: S608 - ours
        " version, labels.label, labels.confidence, labels.teacher"
        f" FROM queries LEFT JOIN labels ON labels.query = queries.number WHERE {which}"
        " AND queries.twin IS NULL AND labels.twin IS NULL AND coalesce(labels.teacher, '') <> ?"
        f" ORDER BY {order} LIMIT ?",
        (*values, HUMAN, limit),
    )
    return [Question(Coordinates(topic, partition, offset), *rest) for topic, partition, offset, *rest in rows]


def take(connection: sqlite3.Connection, answer: HumanAnswer) -> Taken:
    """Write an answer down, at no cost; what the teacher had said is kept beside it.

    The same answer a second time changes nothing. A query that is under way is left alone: its answer is paid for.
    """
    row = connection.execute(
        "SELECT queries.number, queries.text, queries.status, labels.label, labels.teacher, labels.raw FROM queries"
        " LEFT JOIN labels ON labels.query = queries.number"
        ' WHERE topic = ? AND partition = ? AND "offset" = ?',
        answer.coordinates,
    ).fetchone()
    if row is None or row[1] != answer.text:
        return Taken.UNKNOWN
    number, _, status, label, teacher, raw = row
    if status == "asked":
        return Taken.UNDER_WAY
    if teacher == HUMAN and (label, raw) == (answer.label, answer.raw):
        return Taken.KNOWN
    outcome = Outcome.INVALID if answer.label is None else Outcome.LABELLED
    if status in _ENDED:
        copies = connection.execute(
            "SELECT query FROM labels WHERE twin = ? AND likeness IS NULL", (number,)
        ).fetchall()
        for (query,) in [(number,), *copies]:
            _correct(connection, query, answer, outcome)
        return Taken.CORRECTED
    connection.execute(
        "INSERT INTO labels (query, outcome, label, raw, teacher, latency_seconds) VALUES (?, ?, ?, ?, ?, 0.0)",
        (number, outcome, answer.label, answer.raw, HUMAN),
    )
    connection.execute(
        "UPDATE queries SET status = ?, twin = NULL, likeness = NULL WHERE number = ?", (outcome, number)
    )
    end_twins(connection, number, 0.0)
    return Taken.NEW


def _correct(connection: sqlite3.Connection, number: int, answer: HumanAnswer, outcome: Outcome) -> None:
    connection.execute(
        "INSERT INTO corrections (query, outcome, label, teacher, confidence, confidence_source)"
        " SELECT query, outcome, label, teacher, confidence, confidence_source FROM labels WHERE query = ?",
        (number,),
    )
    # The key stays: the text is not to be asked about again under it. The call stays: it was paid for.
    connection.execute(
        "UPDATE labels SET outcome = ?, label = ?, raw = ?, teacher = ?, confidence = NULL, confidence_source = NULL,"
        " error = NULL, rationale = NULL, published = 0 WHERE query = ?",
        (outcome, answer.label, answer.raw, HUMAN, number),
    )
    connection.execute("UPDATE queries SET status = ? WHERE number = ?", (outcome, number))
