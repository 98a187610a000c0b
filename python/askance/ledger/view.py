"""The ledger as a view of the queries and labels topics: what Kafka adds to it.

Rows and the offsets they were read up to are one transaction, so a restart goes on where the rows end, and a lost file
is rebuilt by reading the topics again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from askance.ledger import reuse, spending
from askance.ledger.spending import QUERY_COLUMNS
from askance.ledger.sqlite import SqliteLedger, query_row
from askance.records import Answer, Coordinates, Label, Outcome, Query, Settled, Twin

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from askance.calls import Order, Reservation, Settlement, Spend


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
        self, queries: Sequence[Query], settled: Sequence[Settled], offsets: Mapping[tuple[str, int], int]
    ) -> None:
        """Store what the topics say and how far they were read, in one transaction; what is known already is left.

        What has ended on the topic has ended here, and is not published again.
        """
        with self._writing() as connection:
            connection.executemany(
                f"INSERT INTO queries ({QUERY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant
                " ON CONFLICT DO NOTHING",
                [query_row(query) for query in (*queries, *(each.query for each in settled))],
            )
            for each in settled:
                spending.write_label(connection, each.label, published=True)
            self._mark_published(connection, settled)
            connection.executemany(
                "INSERT INTO progress VALUES (?, ?, ?, 0, 0, 0, NULL)"
                " ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
                [(*key, offset) for key, offset in offsets.items()],
            )

    def reserve(self, order: Order, worst: Callable[[Sequence[Query]], Spend]) -> Reservation:
        """Like `SqliteLedger.reserve`, of the owned lanes only."""
        owned = self.owned
        if owned != self._seen:
            with self._writing() as connection:
                reuse.let_go_of_others(connection, self._condition())
            self._seen = owned
        return super().reserve(order, worst)

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
                'SELECT queries.topic, queries.partition, queries."offset", queries.document_id, queries.text,'
                " queries.predicted, queries.confidence, queries.uncertainty, queries.propensity, queries.version,"
                " queries.seed,"
                " outcome, label, labels.teacher, latency_seconds, labels.key,"
                ' twins.topic, twins.partition, twins."offset", labels.likeness,'
                " raw, labels.confidence, confidence_source, error, prompt_tokens, completion_tokens, rationale"
                " FROM labels JOIN queries ON queries.number = labels.query"
                " LEFT JOIN queries AS twins ON twins.number = labels.twin"
                " WHERE published = 0 AND queries.partition % ? = ? ORDER BY labels.number LIMIT ?",
                (self.lanes, lane, limit),
            ).fetchall()
        return [_settled(row) for row in rows]

    def published(self, settled: Sequence[Settled]) -> None:
        """These stand on the topic now."""
        with self._writing() as connection:
            self._mark_published(connection, settled)

    def _mark_published(self, connection: sqlite3.Connection, settled: Sequence[Settled]) -> None:
        connection.executemany(
            "UPDATE labels SET published = 1 WHERE query ="
            ' (SELECT number FROM queries WHERE topic = ? AND partition = ? AND "offset" = ?)',
            [each.query.coordinates for each in settled],
        )


def _settled(row: tuple[Any, ...]) -> Settled:
    query = Query(Coordinates(*row[:3]), *row[3:11])
    outcome, label, teacher, latency, key, *twin, likeness = row[11:20]
    raw, confidence, source, error, prompt_tokens, completion_tokens, rationale = row[20:]
    return Settled(
        query,
        Label(
            coordinates=query.coordinates,
            outcome=Outcome(outcome),
            label=label,
            teacher=teacher or "",
            answer=Answer(raw, confidence, source, error, prompt_tokens, completion_tokens, rationale=rationale),
            latency_seconds=latency or 0.0,
            key=key,
            twin=None if twin[0] is None else Twin(Coordinates(*twin), likeness),
        ),
    )
