"""The SQLite ledger.

Owns the invariant that no query is paid for twice unawares: `reserve` is on the disk before anyone asks, a reservation
that a crash orphaned ends as `lost` and spent, and an ended query never becomes pending again.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from askance.calls import Reservation, TeacherState
from askance.errors import LedgerError
from askance.ledger import accounts, batches, generated, people, reports, spending
from askance.ledger.names import Names
from askance.ledger.queries import add_queries, count_awaited, due_answers, stand
from askance.ledger.reuse import Sieve
from askance.ledger.schema import connect, transaction
from askance.ledger.tallies import BLOCK, advance, read_tallies
from askance.records import Coordinates, Judged, LabelCounts, Labelled, Outcome, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from askance.augmentation import Generated
    from askance.calls import Audit, Batch, BatchStatus, Call, Limit, Order, Settlement, Spend, SpendRow
    from askance.records import HumanAnswer, Label, Position, Query, Question, Taken, Tally


class SqliteLedger:
    """Implements `protocols.Ledger` in one file; any number of processes may have it open.

    Its methods block and may be called from any thread, one at a time.
    """

    block = BLOCK

    def __init__(self, path: Path, *, renamed: Mapping[str, str] | None = None) -> None:
        """`renamed` is what former labels are called now: whatever is read has the present names. The rows stay."""
        self._path = path
        self._named = Names(renamed or {})
        self._connection = connect(path)
        self._lock = threading.Lock()
        self._sieve = Sieve()

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

    def commit(
        self,
        queries: Sequence[Query],
        positions: Sequence[Position],
        bookmark: str | None,
        standings: Sequence[tuple[Coordinates, str]] = (),
    ) -> None:
        """Store queries and advance positions in one transaction; a query already stored is left as it is.

        `standings` says what was sent of `due_answers`. `bookmark` is the stream adapter's own note, kept beside every
        position given here.
        """
        with self._writing() as connection:
            add_queries(connection, queries)
            stand(connection, standings)
            advance(connection, positions, bookmark)

    def due_answers(self, now: float, limit: int) -> list[tuple[Query, Label | None]]:
        """Of queries that a contract waits for: those that have ended, and held ones whose deadline (Unix) is past."""
        with self._reading() as connection:
            return due_answers(connection, now, limit)

    def awaited(self) -> tuple[int, int]:
        """How many queries are held, and how many a provisional prediction waits for."""
        with self._reading() as connection:
            return count_awaited(connection)

    def tallies(self, *, shadow: bool = False) -> list[Tally]:
        """What was counted of all documents, by block of offsets and version; or of those scored by a shadow."""
        with self._reading() as connection:
            return self._named.tallies(read_tallies(connection, shadow=shadow))

    def judged(
        self, *, since: int = 0, newest: int | None = None, versions: Sequence[str] | None = None
    ) -> list[Judged]:
        """Every query from offset `since` on, or only the `newest` so many, with how it ended, oldest first.

        With `versions` only those that one of them has answered, or scored as a shadow.
        """
        these = ", ".join("?" * len(versions or ()))
        chosen = "" if versions is None else f" AND (queries.version IN ({these}) OR shadow_version IN ({these}))"
        with self._reading() as connection:
            rows = connection.execute(
                'SELECT topic, partition, "offset", document_id, predicted, version, propensity, queries.confidence,'  # noqa: S608 - marks only
                " status, label, labels.likeness, threshold, shadow_version, shadow_predicted, shadow_confidence"
                " FROM queries LEFT JOIN labels ON labels.query = queries.number"
                f' WHERE "offset" >= ?{chosen} ORDER BY queries.number DESC LIMIT ?',
                (since, *(versions or ()), *(versions or ()), -1 if newest is None else newest),
            ).fetchall()
        rows.reverse()
        return self._named.judged(
            Judged(Coordinates(topic, partition, offset), *rest) for topic, partition, offset, *rest in rows
        )

    def texts(self, topic: str, partition: int, offsets: range) -> dict[int, str]:
        """Of the queries with these offsets the texts, by offset."""
        with self._reading() as connection:
            rows = connection.execute(
                'SELECT "offset", text FROM queries WHERE topic = ? AND partition = ? AND "offset" BETWEEN ? AND ?',
                (topic, partition, offsets.start, offsets.stop - 1),
            )
            return dict(rows.fetchall())

    def progress(self) -> dict[tuple[str, int], Progress]:
        """By (topic, partition): how far the stream is done."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT topic, partition, next_offset, documents, accepted, dead_letters, bookmark FROM progress"
            )
            return {(topic, partition): Progress(*rest) for topic, partition, *rest in rows}

    def begin_run(self) -> int:
        """The number of a new run, for the caps on one."""
        with self._writing() as connection:
            number: int = connection.execute("INSERT INTO runs DEFAULT VALUES RETURNING number").fetchone()[0]
            return number

    def latest_run(self) -> int:
        """The number of the run that began last; a new one where there is none."""
        with self._reading() as connection:
            number = connection.execute("SELECT max(number) FROM runs").fetchone()[0]
        return self.begin_run() if number is None else int(number)

    def reserve(self, order: Order, worst: Callable[[Sequence[Query]], Spend]) -> Reservation:
        """Take pending queries, oldest first, in calls counted at their worst, before anyone asks.

        No call is handed out that would take a cap of the order's over its limit if it came to the worst. A query like
        one that was asked before, or is under way, is not asked: see `askance.ledger.reuse`.
        """
        with self._reading() as connection:
            # Most polls find nothing: do not take the write lock for them.
            pending = f"SELECT 1 FROM queries WHERE status = 'pending' AND twin IS NULL{self._condition()}"  # noqa: S608 - a constant
            pending += " UNION ALL SELECT 1 FROM audits WHERE status = 'pending' LIMIT 1"
            if connection.execute(pending).fetchone() is None:
                return Reservation()
        with self._writing() as connection:
            return spending.reserve(connection, order, worst, self._condition(), self._sieve)

    def _condition(self) -> str:
        """Which pending queries may be taken, as SQL that goes on after a condition."""
        return ""

    def release(self, calls: Sequence[Call]) -> None:
        """Undo reservations that were certainly not sent."""
        with self._writing() as connection:
            for call in calls:
                spending.release(connection, call)

    def settle(self, settlements: Sequence[Settlement]) -> int:
        """Write down how calls ended, all or none; a call or query that is not under way is a `NotUnderWayError`.

        Returns how many queries that waited for these answers have ended with them.
        """
        with self._writing() as connection:
            return sum(spending.settle(connection, settlement) for settlement in settlements)

    def abandon_orphans(self) -> int:
        """Mark every query a dead process left asked as lost, and its call as spent; returns how many queries."""
        with self._writing() as connection:
            return spending.abandon(connection)

    def begin_batch(self, token: str, teacher: str) -> int:
        """The number of a new batch; `token` is what the provider's batch will be found by."""
        with self._writing() as connection:
            return batches.begin(connection, token, teacher)

    def batches(self) -> list[Batch]:
        """Every batch, oldest first."""
        with self._reading() as connection:
            return batches.read(connection)

    def batch_calls(self, number: int) -> list[Call]:
        """The calls of a batch that are not settled yet."""
        with self._reading() as connection:
            return batches.calls(connection, number)

    def update_batch(
        self, number: int, status: BatchStatus, *, identifier: str | None = None, error: str | None = None
    ) -> None:
        """Keep what is known of a batch now."""
        with self._writing() as connection:
            batches.update(connection, number, status, identifier, error)

    def spent(self, period: str = "total") -> Spend:
        """What counts against the caps in a period: `total`, `day 2026-11-22`, `run 7`, or `run` for the newest."""
        with self._reading() as connection:
            return accounts.spent(connection, period)

    def spend_report(self, by: str) -> list[SpendRow]:
        """What was spent by `day`, `teacher`, `label` or `version`."""
        with self._reading() as connection:
            return reports.spend(connection, by)

    def audits(self) -> list[Audit]:
        """Every label that was asked for again, with both answers."""
        with self._reading() as connection:
            return self._named.audits(reports.audits(connection))

    def evidence(self, teacher: str) -> list[Audit]:
        """Every answer of a cascade's first teacher that the second was asked for too."""
        with self._reading() as connection:
            return self._named.audits(reports.evidence(connection, teacher))

    def questions(self, *, below: float | None, limit: int) -> list[Question]:
        """Queries that people may answer: without a label or, with `below`, with one that is less sure."""
        with self._reading() as connection:
            return people.questions(connection, below, limit)

    def take(self, answers: Sequence[HumanAnswer]) -> list[Taken]:
        """Write down what people said, all or none; what was done with each."""
        with self._writing() as connection:
            return [people.take(connection, answer) for answer in answers]

    def unpaid(self) -> dict[str, int]:
        """How many labels cost nothing, by why."""
        with self._reading() as connection:
            return reports.unpaid(connection)

    def tell(self, state: TeacherState, until: float) -> None:
        """Keep for the gate what the teacher's state is, until that Unix time."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO teacher_state VALUES (0, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, until = excluded.until",
                (state, until),
            )

    def teacher_state(self, now: float) -> TeacherState:
        """What the gate was told last, `asking` when that is old."""
        with self._reading() as connection:
            row = connection.execute("SELECT state FROM teacher_state WHERE until > ?", (now,)).fetchone()
            return TeacherState(row[0]) if row else TeacherState.ASKING

    def begin_call(self, order: Order, worst: Spend, limit: Limit, documents: int) -> tuple[int | None, str | None]:
        """Reserve one call for the augmentation; its number, or which cap forbids it."""
        with self._writing() as connection:
            return generated.begin_call(connection, order, worst, limit, documents)

    def keep_generated(
        self, settlement: Settlement, texts: Sequence[str], *, wanted: str, round_: int, teacher: str
    ) -> list[Generated]:
        """Settle a call that wrote documents, and store those that are new, in one transaction."""
        with self._writing() as connection:
            spending.settle(connection, settlement)
            return generated.keep(connection, settlement.call, texts, wanted=wanted, round_=round_, teacher=teacher)

    def check_generated(self, settlement: Settlement, number: int, label: str | None, confidence: float | None) -> None:
        """Settle a call that labelled a generated document, and write down what it said, in one transaction."""
        with self._writing() as connection:
            spending.settle(connection, settlement)
            generated.check(connection, settlement.call, number, label, confidence)

    def lose_augmentation(self) -> None:
        """Give up what a process that died left behind: its calls count at their worst, its round for nothing."""
        with self._writing() as connection:
            spending.lose_calls(connection, generated.PURPOSE)
            generated.end_rounds(connection, None)

    def end_rounds(self, best: int) -> None:
        """Keep what rounds up to the best one confirmed; what later ones wrote is never trained on again."""
        with self._writing() as connection:
            generated.end_rounds(connection, best)

    def generated(self) -> list[Generated]:
        """What the teacher wrote, oldest first."""
        with self._reading() as connection:
            return self._named.generated(generated.read(connection))

    def last_round(self) -> int:
        """The last augmentation round that wrote anything, 0 before the first."""
        with self._reading() as connection:
            return generated.last_round(connection)

    def counts(self) -> LabelCounts:
        """How many queries stand where."""
        with self._reading() as connection:
            return LabelCounts(**dict(connection.execute("SELECT status, count(*) FROM queries GROUP BY status")))

    def labelled(self, newest: int | None = None) -> list[Labelled]:
        """Every query with a valid label, or only the `newest` so many, in the order the labels came."""
        with self._reading() as connection:
            rows = connection.execute(
                'SELECT topic, partition, "offset", text, label, predicted, version, propensity, labels.confidence,'
                " uncertainty FROM labels JOIN queries ON queries.number = labels.query"
                " WHERE outcome = ? ORDER BY labels.number DESC LIMIT ?",
                (Outcome.LABELLED, -1 if newest is None else newest),
            ).fetchall()
        rows.reverse()
        return self._named.labelled(
            Labelled(Coordinates(topic, partition, offset), *rest) for topic, partition, offset, *rest in rows
        )
