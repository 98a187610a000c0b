"""Documents the teacher wrote for training: what they cost is kept under the caps like any call, and they stay apart.

Owns the promise that nothing generated counts as a document of the stream: no estimate, holdout or audit reads this
table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from askance.augmentation import Generated
from askance.ledger import spending
from askance.ledger.accounts import Purse

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from askance.calls import Limit, Order, Spend

PURPOSE = "augment"
"""Of the calls; also the period whose account sums them up."""

_COLUMNS = "number, round, text, wanted, label, status"


def begin_call(
    connection: sqlite3.Connection, order: Order, worst: Spend, limit: Limit, documents: int
) -> tuple[int | None, str | None]:
    """A call's number, counted at its worst against every cap and the augmentation's own; or which cap forbids it."""
    purse = Purse(connection, [*spending.periods_of(order), ("augment", PURPOSE, limit)])
    capped = purse.take(worst)
    if capped:
        return None, capped.replace("spend.augment_", "train.augment.")
    number: int = connection.execute(
        "INSERT INTO calls (run, day, teacher, documents, calls, tokens, nanos, purpose)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
        (
            order.run,
            spending.day_of(order.now),
            order.teacher,
            documents,
            worst.calls,
            worst.tokens,
            worst.nanos,
            PURPOSE,
        ),
    ).fetchone()[0]
    purse.write()
    return number, None


def keep(
    connection: sqlite3.Connection, call: int, texts: Sequence[str], *, wanted: str, round_: int, teacher: str
) -> list[Generated]:
    """Store what a call wrote, unchecked; a text that is in the ledger already, either kind, is left out."""
    kept = []
    for text in texts:
        if connection.execute("SELECT 1 FROM queries WHERE text = ? LIMIT 1", (text,)).fetchone():
            continue
        row = connection.execute(
            "INSERT INTO generated (round, text, wanted, teacher, call) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (text) DO NOTHING RETURNING number, round, text, wanted, label, status",
            (round_, text, wanted, teacher, call),
        ).fetchone()
        if row is not None:
            kept.append(Generated(*row))
    return kept


def check(connection: sqlite3.Connection, call: int, number: int, label: str | None, confidence: float | None) -> None:
    """What the second call said of a document: confirmed where it is the label that was wanted."""
    connection.execute(
        "UPDATE generated SET label = ?, confidence = ?, check_call = ?,"
        " status = CASE WHEN ? = wanted THEN 'confirmed' ELSE 'refused' END WHERE number = ? AND status = 'unchecked'",
        (label, confidence, call, label, number),
    )


def end_rounds(connection: sqlite3.Connection, best: int | None) -> None:
    """Keep what rounds up to the best one confirmed, and nothing else of those that have not been judged."""
    connection.execute(
        "UPDATE generated SET status = CASE WHEN status = 'confirmed' AND round <= ? THEN 'kept' ELSE 'discarded' END"
        " WHERE status IN ('unchecked', 'confirmed')",
        (-1 if best is None else best,),
    )


def read(connection: sqlite3.Connection) -> list[Generated]:
    """All, in the order they were written."""
    return [Generated(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM generated ORDER BY number")]  # noqa: S608 - a constant


def last_round(connection: sqlite3.Connection) -> int:
    """The number of the last round that wrote anything, 0 before the first."""
    found: int = connection.execute("SELECT coalesce(max(round), 0) FROM generated").fetchone()[0]
    return found
