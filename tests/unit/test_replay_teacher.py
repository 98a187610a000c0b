"""The replay teacher answers what was recorded, and says what it lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from askance.calls import Spend
from askance.errors import ConfigError
from askance.records import Answer
from askance.teacher import replay
from askance.teacher.replay import ReplayTeacher, distinct_values
from tests.doubles import SkippedSleep, query

BANKING = Path(__file__).parents[3] / "shared" / "data" / "banking77.jsonl"


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


async def ask(teacher, query):
    attempt = await teacher.ask([query])
    assert (attempt.fault, [charge.spend for charge in attempt.charges]) == (None, [Spend(calls=1)])
    return attempt.answers[0]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return write(
        tmp_path / "recorded.jsonl",
        {
            "id": "a",
            "text": "?",
            "gold": "x",
            "teachers": [{"model": "m1", "label": "x", "confidence": 0.25}, {"model": "m2", "label": "oos"}],
        },
        {"id": 7, "gold": "y", "teachers": [{"model": "m1", "label": "y", "confidence": None}]},
        {"id": "c", "gold": "x", "teachers": [{"model": "m2", "label": "x"}]},
        {"id": "d", "gold": "z", "teachers": [{"model": "m1", "label": 3, "confidence": 12}]},
        {"id": "e", "teachers": [{"model": "m1", "label": None}, "junk", {"label": "x"}]},
    )


@pytest.mark.asyncio
async def test_answers_what_the_model_said(recorded: Path) -> None:
    teacher = ReplayTeacher(recorded, model="m1")
    assert teacher.name == "m1"
    assert await ask(teacher, query(0, document_id="a")) == Answer("x", 0.25, "recorded")
    assert await ask(teacher, query(0, document_id="7")) == Answer("y")
    assert await ask(teacher, query(0, document_id="d")) == Answer("3"), "12 is no confidence"


@pytest.mark.asyncio
@pytest.mark.parametrize("document_id", ["c", "e", "unknown", "t/0/99"])
async def test_a_document_it_has_no_answer_for_is_an_error_of_that_query(recorded: Path, document_id: str) -> None:
    got = await ask(ReplayTeacher(recorded, model="m1"), query(99, document_id=document_id))
    assert got == Answer(None, error=f"no answer is recorded for the document {document_id!r}")


@pytest.mark.asyncio
async def test_answers_outside_the_label_set_are_given_as_they_are(recorded: Path) -> None:
    assert (await ask(ReplayTeacher(recorded, model="m2"), query(0, document_id="a"))).raw == "oos"


def test_an_unknown_model_names_the_known_ones(recorded: Path) -> None:
    with pytest.raises(ConfigError, match=r"no answers of the model 'm3' .*choose one of: m1, m2"):
        ReplayTeacher(recorded, model="m3")


def test_several_models_and_none_chosen_names_them(recorded: Path) -> None:
    with pytest.raises(ConfigError, match=r"choose one with teacher\.model: m1, m2"):
        ReplayTeacher(recorded)


@pytest.mark.asyncio
async def test_the_only_model_need_not_be_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "one.jsonl",
        {"id": "a", "teachers": []},
        {"id": "b", "teachers": [{"model": "m", "label": "x"}]},
    )
    teacher = ReplayTeacher(path)
    assert teacher.name == "m"
    assert await ask(teacher, query(0, document_id="b")) == Answer("x")


@pytest.mark.asyncio
async def test_answers_from_a_field(recorded: Path) -> None:
    teacher = ReplayTeacher(recorded, field="gold")
    assert teacher.name == "recorded.jsonl:gold"
    assert await ask(teacher, query(0, document_id="a")) == Answer("x")
    assert (await ask(teacher, query(0, document_id="e"))).error


@pytest.mark.asyncio
async def test_the_label_column_is_the_default_where_there_is_no_teachers_list(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.jsonl", {"key": "k", "label": "x"}, {"label": "y"})
    teacher = ReplayTeacher(path, id_field="key")
    assert await ask(teacher, query(5, document_id="k")) == Answer("x")
    assert teacher.name == "labels.jsonl"


@pytest.mark.asyncio
async def test_a_document_without_an_id_is_found_by_its_offset(tmp_path: Path) -> None:
    path = write(tmp_path / "l.jsonl", {"label": "zero"}, b"", b"{broken", {"id": "named", "label": "three"})
    teacher = ReplayTeacher(path)
    assert await ask(teacher, query(0)) == Answer("zero")
    assert await ask(teacher, query(3)) == Answer("three")
    assert (await ask(teacher, query(2))).error
    assert (await ask(teacher, query(4))).error
    assert (await ask(teacher, query(0, document_id="t/0/3"))).error, "only its own coordinates name a document"


def test_bad_lines_are_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_MAX_LINE_BYTES", 64)
    path = write(
        tmp_path / "bad.jsonl",
        {"id": "a", "label": "x"},
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"",
        json.dumps({"id": "long", "label": "x" * 300}).encode(),
        json.dumps({"id": "padded", "label": "x"}).encode() + b" " * 300,
        b"[" * 60,
        {"id": "b", "label": "y"},
    )
    teacher = ReplayTeacher(path)
    assert teacher.skipped_lines == 7
    assert teacher._lines == {"a": 0, "b": 8}


@pytest.mark.asyncio
async def test_a_last_line_without_a_line_feed_counts(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text('{"label": "x"}\n{"label": "y"}')
    assert await ask(ReplayTeacher(path), query(1)) == Answer("y")


@pytest.mark.parametrize("rows", [[], [{"id": "a", "text": "t"}], [b"junk"]], ids=["empty", "no answers", "junk"])
def test_a_file_without_answers_is_an_error(tmp_path: Path, rows: list[object]) -> None:
    path = write(tmp_path / "none.jsonl", *rows)
    with pytest.raises(ConfigError, match=r"none\.jsonl holds no recorded answer .*teacher\.replay_field"):
        ReplayTeacher(path)
    with pytest.raises(ConfigError, match=r"holds no recorded answer in the field 'gold'"):
        ReplayTeacher(path, field="gold")


def test_the_error_shows_the_fields_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", {"id": "a", "text": "t", "gold": "x", "teachers": []})
    with pytest.raises(ConfigError, match="its fields are: gold, id, teachers, text"):
        ReplayTeacher(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.jsonl: No such file"):
        ReplayTeacher(tmp_path / "absent.jsonl")
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.jsonl: No such file"):
        distinct_values(tmp_path / "absent.jsonl", "gold")


@pytest.mark.asyncio
async def test_takes_as_long_as_it_was_told(recorded: Path) -> None:
    sleep = SkippedSleep()
    teacher = ReplayTeacher(recorded, model="m1", latency_seconds=0.02, concurrency=9, sleep=sleep)
    await ask(teacher, query(0, document_id="a"))
    assert sleep.pauses == [0.02]
    assert teacher.concurrency == 9
    await teacher.aclose()


def test_distinct_values_are_sorted(recorded: Path) -> None:
    assert distinct_values(recorded, "gold") == ("x", "y", "z")


def test_a_field_that_is_no_label_is_an_error(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"has a field 'class' .*its fields are: gold, id, teachers, text"):
        distinct_values(recorded, "class")
    monkeypatch.setattr(replay, "_MAX_LABELS", 3)
    with pytest.raises(ConfigError, match="more than 3 distinct values"):
        distinct_values(recorded, "id")


@pytest.mark.skipif(not BANKING.exists(), reason="the shared data is not on this machine")
@pytest.mark.asyncio
async def test_real_recordings() -> None:
    labels = distinct_values(BANKING, "gold")
    assert len(labels) == 58
    teacher = ReplayTeacher(BANKING, model="qwen3_30b_a3b_fewshot")
    agreed = total = 0
    for line in BANKING.read_bytes().splitlines():
        row = json.loads(line)
        agreed += (await ask(teacher, query(0, document_id=row["id"]))).raw == row["gold"]
        total += 1
    assert total == 9_660
    assert round(agreed / total, 3) == 0.797
