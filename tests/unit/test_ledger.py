"""The ledger keeps what it was told, exactly once, whatever dies when."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from askance.calls import Again, Call, Caps, Charge, Limit, Order, Pending, Settlement, Spend, TeacherState
from askance.errors import LedgerError
from askance.ledger import SqliteLedger
from askance.records import Answer, Coordinates, Label, LabelCounts, Outcome, Position, Query
from tests.doubles import give


def query(offset: int, **changes: object) -> Query:
    fields = {
        "coordinates": Coordinates("t", 0, offset),
        "document_id": f"d{offset}",
        "text": f"text {offset}",
        "predicted": "a",
        "confidence": 0.5,
        "uncertainty": 0.25,
        "propensity": 0.125,
        "version": "v1",
        "seed": 2**63 - 1,
    }
    return Query(**fields | changes)


def label(offset: int, outcome: Outcome = Outcome.LABELLED) -> Label:
    valid = outcome is Outcome.LABELLED
    return Label(Coordinates("t", 0, offset), outcome, "b" if valid else None, "m", Answer("b", 0.9, "stated"), 0.1)


def reserve(ledger: SqliteLedger, calls: int, **changes: object) -> list[Call]:
    order = {"calls": calls, "now": 1.0e9, "teacher": "m"}
    return list(ledger.reserve(Order(**order | changes), lambda queries: Spend(1, 10 * len(queries), 100)).calls)


def queries_of(calls: list[Call]) -> list[Query]:
    return [one for call in calls for one in call.queries]


def position(next_offset: int, documents: int = 1, accepted: int = 1) -> Position:
    return Position("t", 0, next_offset, documents, accepted, 0)


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    return SqliteLedger(tmp_path / "ledger.db")


def test_queries_come_back_as_they_went_in_oldest_first(ledger: SqliteLedger) -> None:
    queries = [query(3), query(1, predicted=None, confidence=None, version=None), query(2)]
    ledger.commit(queries, [position(4)], "note")
    assert queries_of(reserve(ledger, 2)) == queries[:2]
    assert queries_of(reserve(ledger, 2)) == queries[2:]
    assert reserve(ledger, 2) == []
    assert ledger.counts() == LabelCounts(asked=3)


def test_progress_adds_up_and_keeps_the_newest_bookmark(ledger: SqliteLedger) -> None:
    ledger.commit([], [position(5, 4, 1)], "first")
    ledger.commit([], [position(9, 4, 2)], "second")
    done = ledger.progress()["t", 0]
    assert (done.next_offset, done.documents, done.accepted, done.bookmark) == (9, 8, 3, "second")


def test_a_query_stored_twice_is_asked_once(ledger: SqliteLedger) -> None:
    ledger.commit([query(1)], [position(2)], None)
    reserve(ledger, 1)
    ledger.commit([query(1)], [position(2)], None)
    assert reserve(ledger, 1) == []
    assert ledger.counts().total == 1


def test_only_valid_labels_are_training_data(ledger: SqliteLedger) -> None:
    ledger.commit([query(offset) for offset in range(4)], [position(4)], None)
    give(ledger, [label(2), label(0, Outcome.INVALID), label(1, Outcome.FAILED), label(3)])
    assert [row.coordinates.offset for row in ledger.labelled()] == [2, 3]
    assert [row.coordinates.offset for row in ledger.labelled(newest=1)] == [3]
    row = ledger.labelled()[0]
    assert (row.text, row.label, row.predicted, row.version, row.propensity, row.confidence) == (
        "text 2",
        "b",
        "a",
        "v1",
        0.125,
        0.9,
    )
    assert ledger.counts() == LabelCounts(labelled=2, invalid=1, failed=1)


def test_an_invalid_answer_keeps_its_raw_text(ledger: SqliteLedger, tmp_path: Path) -> None:
    ledger.commit([query(0)], [position(1)], None)
    give(ledger, [Label(Coordinates("t", 0, 0), Outcome.INVALID, None, "m", Answer("sql?"), 0.1)])
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        assert other.execute("SELECT raw, label FROM labels").fetchall() == [("sql?", None)]
    other.close()


def test_a_released_query_is_pending_again_an_ended_one_never(ledger: SqliteLedger) -> None:
    ledger.commit([query(0), query(1)], [position(2)], None)
    first, second = reserve(ledger, 2)
    ledger.settle([Settlement(first.number, (label(0),))])
    ledger.release([first, second])
    assert queries_of(reserve(ledger, 5)) == [query(1)]
    assert ledger.spent() == Spend(2, 20, 200), "what was released is not spent"


def test_a_second_label_is_refused_and_nothing_of_its_group_is_kept(ledger: SqliteLedger) -> None:
    ledger.commit([query(0), query(1)], [position(2)], None)
    first, second = reserve(ledger, 2)
    ledger.settle([Settlement(first.number, (label(0),), charges=())])
    with pytest.raises(LedgerError, match="not under way"):
        ledger.settle([Settlement(second.number, (label(1),), charges=()), Settlement(first.number, (label(0),))])
    with pytest.raises(LedgerError, match="not under way"):
        ledger.settle([Settlement(second.number, (label(0),), charges=())])
    assert ledger.counts() == LabelCounts(labelled=1, asked=1)
    assert ledger.spent() == second.reserved


def test_orphans_end_as_lost_and_spent_and_are_not_asked_again(ledger: SqliteLedger) -> None:
    ledger.commit([query(0), query(1)], [position(2)], None)
    reserve(ledger, 1)
    assert ledger.abandon_orphans() == 1
    assert ledger.abandon_orphans() == 0
    assert queries_of(reserve(ledger, 5)) == [query(1)]
    assert ledger.counts() == LabelCounts(lost=1, asked=1)
    assert ledger.spent() == Spend(2, 20, 200)
    assert [(row.key, row.nanos) for row in ledger.spend_report("label")] == [("(lost)", 100)]


def test_a_query_given_back_comes_again_when_it_may_with_its_history(ledger: SqliteLedger) -> None:
    ledger.commit([query(0), query(1)], [position(2)], None)
    (call,) = reserve(ledger, 1)
    ledger.settle([Settlement(call.number, again=(Again(query(0).coordinates, 1.0e9 + 5, 1.0, 1),), charges=())])
    assert queries_of(reserve(ledger, 5)) == [query(1)]
    assert reserve(ledger, 5, now=1.0e9 + 4) == []
    assert ledger.reserve(Order(calls=1, now=1.0e9), lambda _: Spend()).waiting
    assert reserve(ledger, 5, now=1.0e9 + 5, retries=0) == []
    (again,) = reserve(ledger, 5, now=1.0e9 + 5)
    assert again.asked == (Pending(query(0), 1.0, 1),)
    assert again.is_retry


def test_several_documents_a_call_but_those_asked_before_alone(ledger: SqliteLedger) -> None:
    ledger.commit([query(offset) for offset in range(7)], [position(7)], None)
    (call,) = reserve(ledger, 1, documents_per_call=3)
    back = tuple(Again(one.coordinates, 1.0e9, 1.0, 0) for one in call.queries)
    ledger.settle([Settlement(call.number, again=back, charges=())])
    sizes = [[one.coordinates.offset for one in call.queries] for call in reserve(ledger, 9, documents_per_call=3)]
    assert sizes == [[0], [1], [2], [3, 4, 5], [6]]


@pytest.mark.parametrize("kind", ["calls", "tokens", "money"])
@pytest.mark.parametrize("period", ["run", "day", "total"])
def test_a_cap_is_said_and_never_exceeded(ledger: SqliteLedger, period: str, kind: str) -> None:
    ledger.commit([query(offset) for offset in range(9)], [position(9)], None)
    limit = {"calls": Limit(calls=3), "tokens": Limit(tokens=39), "money": Limit(nanos=399)}[kind]
    order = Order(calls=9, now=1.0e9, run=1, caps=Caps(**{period: limit}))
    got = ledger.reserve(order, lambda _: Spend(1, 10, 100))
    assert (len(got.calls), got.capped, got.waiting) == (3, f"spend.{period}_{kind}", True)
    assert ledger.spent({"run": "run 1", "day": "day 2001-09-09", "total": "total"}[period]) == Spend(3, 30, 300)
    changes = {"run": {"run": 2}, "day": {"now": 1.0e9 + 86400}, "total": {}}[period]
    again = ledger.reserve(msgspec.structs.replace(order, **changes), lambda _: Spend(1, 10, 100))
    assert len(again.calls) == (0 if period == "total" else 3), "another run, another day"


def test_the_report_adds_up_by_every_key(ledger: SqliteLedger) -> None:
    ledger.commit([query(offset) for offset in range(6)], [position(6)], None)
    first, second, third = reserve(ledger, 3, documents_per_call=2)
    ledger.settle(
        [
            Settlement(first.number, (label(0), label(1)), charges=(Charge("m", 1, 10, 0, 2, 1000),)),
            Settlement(
                second.number,
                (label(2, Outcome.INVALID),),
                (Again(query(3).coordinates, 1.0e9, 1, 0),),
                charges=(Charge("m", 1, 10, 0, 2, 500), Charge("dear", 1, 5, 0, 1, 300)),
            ),
        ]
    )
    for by in ("day", "teacher", "label", "version"):
        rows = ledger.spend_report(by)
        assert sum(row.nanos for row in rows) == 1800, by
        assert ledger.spent().nanos == 1800 + third.reserved.nanos
    assert {row.key: row.nanos for row in ledger.spend_report("label")} == {
        "b": 1000,
        "(invalid)": 400,
        "(asked again)": 400,
    }
    assert {row.key: row.nanos for row in ledger.spend_report("teacher")} == {"m": 1500, "dear": 300}
    with pytest.raises(ValueError, match="not by 'colour'"):
        ledger.spend_report("colour")


def test_what_the_gate_is_told_grows_old(ledger: SqliteLedger) -> None:
    assert ledger.teacher_state(0.0) is TeacherState.ASKING
    ledger.tell(TeacherState.PAUSED, until=100.0)
    assert ledger.teacher_state(99.0) is TeacherState.PAUSED
    assert ledger.teacher_state(100.0) is TeacherState.ASKING


def test_migrations_are_named_and_run_once(ledger: SqliteLedger, tmp_path: Path) -> None:
    ledger.commit([query(0)], [position(1)], None)
    ledger.close()
    again = SqliteLedger(tmp_path / "ledger.db")
    assert again.counts().total == 1
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        assert other.execute("SELECT name FROM migrations").fetchall()[0] == ("0001_queries_and_labels.sql",)
        other.execute("INSERT INTO migrations VALUES ('9999_from_the_future.sql', '')")
    other.close()
    with pytest.raises(LedgerError, match=r"newer askance.*9999_from_the_future"):
        SqliteLedger(tmp_path / "ledger.db")


def test_a_file_that_is_no_ledger_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(LedgerError, match=r"ledger\.db cannot be read.*--state"):
        SqliteLedger(tmp_path / "ledger.db")
    with pytest.raises(LedgerError, match="cannot open"):
        SqliteLedger(tmp_path / "ledger.db" / "below-a-file" / "ledger.db")


_WRITER = """
import sys
from pathlib import Path
from askance.ledger import SqliteLedger
from askance.records import Coordinates, Position, Query
ledger = SqliteLedger(Path(sys.argv[1]))
start = ledger.progress()["t", 0].next_offset if ledger.progress() else 0
for offset in range(start, 10**9):
    query = Query(Coordinates("t", 0, offset), "d", "text", "a", 0.5, 0.5, 0.5, "v", 0)
    ledger.commit([query], [Position("t", 0, offset + 1, 1, 1, 0)], str(offset + 1))
    print(offset, flush=True)
"""


def test_kill_9_leaves_queries_and_position_in_step(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    rng = random.Random(0)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        first = int(process.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        acknowledged = max([first, *map(int, process.stdout.read().split(b"\n")[:-1])])
        process.stdout.close()
        process.wait()
        ledger = SqliteLedger(path)
        done = ledger.progress()["t", 0]
        assert done.next_offset >= acknowledged + 1
        assert ledger.counts().total == done.next_offset == done.documents == int(done.bookmark or -1)
        ledger.close()
