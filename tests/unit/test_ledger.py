"""The ledger keeps what it was told, exactly once, whatever dies when."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from askance.errors import LedgerError
from askance.ledger import SqliteLedger
from askance.records import Answer, Coordinates, Label, LabelCounts, Outcome, Position, Query


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


def position(next_offset: int, documents: int = 1, accepted: int = 1) -> Position:
    return Position("t", 0, next_offset, documents, accepted, 0)


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    return SqliteLedger(tmp_path / "ledger.db")


def test_queries_come_back_as_they_went_in_oldest_first(ledger: SqliteLedger) -> None:
    queries = [query(3), query(1, predicted=None, confidence=None, version=None), query(2)]
    ledger.commit(queries, [position(4)], "note")
    assert ledger.reserve(2) == queries[:2]
    assert ledger.reserve(2) == queries[2:]
    assert ledger.reserve(2) == []
    assert ledger.counts() == LabelCounts(asked=3)


def test_progress_adds_up_and_keeps_the_newest_bookmark(ledger: SqliteLedger) -> None:
    ledger.commit([], [position(5, 4, 1)], "first")
    ledger.commit([], [position(9, 4, 2)], "second")
    done = ledger.progress()["t", 0]
    assert (done.next_offset, done.documents, done.accepted, done.bookmark) == (9, 8, 3, "second")


def test_a_query_stored_twice_is_asked_once(ledger: SqliteLedger) -> None:
    ledger.commit([query(1)], [position(2)], None)
    ledger.reserve(1)
    ledger.commit([query(1)], [position(2)], None)
    assert ledger.reserve(1) == []
    assert ledger.counts().total == 1


def test_only_valid_labels_are_training_data(ledger: SqliteLedger) -> None:
    ledger.commit([query(offset) for offset in range(4)], [position(4)], None)
    ledger.reserve(4)
    ledger.settle([label(2), label(0, Outcome.INVALID), label(1, Outcome.FAILED), label(3)])
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
    ledger.reserve(1)
    ledger.settle([Label(Coordinates("t", 0, 0), Outcome.INVALID, None, "m", Answer("sql?"), 0.1)])
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        assert other.execute("SELECT raw, label FROM labels").fetchall() == [("sql?", None)]
    other.close()


def test_a_released_query_is_pending_again_an_ended_one_never(ledger: SqliteLedger) -> None:
    ledger.commit([query(0), query(1)], [position(2)], None)
    ledger.reserve(2)
    ledger.settle([label(0)])
    ledger.release([query(0), query(1)])
    assert ledger.reserve(5) == [query(1)]


def test_a_second_label_is_refused_and_nothing_of_its_group_is_kept(ledger: SqliteLedger) -> None:
    ledger.commit([query(0), query(1)], [position(2)], None)
    ledger.reserve(2)
    ledger.settle([label(0)])
    with pytest.raises(LedgerError, match="not under way"):
        ledger.settle([label(1), label(0)])
    assert ledger.counts() == LabelCounts(labelled=1, asked=1)


def test_orphans_end_as_lost_and_are_not_asked_again(ledger: SqliteLedger) -> None:
    ledger.commit([query(0), query(1)], [position(2)], None)
    ledger.reserve(1)
    assert ledger.abandon_orphans() == 1
    assert ledger.abandon_orphans() == 0
    assert ledger.reserve(5) == [query(1)]
    assert ledger.counts() == LabelCounts(lost=1, asked=1)


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
