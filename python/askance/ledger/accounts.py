"""The accounts: what was spent and reserved in each period, and whether its cap allows more, inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from askance.calls import Charge, Spend

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from askance.calls import Limit


def spent(connection: sqlite3.Connection, period: str) -> Spend:
    """What counts against the cap of a period; see `accounts`. `run` alone is the newest run."""
    if period == "run":
        newest = connection.execute("SELECT max(number) FROM runs").fetchone()[0]
        period = f"run {newest}"
    row = connection.execute("SELECT calls, tokens, nanos FROM accounts WHERE period = ?", (period,)).fetchone()
    return Spend(*row) if row else Spend()


class Purse:
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
        """Count what was taken."""
        _add(self._connection, [key for _, key, _, _ in self._periods], self._taken)


def charge(connection: sqlite3.Connection, call: int, charges: Iterable[Charge]) -> None:
    """Write down what a call came to, by teacher."""
    connection.executemany(
        "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                call,
                one.teacher,
                one.calls,
                one.prompt_tokens,
                one.cached_tokens,
                one.completion_tokens,
                one.nanos,
            )
            for one in charges
        ],
    )


def adjust(connection: sqlite3.Connection, run: int, day: str, change: Spend, purpose: str = "label") -> None:
    """Correct the accounts of every period that a call counts in; one that is not for labels has its own, too."""
    own = [] if purpose == "label" else [purpose]
    _add(connection, [f"run {run}", f"day {day}", "total", *own], change)


def as_reserved(teacher: str, reserved: Spend) -> Charge:
    """A call of which nobody knows what it came to: what was reserved for it."""
    # Which of the tokens were the prompt's is unknown; nearly all are.
    return Charge(teacher, reserved.calls, prompt_tokens=reserved.tokens, nanos=reserved.nanos)


def _add(connection: sqlite3.Connection, periods: Iterable[str], change: Spend) -> None:
    connection.executemany(
        "INSERT INTO accounts VALUES (?, ?, ?, ?) ON CONFLICT (period) DO UPDATE SET calls = calls + excluded.calls,"
        " tokens = tokens + excluded.tokens, nanos = nanos + excluded.nanos",
        [(period, change.calls, change.tokens, change.nanos) for period in periods],
    )
