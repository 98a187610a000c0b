"""What the ledger keeps of batches: statements, inside a transaction of the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from askance.calls import Batch, BatchStatus, Call, Pending, Spend
from askance.ledger.queries import QUERY_COLUMNS
from askance.records import Coordinates, Query

if TYPE_CHECKING:
    import sqlite3


def begin(connection: sqlite3.Connection, token: str, teacher: str) -> int:
    """The number of a new batch."""
    number: int = connection.execute(
        "INSERT INTO batches (token, teacher) VALUES (?, ?) RETURNING number", (token, teacher)
    ).fetchone()[0]
    return number


def update(
    connection: sqlite3.Connection, number: int, status: BatchStatus, identifier: str | None, error: str | None
) -> None:
    """Keep what is known of a batch now; an identifier that is known stays."""
    connection.execute(
        "UPDATE batches SET status = ?, id = coalesce(?, id), error = ? WHERE number = ?",
        (status, identifier, error, number),
    )


def read(connection: sqlite3.Connection) -> list[Batch]:
    """Every batch, oldest first."""
    rows = connection.execute(
        "SELECT batches.number, token, batches.teacher, id, batches.status, batches.error,"
        " count(*) FILTER (WHERE calls.status = 'open'), count(calls.number)"
        " FROM batches LEFT JOIN calls ON calls.batch = batches.number GROUP BY batches.number ORDER BY batches.number"
    )
    return [
        Batch(number, token, teacher, identifier, BatchStatus(status), unsettled, calls, error)
        for number, token, teacher, identifier, status, error, unsettled, calls in rows
    ]


def calls(connection: sqlite3.Connection, number: int) -> list[Call]:
    """The calls of a batch that are not settled yet, with their queries in the order in which they are asked."""
    found: dict[int, tuple[Spend, list[Pending]]] = {}
    rows = connection.execute(
        f"SELECT calls.number, calls.calls, calls.tokens, calls.nanos, tries, bad_replies, {QUERY_COLUMNS}"  # noqa: S608 - a constant
        " FROM calls JOIN queries ON queries.call = calls.number AND queries.status = 'asked'"
        " WHERE calls.batch = ? AND calls.status = 'open' ORDER BY calls.number, queries.number",
        (number,),
    )
    for call, counted, tokens, nanos, tries, bad_replies, topic, partition, offset, *rest in rows:
        _, asked = found.setdefault(call, (Spend(counted, tokens, nanos), []))
        asked.append(Pending(Query(Coordinates(topic, partition, offset), *rest), tries, bad_replies))
    return [Call(call, tuple(asked), reserved) for call, (reserved, asked) in found.items()]
