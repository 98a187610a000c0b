"""Reserve, then settle: the statements that keep the spend under its caps, inside a transaction of the caller's.

Owns the invariant that spend never exceeds a cap: a call is counted at its worst in the transaction that hands it out,
and `accounts` is at any moment the sum of `calls`. A call that nobody settles goes on counting at its worst.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from askance.calls import Call, Charge, Pending, Reservation, Spend, SpendRow
from askance.errors import LedgerError
from askance.records import Coordinates, Outcome, Query

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from askance.calls import Limit, Order, Settlement
    from askance.records import Label

QUERY_COLUMNS = (
    'topic, partition, "offset", document_id, text, predicted, confidence, uncertainty, propensity, version, seed'
)
_TAKE = f"SELECT number, tries, bad_replies, {QUERY_COLUMNS} FROM queries WHERE status = 'pending' AND "  # noqa: S608 - constants
_FIRST = _TAKE + "ask_after = 0{condition} ORDER BY number LIMIT ?"
_AGAIN = _TAKE + "ask_after > 0 AND ask_after <= ?{condition} ORDER BY ask_after LIMIT ?"
_BY_COORDINATES = "topic = ? AND partition = ? AND \"offset\" = ? AND status = 'asked' AND call = ?"

_Row = tuple[int, float, int, Query]


def reserve(
    connection: sqlite3.Connection, order: Order, worst: Callable[[Sequence[Query]], Spend], condition: str = ""
) -> Reservation:
    """Mark queries asked, oldest first, in calls that are counted at their worst; stop before any cap is exceeded.

    `condition` is SQL (" AND …") that narrows what may be taken.
    """
    day = datetime.fromtimestamp(order.now, UTC).date().isoformat()
    periods = (("run", f"run {order.run}", order.caps.run), ("day", f"day {day}", order.caps.day))
    purse = _Purse(connection, [*periods, ("total", "total", order.caps.total)])
    calls: list[Call] = []
    taken: list[tuple[int, int]] = []
    capped: str | None = None
    for group in _grouped(_candidates(connection, order, condition), order):
        asked = tuple(Pending(query, tries, bad) for _, tries, bad, query in group)
        spend = worst([one.query for one in asked])
        capped = purse.take(spend)
        if capped:
            break
        number = connection.execute(
            "INSERT INTO calls (run, day, teacher, documents, calls, tokens, nanos) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " RETURNING number",
            (order.run, day, order.teacher, len(group), spend.calls, spend.tokens, spend.nanos),
        ).fetchone()[0]
        calls.append(Call(number, asked, spend))
        taken += [(number, query_number) for query_number, *_ in group]
    if calls:
        connection.executemany("UPDATE queries SET status = 'asked', call = ? WHERE number = ?", taken)
        purse.write()
    left = f"SELECT 1 FROM queries WHERE status = 'pending'{condition} LIMIT 1"  # noqa: S608 - ours
    waiting = connection.execute(left).fetchone() is not None
    return Reservation(tuple(calls), waiting, capped)


def settle(connection: sqlite3.Connection, settlement: Settlement, *, strict: bool = True) -> None:
    """Count a call at what it came to, write its labels down and give back what is to be asked again.

    A query that is not under way in this call is an error or, if not `strict`, left as it is.
    """
    row = connection.execute(
        "SELECT run, day, teacher, calls, tokens, nanos FROM calls WHERE number = ? AND status = 'open'",
        (settlement.call,),
    ).fetchone()
    if row is None:
        msg = f"the call {settlement.call} was not under way, so it cannot be settled"
        raise LedgerError(msg)
    run, day, teacher, *reserved = row
    charges = settlement.charges
    if charges is None:
        charges = (_as_reserved(teacher, Spend(*reserved)),)
    spent = sum((charge.spend for charge in charges), Spend())
    connection.execute(
        "UPDATE calls SET status = 'settled', calls = ?, tokens = ?, nanos = ?, error = ? WHERE number = ?",
        (spent.calls, spent.tokens, spent.nanos, settlement.error, settlement.call),
    )
    _charge(connection, settlement.call, charges)
    _adjust(connection, run, day, spent - Spend(*reserved))
    for label in settlement.labels:
        if not write_label(connection, label, settlement.call) and strict:
            raise LedgerError(_not_under_way(label.coordinates))
    for again in settlement.again:
        changed = connection.execute(
            f"UPDATE queries SET status = 'pending', call = NULL, ask_after = ?, tries = ?, bad_replies = ?"  # noqa: S608 - a constant
            f" WHERE {_BY_COORDINATES}",
            (again.ask_after, again.tries, again.bad_replies, *again.coordinates, settlement.call),
        ).rowcount
        if changed != 1 and strict:
            raise LedgerError(_not_under_way(again.coordinates))


def write_label(
    connection: sqlite3.Connection, label: Label, call: int | None = None, *, published: bool = False
) -> bool:
    """Whether the query was waiting for it: under way in this call or, if published elsewhere, pending too."""
    row = connection.execute(
        'SELECT number, status, call FROM queries WHERE topic = ? AND partition = ? AND "offset" = ?', label.coordinates
    ).fetchone()
    if row is None or row[1] not in ("asked", "pending") or (not published and row[1:] != ("asked", call)):
        return False
    answer = label.answer
    connection.execute(
        "INSERT INTO labels (query, outcome, label, raw, confidence, confidence_source, error, prompt_tokens,"
        " completion_tokens, rationale, teacher, latency_seconds, call, published)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        ),
    )
    connection.execute("UPDATE queries SET status = ? WHERE number = ?", (label.outcome, row[0]))
    return True


def release(connection: sqlite3.Connection, call: Call) -> None:
    """Undo a reservation that certainly was not sent: its queries are pending as before, and nothing was spent."""
    row = connection.execute(
        "SELECT run, day FROM calls WHERE number = ? AND status = 'open'", (call.number,)
    ).fetchone()
    if row is None:
        return
    connection.execute("DELETE FROM calls WHERE number = ?", (call.number,))
    run, day = row
    _adjust(connection, run, day, Spend() - call.reserved)
    connection.execute(
        "UPDATE queries SET status = 'pending', call = NULL WHERE call = ? AND status = 'asked'", (call.number,)
    )


def abandon(connection: sqlite3.Connection) -> int:
    """Calls that a dead process left open were perhaps made: they stay spent, and their queries are lost."""
    for number, teacher, *reserved in connection.execute(
        "SELECT number, teacher, calls, tokens, nanos FROM calls WHERE status = 'open'"
    ).fetchall():
        _charge(connection, number, (_as_reserved(teacher, Spend(*reserved)),))
    connection.execute(
        "UPDATE calls SET status = 'lost', error = 'the process died while asking' WHERE status = 'open'"
    )
    connection.execute(
        "INSERT INTO labels (query, outcome, error, call) SELECT number, ?, 'the process died while asking', call"
        " FROM queries WHERE status = 'asked'",
        (Outcome.LOST,),
    )
    return connection.execute("UPDATE queries SET status = ? WHERE status = 'asked'", (Outcome.LOST,)).rowcount


_BY_CALL = (
    "SELECT {key}, sum(charges.calls), sum(calls.documents), sum(charges.prompt_tokens),"
    " sum(charges.completion_tokens), sum(charges.nanos)"
    " FROM charges JOIN calls ON calls.number = charges.call GROUP BY 1 ORDER BY 1"
)
# A call about several documents is divided evenly among them. A document that was asked in several calls was labelled
# by the last; the part of a call that labelled no document is a row of its own.
_BY_DOCUMENT = """
WITH parts AS (
    SELECT labels.query AS query, labels.label AS label, labels.outcome AS outcome, charges.calls AS calls,
        charges.prompt_tokens AS prompt, charges.completion_tokens AS completion, charges.nanos AS nanos,
        1.0 / calls.documents AS part
    FROM charges JOIN calls ON calls.number = charges.call JOIN labels ON labels.call = calls.number
    UNION ALL
    SELECT NULL, NULL, NULL, charges.calls, charges.prompt_tokens, charges.completion_tokens, charges.nanos,
        1.0 - (SELECT count(*) FROM labels WHERE labels.call = calls.number) * 1.0 / calls.documents
    FROM charges JOIN calls ON calls.number = charges.call
)
SELECT CASE WHEN query IS NULL THEN '(asked again)' ELSE {key} END, sum(parts.calls * part), count(query),
    sum(prompt * part), sum(completion * part), sum(nanos * part)
FROM parts LEFT JOIN queries ON queries.number = query
WHERE part > 1e-9 GROUP BY 1 ORDER BY 6 DESC, 1
"""
_REPORTS = {
    "day": _BY_CALL.format(key="calls.day"),
    "teacher": _BY_CALL.format(key="charges.teacher"),
    "label": _BY_DOCUMENT.format(key="coalesce(label, '(' || outcome || ')')"),
    "version": _BY_DOCUMENT.format(key="coalesce(queries.version, '(no student)')"),
}


def report(connection: sqlite3.Connection, by: str) -> list[SpendRow]:
    """What was spent by `day`, `teacher`, `label` or `version`; raises `ValueError` for anything else."""
    if by not in _REPORTS:
        msg = f"the spend is known by {', '.join(_REPORTS)}, not by {by!r}"
        raise ValueError(msg)
    return [SpendRow(str(key), *(round(value) for value in rest)) for key, *rest in connection.execute(_REPORTS[by])]


def spent(connection: sqlite3.Connection, period: str) -> Spend:
    """What counts against the cap of a period; see `accounts`."""
    row = connection.execute("SELECT calls, tokens, nanos FROM accounts WHERE period = ?", (period,)).fetchone()
    return Spend(*row) if row else Spend()


class _Purse:
    """The accounts of the periods a reservation counts against, added up here and written once."""

    def __init__(self, connection: sqlite3.Connection, periods: Sequence[tuple[str, str, Limit]]) -> None:
        self._connection = connection
        self._periods = [(name, key, limit, spent(connection, key)) for name, key, limit in periods]
        self._taken = Spend()

    def take(self, spend: Spend) -> str | None:
        """Take it if every cap allows; else say which does not."""
        taken = self._taken + spend
        for name, _, limit, before in self._periods:
            kind = limit.exceeded_by(before + taken)
            if kind:
                return f"spend.{name}_{kind}"
        self._taken = taken
        return None

    def write(self) -> None:
        _add(self._connection, [key for _, key, _, _ in self._periods], self._taken)


def _candidates(connection: sqlite3.Connection, order: Order, condition: str) -> list[_Row]:
    most = order.calls * order.documents_per_call
    retries = min(order.calls, order.retries)
    rows = connection.execute(_FIRST.format(condition=condition), (most,)).fetchall()
    if retries:
        rows += connection.execute(_AGAIN.format(condition=condition), (order.now, retries)).fetchall()
    return [
        (number, tries, bad, Query(Coordinates(topic, partition, offset), *rest))
        for number, tries, bad, topic, partition, offset, *rest in sorted(rows, key=lambda row: row[0])[:most]
    ]


def _grouped(rows: list[_Row], order: Order) -> Iterable[list[_Row]]:
    """Into calls; what was asked before is asked alone, so that one bad document spoils no other's second try."""
    first = [row for row in rows if not (row[1] or row[2])]
    groups = [
        first[start : start + order.documents_per_call] for start in range(0, len(first), order.documents_per_call)
    ]
    groups += [[row] for row in rows if row[1] or row[2]]
    return sorted(groups, key=lambda group: group[0][0])[: order.calls]


def _charge(connection: sqlite3.Connection, call: int, charges: Iterable[Charge]) -> None:
    connection.executemany(
        "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                call,
                charge.teacher,
                charge.calls,
                charge.prompt_tokens,
                charge.cached_tokens,
                charge.completion_tokens,
                charge.nanos,
            )
            for charge in charges
        ],
    )


def _adjust(connection: sqlite3.Connection, run: int, day: str, change: Spend) -> None:
    _add(connection, [f"run {run}", f"day {day}", "total"], change)


def _add(connection: sqlite3.Connection, periods: Iterable[str], change: Spend) -> None:
    connection.executemany(
        "INSERT INTO accounts VALUES (?, ?, ?, ?) ON CONFLICT (period) DO UPDATE SET calls = calls + excluded.calls,"
        " tokens = tokens + excluded.tokens, nanos = nanos + excluded.nanos",
        [(period, change.calls, change.tokens, change.nanos) for period in periods],
    )


def _as_reserved(teacher: str, reserved: Spend) -> Charge:
    # Which of the tokens were the prompt's is unknown; nearly all are.
    return Charge(teacher, reserved.calls, prompt_tokens=reserved.tokens, nanos=reserved.nanos)


def _not_under_way(coordinates: Coordinates) -> str:
    return f"the query {coordinates} was not under way, so its label cannot be settled"
