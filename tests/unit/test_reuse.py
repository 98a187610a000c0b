"""No text is paid for twice: the same text, and near-duplicates where they are looked for."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest

from askance.calls import Again, Call, Charge, Order, Settlement, Spend
from askance.codec import decode_settled, encode_settled
from askance.ledger import SqliteLedger
from askance.ledger.view import ViewLedger
from askance.records import Answer, Coordinates, Label, LabelCounts, Outcome, Query, Settled, Twin
from askance.telemetry import Telemetry
from askance.workers.teach import TeachWorker
from tests.doubles import ScriptedTeacher, query

if TYPE_CHECKING:
    from pathlib import Path

KEY = "m digest"
ORDER = Order(calls=10, now=1.0e9, teacher="m", key=KEY)
TEXT = "the quick brown fox jumps over the lazy dog while the cat sleeps on the warm window sill all day long"


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    return SqliteLedger(tmp_path / "ledger.db")


def texts(ledger: SqliteLedger, *documents: str, first: int = 0) -> None:
    ledger.commit([query(first + n, text) for n, text in enumerate(documents)], (), None)


def reserve(ledger: SqliteLedger, **changes: object) -> list[Call]:
    order = msgspec.structs.replace(ORDER, **changes)
    return list(ledger.reserve(order, lambda queries: Spend(1, 10, 100 * len(queries))).calls)


def end(ledger: SqliteLedger, call: Call, word: str | None = "yes", **changes: object) -> int:
    outcome = Outcome.INVALID if word is None else Outcome.LABELLED
    answer = Answer(word or "?", 0.9, "stated")
    labels = tuple(Label(one.coordinates, outcome, word, "m", answer, 0.1) for one in call.queries)
    charges = (Charge("m", 1, 7, 0, 1, 60),)
    return ledger.settle([Settlement(call.number, labels, charges=charges, **changes)])


def offsets(calls: list[Call]) -> list[int]:
    return [one.coordinates.offset for call in calls for one in call.queries]


def rows(ledger: SqliteLedger) -> list[tuple[object, ...]]:
    sql = "SELECT query, label, teacher, confidence, confidence_source, twin, likeness, call IS NULL FROM labels"
    return ledger._connection.execute(f"{sql} ORDER BY query").fetchall()


def test_the_same_text_ends_with_the_answer_it_got_before(ledger: SqliteLedger) -> None:
    texts(ledger, "one text", "another")
    first, second = reserve(ledger)
    end(ledger, first)
    end(ledger, second, "no")
    texts(ledger, " one\n text ", "a third", first=2)
    reservation = ledger.reserve(ORDER, lambda _: Spend(1))
    assert (offsets(list(reservation.calls)), reservation.copied) == ([3], 1)
    assert rows(ledger) == [
        (1, "yes", "m", 0.9, "stated", None, None, 0),
        (2, "no", "m", 0.9, "stated", None, None, 0),
        (3, "yes", "m", 0.9, "stated", 1, None, 1),
    ]
    assert ledger.spent() == Spend(2 + 1, 16, 120), "a copy costs nothing"
    assert ledger.unpaid() == {"same text": 1}
    assert [row.label for row in ledger.labelled()] == ["yes", "no", "yes"]


@pytest.mark.parametrize("changes", [{"key": "other prompt"}, {"key": None}], ids=["another key", "no key"])
def test_an_answer_under_another_key_is_not_reused(ledger: SqliteLedger, changes: dict[str, object]) -> None:
    texts(ledger, "one text")
    end(ledger, *reserve(ledger))
    texts(ledger, "one text", first=1)
    assert offsets(reserve(ledger, **changes)) == [1]


def test_what_is_under_way_is_waited_for_and_asked_once(ledger: SqliteLedger) -> None:
    texts(ledger, *["one text"] * 500, "another")
    calls = reserve(ledger)
    assert offsets(calls) == [0, 500], "copies make room for others"
    assert reserve(ledger) == []
    assert ledger.counts() == LabelCounts(pending=499, asked=2)
    assert end(ledger, calls[0]) == 499
    assert ledger.counts() == LabelCounts(asked=1, labelled=500)


def test_they_are_asked_themselves_when_it_ends_without_a_label(ledger: SqliteLedger) -> None:
    texts(ledger, *["one text"] * 3)
    (call,) = reserve(ledger)
    end(ledger, call, None)
    (call,) = reserve(ledger)
    assert offsets([call]) == [1]
    ledger.abandon_orphans()
    (call,) = reserve(ledger)
    assert offsets([call]) == [2]
    end(ledger, call)
    assert ledger.counts() == LabelCounts(invalid=1, lost=1, labelled=1)


def test_one_that_is_given_back_is_still_waited_for(ledger: SqliteLedger) -> None:
    texts(ledger, "one text", "one text")
    (call,) = reserve(ledger)
    again = Again(call.queries[0].coordinates, ORDER.now + 5, 1.0, 0)
    ledger.settle([Settlement(call.number, again=(again,))])
    assert reserve(ledger) == []
    (call,) = reserve(ledger, now=ORDER.now + 6)
    assert end(ledger, call) == 1
    ledger.close()


def test_a_released_call_is_found_by_its_twins(ledger: SqliteLedger) -> None:
    texts(ledger, "one text", "one text")
    calls = reserve(ledger)
    ledger.release(calls)
    (call,) = reserve(ledger)
    assert offsets([call]) == [0]
    assert end(ledger, call) == 1


def test_an_audit_is_asked_whatever_was_answered(ledger: SqliteLedger) -> None:
    texts(ledger, "one text")
    (call,) = reserve(ledger)
    end(ledger, call, audits=(call.queries[0].coordinates,))
    (audit,) = reserve(ledger)
    assert audit.is_audit
    assert audit.queries[0].text == "one text"


def near(word: str) -> str:
    return TEXT.replace("window", word)


def test_near_duplicates_wait_and_are_recorded_with_their_likeness(ledger: SqliteLedger) -> None:
    texts(ledger, TEXT, near("garden"), "something else altogether, which has nothing to do with it", TEXT.upper())
    calls = reserve(ledger, alike=0.6)
    assert offsets(calls) == [0, 2]
    assert end(ledger, calls[0], audit_share=1.0) == 2
    (copy, same_words) = [row for row in rows(ledger) if row[5] is not None]
    assert copy[:6] == (2, "yes", "m", None, None, 1), "nobody knows how sure the teacher would be"
    assert 0.6 <= copy[6] < 1.0
    assert same_words[6] == 1.0, "alike in all words, and still another text"
    assert ledger.unpaid() == {"near-duplicate": 2}
    assert [row.likeness is None for row in ledger.judged()] == [True, False, True, False]
    end(ledger, calls[1])
    audits = reserve(ledger)
    assert offsets(audits) == [1, 3], "copies are audited as what is paid for is"
    for audit, word in zip(audits, ("no", "yes"), strict=True):
        ledger.settle([Settlement(audit.number, audited=(word, None))])
    assert [(one.first, one.again, one.likeness) for one in ledger.audits()] == [
        ("yes", "no", copy[6]),
        ("yes", "yes", 1.0),
    ]


def test_below_the_threshold_or_without_one_they_are_asked(ledger: SqliteLedger) -> None:
    texts(ledger, TEXT, near("garden"))
    assert offsets(reserve(ledger, alike=0.99)) == [0, 1]
    texts(ledger, near("kitchen"), first=2)
    assert offsets(reserve(ledger)) == [2]


def test_copies_are_never_copied(ledger: SqliteLedger) -> None:
    words = [f"word{n}" for n in range(60)]
    # Each differs from the one before it in three words, and from the first in ever more.
    chain = [" ".join([*(f"new{n}" for n in range(3 * k)), *words[3 * k :]]) for k in range(8)]
    texts(ledger, *chain)
    asked = []
    while calls := reserve(ledger, alike=0.75, calls=1):
        asked += offsets(calls)
        end(ledger, calls[0])
    copies = {row[0]: (row[5], row[6]) for row in rows(ledger) if row[5] is not None}
    assert 1 < len(asked) < 8
    assert {twin for twin, _ in copies.values()} <= {n + 1 for n in asked}
    assert all(likeness >= 0.75 for _, likeness in copies.values())


def test_labels_from_before_are_found_once_near_duplicates_are_looked_for(ledger: SqliteLedger, tmp_path: Path) -> None:
    texts(ledger, TEXT)
    end(ledger, *reserve(ledger))
    ledger.close()
    again = SqliteLedger(tmp_path / "ledger.db")
    texts(again, near("garden"), first=1)
    assert reserve(again, alike=0.6) == []
    assert again.counts() == LabelCounts(labelled=2)


def settled_elsewhere(ledger: ViewLedger, offset: int, text: str, key: str | None) -> None:
    asked = Query(Coordinates("t", 0, offset), f"d{offset}", text, None, None, 1.0, 1.0, None, 0)
    label = Label(asked.coordinates, Outcome.LABELLED, "yes", "m", Answer("yes", 0.9, "stated"), 0.1, key=key)
    ledger.ingest([], [decode_settled(encode_settled(Settled(asked, label)))], {})


def test_on_kafka_another_workers_answer_is_reused_and_the_copy_is_published(tmp_path: Path) -> None:
    ledger = ViewLedger(tmp_path / "view.db")
    ledger.owned = frozenset({0})
    settled_elsewhere(ledger, 0, "one text", KEY)
    settled_elsewhere(ledger, 1, "another", None)
    ledger.ingest([query(2, "one text"), query(3, "another")], [], {})
    assert offsets(reserve(ledger)) == [3]
    (copy,) = ledger.unpublished(0, 10)
    assert copy.label.twin == Twin(Coordinates("t", 0, 0))
    assert (copy.label.key, copy.label.teacher, copy.label.answer.prompt_tokens) == (KEY, "m", None)
    other = ViewLedger(tmp_path / "other.db")
    other.ingest([], [decode_settled(encode_settled(copy))], {})
    assert other.unpaid() == {"same text": 1}
    other.owned = frozenset({0})
    other.ingest([query(4, "one text")], [], {})
    assert offsets(reserve(other)) == [4], "a copy is not copied, and its original is not known here"


def test_on_kafka_nobody_waits_for_a_lane_that_was_taken_away(tmp_path: Path) -> None:
    ledger = ViewLedger(tmp_path / "view.db")
    ledger.lanes, ledger.owned = 2, frozenset({0, 1})
    two = [msgspec.structs.replace(query(0, "one text"), coordinates=Coordinates("t", n, 0)) for n in (0, 1)]
    ledger.ingest(two, [], {})
    (call,) = reserve(ledger)
    ledger.settle([Settlement(call.number, again=(Again(call.queries[0].coordinates, ORDER.now, 1.0, 0),))])
    ledger.owned = frozenset({1})
    (call,) = reserve(ledger)
    assert call.queries[0].coordinates.partition == 1


@pytest.mark.asyncio
async def test_a_stream_of_copies_through_the_whole_worker(tmp_path: Path) -> None:
    dice = random.Random(5)
    documents = [f"text number {dice.randrange(40)}" for _ in range(600)]
    ledger = SqliteLedger(tmp_path / "ledger.db")
    texts(ledger, *documents)
    asked: Counter[str] = Counter()

    def behaviour(one: Query) -> Answer:
        asked[one.text] += 1
        # Every third text gets a bad reply first.
        return Answer("?" if asked[one.text] == 1 and int(one.text[12:]) % 3 == 0 else "yes")

    telemetry, drain = Telemetry(), asyncio.Event()
    drain.set()
    worker = TeachWorker(
        ledger=ledger,
        teacher=ScriptedTeacher(behaviour, concurrency=8, key=KEY),
        labels=("yes", "no"),
        telemetry=telemetry,
        reuse=True,
        second_chance=True,
    )
    await worker.run(drain=drain, stop=asyncio.Event())
    assert ledger.counts() == LabelCounts(labelled=600)
    assert sum(asked.values()) == 40 + 14
    assert telemetry.value("askance_copied_labels_total") == 560
    assert telemetry.value("askance_labels_total", outcome="labelled") == 600
    assert ledger.spent().nanos == 54 * 100
