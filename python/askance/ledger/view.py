"""The ledger as a view of the queries, labels and tallies topics: what Kafka adds to it.

Rows and the offsets they were read up to are one transaction, so a restart goes on where the rows end, and a lost file
is rebuilt by reading the topics again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from askance.ledger import reuse, spending
from askance.ledger.queries import SETTLED, add_queries, settled_of
from askance.ledger.sqlite import SqliteLedger
from askance.ledger.tallies import count_once
from askance.records import HUMAN

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from askance.calls import Order, Reservation, Settlement, Spend
    from askance.records import Position, Query, Settled


class ViewLedger(SqliteLedger):
    """A `SqliteLedger` that is filled from topics and whose own labels wait to be published.

    A lane is a partition of the queries topic; a query's lane is its document's partition modulo `lanes`, and its
    label goes to the same partition of the labels topic.
    """

    lanes: int = 1
    owned: frozenset[int] = frozenset()
    """The lanes whose queries `reserve` may take: those the group has assigned to this worker, once caught up."""
    _seen: frozenset[int] | None = None
    """The lanes that were owned at the last reservation."""

    def offsets(self) -> dict[tuple[str, int], int]:
        """By (topic, partition): the next offset to read."""
        return {key: progress.next_offset for key, progress in self.progress().items()}

    def ingest(
        self,
        queries: Sequence[Query],
        settled: Sequence[Settled],
        offsets: Mapping[tuple[str, int], int],
        counted: Sequence[Position] = (),
    ) -> None:
        """Store what the topics say and how far they were read, in one transaction; what is known already is left.

        What has ended on the topic has ended here, and is not published again.
        """
        with self._writing() as connection:
            add_queries(connection, (*queries, *(each.query for each in settled)))
            for each in settled:
                spending.write_label(connection, each.label, published=True)
            self._mark_published(connection, settled)
            count_once(connection, counted)
            connection.executemany(
                "INSERT INTO progress VALUES (?, ?, ?, 0, 0, 0, NULL)"
                " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
                [(*key, offset) for key, offset in offsets.items()],
            )

    def reserve(self, order: Order, worst: Callable[[Sequence[Query]], Spend]) -> Reservation:
        """Like `SqliteLedger.reserve`, of the owned lanes only, and with their part of the caps.

        Workers that share the lanes share the caps so: together they spend no more than the whole, for as long as the
        lanes stay where they are. Whoever takes a lane over has its part from then on; what its former owner had spent
        counts in that one's ledger, not in this.
        """
        owned = self.owned
        if owned != self._seen:
            with self._writing() as connection:
                reuse.let_go_of_others(connection, self._condition())
            self._seen = owned
        caps = order.caps.part(len(owned), self.lanes)
        calls = order.calls if owned else 0
        return super().reserve(msgspec.structs.replace(order, calls=calls, caps=caps), worst)

    def _condition(self) -> str:
        """Of the owned lanes only."""
        lanes = ", ".join(str(int(lane)) for lane in sorted(self.owned)) or "-1"
        return f" AND partition % {int(self.lanes)} IN ({lanes})"

    def settle(self, settlements: Sequence[Settlement]) -> int:
        """Like `SqliteLedger.settle`, but a query that has ended on the topic meanwhile is left as it is."""
        with self._writing() as connection:
            return sum(spending.settle(connection, settlement, strict=False) for settlement in settlements)

    def unpublished(self, lane: int, limit: int) -> list[Settled]:
        """What has ended here of a lane and is not on the topic yet, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                f"{SETTLED} WHERE labels.published = 0 AND queries.partition % ? = ? ORDER BY labels.number LIMIT ?",
                (self.lanes, lane, limit),
            ).fetchall()
        return [settled_of(row) for row in rows]

    def waiting(self) -> dict[int, int]:
        """By lane: how many queries have not ended yet, or have and are not on the labels topic yet."""
        with self._reading() as connection:
            return dict(
                connection.execute(
                    "SELECT partition % :lanes, count(*) FROM ("
                    "SELECT partition FROM queries WHERE status IN ('pending', 'asked') UNION ALL"
                    " SELECT partition FROM labels JOIN queries ON queries.number = labels.query"
                    " WHERE published = 0) GROUP BY 1",
                    {"lanes": self.lanes},
                ).fetchall()
            )

    def published(self, settled: Sequence[Settled]) -> None:
        """These stand on the topic now."""
        with self._writing() as connection:
            self._mark_published(connection, settled)

    def _mark_published(self, connection: sqlite3.Connection, settled: Sequence[Settled]) -> None:
        """Not what people have put right since: that overrules what the topic says, and is still to be published."""
        connection.executemany(
            "UPDATE labels SET published = 1 WHERE query ="
            ' (SELECT number FROM queries WHERE topic = ? AND partition = ? AND "offset" = ?)'
            " AND (coalesce(teacher, '') <> ? OR (teacher, label, raw) IS (?, ?, ?))",
            [
                (*each.query.coordinates, HUMAN, each.label.teacher, each.label.label, each.label.answer.raw)
                for each in settled
            ],
        )
