"""Reserve, then settle: the statements that keep the spend under its caps, inside a transaction of the caller's.

Owns the invariant that spend never exceeds a cap: a call is counted at its worst in the transaction that hands it out,
and `accounts` is at any moment the sum of `calls`. A call that nobody settles goes on counting at its worst.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from askance.calls import Call, Pending, Reservation, Spend
from askance.errors import NotUnderWayError
from askance.ledger.accounts import Purse, adjust, as_reserved, charge
from askance.ledger.people import take
from askance.ledger.queries import QUERY_COLUMNS
from askance.ledger.reuse import Sieve, end_twins, let_go, remember
from askance.records import HUMAN, Coordinates, HumanAnswer, Outcome, Query

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from askance.calls import Limit, Order, Settlement
    from askance.ledger.reuse import Row
    from askance.records import Label

_TAKE = (
    f"SELECT number, tries, bad_replies, {QUERY_COLUMNS} FROM queries"  # noqa: S608 - constants
    " WHERE status = 'pending' AND twin IS NULL AND "
)
_FIRST = _TAKE + "ask_after = 0 AND number > ?{condition} ORDER BY number LIMIT ?"
_AGAIN = _TAKE + "ask_after > 0 AND ask_after <= ?{condition} ORDER BY ask_after LIMIT ?"
_BY_KEY = 'topic = ? AND partition = ? AND "offset" = ?'
_BY_COORDINATES = f"{_BY_KEY} AND status = 'asked' AND call = ?"
# Copies make room for others to be asked: so often at most is the ledger searched for those in one reservation.
_ROUNDS = 8
_WINDOW = 250


def reserve(
    connection: sqlite3.Connection,
    order: Order,
    worst: Callable[[Sequence[Query]], Spend],
    condition: str = "",
    sieve: Sieve | None = None,
) -> Reservation:
    """Mark queries asked, oldest first, in calls that are counted at their worst; stop before any cap is exceeded.

    `condition` is SQL (" AND …") that narrows what may be taken. What need not be paid for, the `sieve` takes out.
    """
    day = day_of(order.now)
    purse = Purse(connection, periods_of(order))
    calls: list[Call] = []
    taken: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    capped: str | None = None
    rows, copied = _candidates(connection, order, condition, sieve or Sieve())
    groups = _grouped(rows, order)
    # An audit waits until nothing else does, and is asked alone, as it would be by anyone who doubts an answer.
    audits = [] if groups or order.batch is not None else [[row] for row in _audits(connection, order)]
    for is_audit, group in [(False, group) for group in groups] + [(True, group) for group in audits]:
        asked = tuple(Pending(query, tries, bad) for _, tries, bad, query in group)
        spend = worst([one.query for one in asked])
        capped = purse.take(spend)
        if capped:
            break
        number = connection.execute(
            "INSERT INTO calls (run, day, teacher, documents, calls, tokens, nanos, key, batch)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
            (order.run, day, order.teacher, len(group), spend.calls, spend.tokens, spend.nanos, order.key, order.batch),
        ).fetchone()[0]
        calls.append(Call(number, asked, spend, is_audit))
        taken[is_audit].extend((number, query_number) for query_number, *_ in group)
    if calls:
        connection.executemany("UPDATE queries SET status = 'asked', call = ? WHERE number = ?", taken[False])
        connection.executemany("UPDATE audits SET status = 'asked', call = ? WHERE query = ?", taken[True])
        purse.write()
    waiting = any(
        connection.execute(f"SELECT 1 FROM {left} LIMIT 1").fetchone()  # noqa: S608 - ours
        for left in (f"queries WHERE status = 'pending'{condition}", "audits WHERE status = 'pending'")
    )
    return Reservation(tuple(calls), waiting, capped, copied)


def day_of(now: float) -> str:
    """The day (UTC) of a Unix time, as periods name it."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def periods_of(order: Order) -> list[tuple[str, str, Limit]]:
    """The periods an order counts against: their name in a setting, their key in `accounts`, their limit."""
    return [
        ("run", f"run {order.run}", order.caps.run),
        ("day", f"day {day_of(order.now)}", order.caps.day),
        ("total", "total", order.caps.total),
    ]


def settle(connection: sqlite3.Connection, settlement: Settlement, *, strict: bool = True) -> int:
    """Count a call at what it came to, write its labels down and give back what is to be asked again.

    Returns how many queries that waited for these labels have ended with them. A query that is not
    under way in this call is an error or, if not `strict`, left as it is.
    """
    row = connection.execute(
        "SELECT run, day, purpose, teacher, calls, tokens, nanos FROM calls WHERE number = ? AND status = 'open'",
        (settlement.call,),
    ).fetchone()
    if row is None:
        msg = f"the call {settlement.call} was not under way, so it cannot be settled"
        raise NotUnderWayError(msg)
    run, day, purpose, teacher, *reserved = row
    charges = settlement.charges
    if charges is None:
        charges = (as_reserved(teacher, Spend(*reserved)),)
    spent = sum((one.spend for one in charges), Spend())
    connection.execute(
        "UPDATE calls SET status = 'settled', calls = ?, tokens = ?, nanos = ?, error = ? WHERE number = ?",
        (spent.calls, spent.tokens, spent.nanos, settlement.error, settlement.call),
    )
    charge(connection, settlement.call, charges)
    adjust(connection, run, day, spent - Spend(*reserved), purpose)
    copied = 0
    for label in settlement.labels:
        ended = write_label(connection, label, settlement.call, audit_share=settlement.audit_share)
        if ended is None and strict:
            raise NotUnderWayError(_not_under_way(label.coordinates))
        copied += ended or 0
    for again in settlement.again:
        changed = connection.execute(
            f"UPDATE queries SET status = 'pending', call = NULL, ask_after = ?, tries = ?, bad_replies = ?"  # noqa: S608 - a constant
            f" WHERE {_BY_COORDINATES}",
            (again.ask_after, again.tries, again.bad_replies, *again.coordinates, settlement.call),
        ).rowcount
        if changed != 1 and strict:
            raise NotUnderWayError(_not_under_way(again.coordinates))
        if not strict and (number := number_of(connection, again.coordinates)) is not None:
            # Perhaps it is another worker's to ask again: whoever waits for it looks for a twin anew.
            let_go(connection, number)
    connection.executemany(
        f"INSERT INTO audits (query) SELECT number FROM queries WHERE {_BY_KEY} ON CONFLICT DO NOTHING",  # noqa: S608 - a constant
        settlement.audits,
    )
    if settlement.audited:
        second, error = settlement.audited
        connection.execute(
            "UPDATE audits SET status = ?, label = ?, error = ? WHERE call = ? AND status = 'asked'",
            ("failed" if second is None else "answered", second, error, settlement.call),
        )
    return copied


def write_label(
    connection: sqlite3.Connection,
    label: Label,
    call: int | None = None,
    *,
    published: bool = False,
    audit_share: float = 0.0,
) -> int | None:
    """How many other queries ended with it; None when its own was not waiting for it.

    That one has to be under way in this call or, if the label was published elsewhere, it may be pending too.
    """
    row = connection.execute(
        'SELECT number, status, call FROM queries WHERE topic = ? AND partition = ? AND "offset" = ?', label.coordinates
    ).fetchone()
    if published and label.teacher == HUMAN and row is not None and row[1] not in ("asked", "pending"):
        text, teacher, is_published = connection.execute(
            "SELECT text, teacher, published FROM queries JOIN labels ON query = queries.number"
            " WHERE queries.number = ?",
            row[:1],
        ).fetchone()
        if teacher == HUMAN and not is_published:
            return None  # what people said here is newer: it is still to be published
        take(connection, HumanAnswer(label.coordinates, text, label.answer.raw or "", label.label))
        return None
    if row is None or row[1] not in ("asked", "pending") or (not published and row[1:] != ("asked", call)):
        return None
    answer = label.answer
    connection.execute(
        "INSERT INTO labels (query, outcome, label, raw, confidence, confidence_source, error, prompt_tokens,"
        " completion_tokens, rationale, teacher, latency_seconds, call, published, key, twin, likeness)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
        " coalesce(?, (SELECT key FROM calls WHERE number = ?)), ?, ?)",
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
            answer.rationale,
            label.teacher,
            label.latency_seconds,
            call,
            published,
            label.key,
            call,
            None if label.twin is None else number_of(connection, label.twin.coordinates) or row[0],
            None if label.twin is None else label.twin.likeness,
        ),
    )
    connection.execute("UPDATE queries SET status = ?, twin = NULL WHERE number = ?", (label.outcome, row[0]))
    if (first := answer.overruled) is not None:
        connection.execute(
            "INSERT OR REPLACE INTO escalations VALUES (?, ?, ?, ?, ?)",
            (row[0], first.teacher or "", first.raw, first.confidence, first.confidence_source),
        )
    if published and label.key is not None and label.twin is None:
        remember(connection, row[0])
    return end_twins(connection, row[0], audit_share)


def number_of(connection: sqlite3.Connection, coordinates: Coordinates) -> int | None:
    """The query's number, None when it is not known here."""
    row = connection.execute(f"SELECT number FROM queries WHERE {_BY_KEY}", coordinates).fetchone()  # noqa: S608 - a constant
    return row[0] if row else None


def release(connection: sqlite3.Connection, call: Call) -> None:
    """Undo a reservation that certainly was not sent: its queries are pending as before, and nothing was spent."""
    row = connection.execute(
        "SELECT run, day FROM calls WHERE number = ? AND status = 'open'", (call.number,)
    ).fetchone()
    if row is None:
        return
    connection.execute("DELETE FROM calls WHERE number = ?", (call.number,))
    run, day = row
    adjust(connection, run, day, Spend() - call.reserved)
    connection.execute(
        "UPDATE queries SET status = 'pending', call = NULL WHERE call = ? AND status = 'asked'", (call.number,)
    )
    connection.execute("UPDATE audits SET status = 'pending' WHERE call = ? AND status = 'asked'", (call.number,))


def abandon(connection: sqlite3.Connection) -> int:
    """Calls that a dead process left open were perhaps made: they stay spent, and their queries are lost.

    A batch outlives the process that made it: its calls stay open.
    """
    lose_calls(connection, "label")
    connection.execute("UPDATE audits SET status = 'lost' WHERE status = 'asked'")
    orphans = connection.execute(
        "SELECT queries.number, call FROM queries JOIN calls ON calls.number = call"
        " WHERE queries.status = 'asked' AND batch IS NULL"
    ).fetchall()
    connection.executemany(
        "INSERT INTO labels (query, outcome, error, call) VALUES (?, ?, 'the process died while asking', ?)",
        [(query, Outcome.LOST, call) for query, call in orphans],
    )
    connection.executemany(
        "UPDATE queries SET status = ? WHERE number = ?", [(Outcome.LOST, query) for query, _ in orphans]
    )
    for query, _ in orphans:
        end_twins(connection, query, 0.0)
    return len(orphans)


def lose_calls(connection: sqlite3.Connection, purpose: str) -> None:
    """Of a purpose, whose one worker is known to be dead: they count at their worst for ever."""
    for number, teacher, *reserved in connection.execute(
        "SELECT number, teacher, calls, tokens, nanos FROM calls WHERE status = 'open' AND purpose = ?"
        " AND batch IS NULL",
        (purpose,),
    ).fetchall():
        charge(connection, number, (as_reserved(teacher, Spend(*reserved)),))
    connection.execute(
        "UPDATE calls SET status = 'lost', error = 'the process died while asking'"
        " WHERE status = 'open' AND purpose = ? AND batch IS NULL",
        (purpose,),
    )


def _candidates(connection: sqlite3.Connection, order: Order, condition: str, sieve: Sieve) -> tuple[list[Row], int]:
    """What may be asked now, oldest first, and how many were found that need not be."""
    most = order.calls * order.documents_per_call
    retries = min(order.calls, order.retries)
    rows: list[Row] = []
    if retries:
        found = connection.execute(_AGAIN.format(condition=condition), (order.now, retries))
        rows = [_row(*each) for each in found.fetchall()]
    copied, last = 0, -1
    for n in range(_ROUNDS):
        found = connection.execute(_FIRST.format(condition=condition), (last, most if n == 0 else max(most, _WINDOW)))
        first = [_row(*each) for each in found.fetchall()]
        fresh, ended = sieve.sift(connection, order, first, condition)
        rows, copied = rows + fresh, copied + ended
        if len(fresh) == len(first) or len(rows) >= most:
            break
        last = first[-1][0]
    return sorted(rows, key=lambda row: row[0])[:most], copied


def _row(number: int, tries: float, bad_replies: int, topic: str, partition: int, offset: int, *rest: Any) -> Row:
    return number, tries, bad_replies, Query(Coordinates(topic, partition, offset), *rest)


def _audits(connection: sqlite3.Connection, order: Order) -> list[Row]:
    rows = connection.execute(
        f"SELECT number, 0.0, 0, {QUERY_COLUMNS} FROM audits JOIN queries ON queries.number = audits.query"  # noqa: S608 - a constant
        " WHERE audits.status = 'pending' ORDER BY query LIMIT ?",
        (order.calls,),
    )
    return [_row(*row) for row in rows]


def _grouped(rows: list[Row], order: Order) -> list[list[Row]]:
    """Into calls; what was asked before is asked alone, so that one bad document spoils no other's second try."""
    first = [row for row in rows if not (row[1] or row[2])]
    groups = [
        first[start : start + order.documents_per_call] for start in range(0, len(first), order.documents_per_call)
    ]
    groups += [[row] for row in rows if row[1] or row[2]]
    return sorted(groups, key=lambda group: group[0][0])[: order.calls]


def _not_under_way(coordinates: Coordinates) -> str:
    return f"the query {coordinates} was not under way, so its label cannot be settled"
