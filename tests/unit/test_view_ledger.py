"""The ledger as a view of topics: in any order, any number of times, and rebuilt from nothing, it comes to the same."""

import random
from pathlib import Path

import pytest

from askance.calls import Call, Caps, Limit, Order, Settlement, Spend
from askance.ledger.view import ViewLedger
from askance.records import Answer, Coordinates, Label, LabelCounts, Outcome, Position, Query, Settled, Tally


def query(offset: int, partition: int = 0) -> Query:
    return Query(Coordinates("t", partition, offset), f"d{offset}", "text", "a", 0.5, 0.25, 0.125, "v1", 7)


def settled(offset: int, partition: int = 0, outcome: Outcome = Outcome.LABELLED) -> Settled:
    asked = query(offset, partition)
    label = "b" if outcome is Outcome.LABELLED else None
    return Settled(asked, Label(asked.coordinates, outcome, label, "m", Answer("b", 0.9, "stated", None, 3, 1), 0.5))


def reserve(ledger: ViewLedger, calls: int) -> list[Call]:
    return list(ledger.reserve(Order(calls=calls, now=1.0), lambda _: Spend(1)).calls)


def settle(ledger: ViewLedger, calls: list[Call], *labels: Label) -> None:
    ended = zip(calls, labels, strict=False)
    ledger.settle([Settlement(call.number, (label,), charges=()) for call, label in ended])


@pytest.fixture
def ledger(tmp_path: Path) -> ViewLedger:
    ledger = ViewLedger(tmp_path / "view.db")
    ledger.lanes = 4
    return ledger


def test_a_label_needs_no_query_before_it(ledger: ViewLedger) -> None:
    ledger.ingest([], [settled(1)], {("labels", 0): 1})
    ledger.ingest([query(1), query(2)], [], {("queries", 0): 2})
    assert ledger.counts() == LabelCounts(pending=1, labelled=1)
    assert [row.coordinates.offset for row in ledger.labelled()] == [1]
    assert ledger.offsets() == {("labels", 0): 1, ("queries", 0): 2}


def counted(first: int, end: int, partition: int = 0) -> Position:
    tally = Tally(first, "v1", end - first, 0, 0.5 * (end - first), (end - first,), {"a": end - first})
    return Position("t", partition, end, end - first, 1, 0, tallies=(tally,))


def test_documents_are_counted_once_however_often_they_are_delivered(ledger: ViewLedger) -> None:
    ledger.ingest([], [], {("tallies", 0): 3}, [counted(0, 100), counted(100, 150), counted(0, 40, partition=1)])
    ledger.ingest([], [], {("tallies", 0): 5}, [counted(100, 150), counted(100, 200)])
    ledger.ingest([], [], {("tallies", 0): 6}, [counted(200, 260)])
    found = {(tally.partition, tally.documents, tally.confidences) for tally in ledger.tallies()}
    # 150 to 200 were cut otherwise the second time: they are in no count rather than in two.
    assert found == {(0, 210, 105.0), (1, 40, 20.0)}
    assert ledger.offsets() == {("t", 0): 260, ("t", 1): 40, ("tallies", 0): 6}


def test_any_order_and_any_repetition_come_to_the_same(tmp_path: Path) -> None:
    rng = random.Random(0)
    counts = set()
    for run in range(10):
        ledger = ViewLedger(tmp_path / f"{run}.db")
        events: list[tuple[list[Query], list[Settled]]] = [([query(n)], []) for n in range(20)]
        events += [([], [settled(n, outcome=Outcome.INVALID if n % 3 else Outcome.LABELLED)]) for n in range(10)]
        events += rng.sample(events, 10)
        rng.shuffle(events)
        for queries, labels in events:
            ledger.ingest(queries, labels, {})
        counts.add(ledger.counts())
        assert ledger.unpublished(0, 100) == []
        ledger.close()
    assert counts == {LabelCounts(pending=10, labelled=4, invalid=6)}


def test_only_owned_lanes_are_asked(ledger: ViewLedger) -> None:
    ledger.ingest([query(n, partition=n) for n in range(8)], [], {})
    assert reserve(ledger, 10) == []
    ledger.owned = frozenset({1, 2})
    assert [call.queries[0].coordinates.partition for call in reserve(ledger, 10)] == [1, 2, 5, 6]


def test_workers_that_share_the_lanes_share_the_caps(tmp_path: Path) -> None:
    """Whoever holds m of M lanes may spend m/M, anew after every rebalance, and together never more than the caps."""
    first, second = (ViewLedger(tmp_path / f"{name}.db") for name in ("first", "second"))
    for each in (first, second):
        each.lanes = 4
        each.ingest([query(n, partition=n) for n in range(400)], [], {})
    caps = Caps(day=Limit(calls=22, tokens=99, nanos=1_000_000))

    def asked(ledger: ViewLedger, lanes: set[int], spend: Spend) -> tuple[int, str | None]:
        ledger.owned = frozenset(lanes)
        reservation = ledger.reserve(Order(calls=100, now=1.0, caps=caps), lambda _: spend)
        return len(reservation.calls), reservation.capped

    assert asked(first, {0, 1, 2}, Spend(1)) == (16, "spend.day_calls")
    assert asked(second, {3}, Spend(1)) == (5, "spend.day_calls")
    # A rebalance moves a lane, and its part of the caps with it.
    assert asked(first, {0, 1}, Spend(1)) == (0, "spend.day_calls")
    assert asked(second, {2, 3}, Spend(1)) == (6, "spend.day_calls")
    # Tokens and money likewise; without a lane nothing is asked, which is no reached cap.
    tomorrow = 1.0 + 86_400
    for limit in (Limit(tokens=40), Limit(nanos=40)):
        for ledger, part in ((first, 3), (second, 1)):
            ledger.owned = frozenset(range(part))
            order = Order(calls=100, now=tomorrow, caps=Caps(day=limit))
            reservation = ledger.reserve(order, lambda _: Spend(1, 7, 7))
            assert len(reservation.calls) == part * 10 // 7
        tomorrow += 86_400
    assert asked(first, set(), Spend(1)) == (0, None)
    first.close()
    second.close()


def test_a_settled_label_waits_to_be_published_whole(ledger: ViewLedger) -> None:
    ledger.ingest([query(1, 1), query(2, 5), query(3, 2)], [], {})
    ledger.owned = frozenset(range(4))
    calls = reserve(ledger, 3)
    settle(ledger, calls, settled(1, 1).label, settled(2, 5, Outcome.INVALID).label, settled(3, 2).label)
    waiting = ledger.unpublished(1, 10)
    assert waiting == [settled(1, 1), settled(2, 5, Outcome.INVALID)]
    ledger.published(waiting[:1])
    assert ledger.unpublished(1, 10) == waiting[1:]
    assert ledger.unpublished(2, 10) == [settled(3, 2)]


def test_what_ended_on_the_topic_is_neither_asked_nor_published_again(ledger: ViewLedger) -> None:
    ledger.owned = frozenset(range(4))
    ledger.ingest([query(1), query(2), query(3)], [], {})
    first, second = reserve(ledger, 2)
    settle(ledger, [first], settled(1).label)
    # A former owner had published all three before it died.
    ledger.ingest([], [settled(1), settled(2), settled(3)], {})
    assert reserve(ledger, 10) == []
    settle(ledger, [second], settled(2, outcome=Outcome.INVALID).label)
    assert ledger.unpublished(0, 10) == []
    assert ledger.counts() == LabelCounts(labelled=3)


def test_an_orphan_is_published_as_lost(ledger: ViewLedger) -> None:
    ledger.owned = frozenset({0})
    ledger.ingest([query(1)], [], {})
    reserve(ledger, 1)
    assert ledger.abandon_orphans() == 1
    [lost] = ledger.unpublished(0, 10)
    assert lost.label.outcome is Outcome.LOST
