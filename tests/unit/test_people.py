"""People as the teacher: questions out in Label Studio's format, answers in, once or often."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from askance.calls import Charge, Order, Settlement, Spend
from askance.cli import main as command_line
from askance.codec import decode_settled, encode_settled
from askance.errors import ConfigError, UsageError
from askance.ledger import SqliteLedger
from askance.ledger.view import ViewLedger
from askance.records import Answer, Coordinates, HumanAnswer, Label, LabelCounts, Outcome, Taken
from tests.doubles import query

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

LABELS = ("spam", "ham & eggs")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, arguments)


def end(ledger: SqliteLedger, *confidences: float | None, word: str = "spam") -> None:
    for one, confidence in zip(
        ledger.reserve(Order(calls=len(confidences), now=1.0, teacher="m", key="k"), lambda _: Spend(1, 0, 10)).calls,
        confidences,
        strict=True,
    ):
        answer = Answer(word, confidence, None if confidence is None else "stated")
        label = Label(one.queries[0].coordinates, Outcome.LABELLED, word, "m", answer, 0.1)
        ledger.settle([Settlement(one.number, (label,), charges=(Charge("m", 1, nanos=7),))])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Three labels of confidence 0.9, 0.4 and unknown; one query under way; two that wait."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(n, f"text <{n}>") for n in range(6)], (), None)
    end(ledger, 0.9, 0.4, None)
    ledger.reserve(Order(calls=1, now=1.0, teacher="m"), lambda _: Spend(1, 0, 10))
    ledger.close()
    return tmp_path


def labels(state: Path, *arguments: str) -> Result:
    got = call("labels", *arguments, "--state", str(state), "--set", f"teacher.labels={json.dumps(LABELS)}")
    if got.exception and not isinstance(got.exception, SystemExit):
        raise got.exception
    return got


def exported(state: Path, *arguments: str) -> list[dict[str, Any]]:
    path = state / "tasks.json"
    labels(state, "export", "-o", str(path), *arguments)
    tasks: list[dict[str, Any]] = json.loads(path.read_text())
    return tasks


def annotated(task: dict[str, Any], *choices: str, **changes: object) -> dict[str, Any]:
    """The task as Label Studio exports it after so many people have answered."""
    annotations = [
        {
            "id": number,
            "was_cancelled": False,
            "ground_truth": False,
            "completed_by": number,
            "result": [
                {
                    "id": "x",
                    "from_name": "label",
                    "to_name": "text",
                    "type": "choices",
                    "value": {"choices": [choice]},
                    "origin": "manual",
                }
            ],
        }
        | changes
        for number, choice in enumerate(choices)
    ]
    return {"id": 1, "data": task["data"], "annotations": annotations, "predictions": [], "project": 3}


def imported(state: Path, tasks: list[dict[str, Any]], *arguments: str) -> dict[str, int]:
    path = state / "answered.json"
    path.write_text(json.dumps(tasks))
    found: dict[str, int] = json.loads(labels(state, "import", str(path), "--json", *arguments).stdout)
    return {key: count for key, count in found.items() if count}


def ledger_of(state: Path) -> SqliteLedger:
    return SqliteLedger(state / "ledger.db")


def test_what_has_no_label_goes_out_and_comes_back_as_labels_at_no_cost(state: Path) -> None:
    tasks = exported(state)
    assert [task["data"]["text"] for task in tasks] == ["text <4>", "text <5>"]
    assert all("predictions" not in task for task in tasks)
    root = ElementTree.parse(state / "tasks.xml").getroot()
    assert [choice.get("value") for choice in root.iter("Choice")] == list(LABELS)
    assert root.find("Text").get("value") == "$text"  # type: ignore[union-attr]
    answered = [annotated(tasks[0], "ham & eggs"), annotated(tasks[1])]
    assert imported(state, answered) == {"new": 1, "unanswered": 1}
    assert imported(state, answered) == {"known": 1, "unanswered": 1}
    ledger = ledger_of(state)
    assert ledger.counts() == LabelCounts(pending=1, asked=1, labelled=4)
    row = ledger.labelled()[-1]
    assert (row.text, row.label, row.confidence) == ("text <4>", "ham & eggs", None)
    assert ledger.spent().nanos == 3 * 7 + 10
    assert ledger.unpaid() == {"human": 1}
    ledger.close()
    assert "labels at no cost: 1 human" in call("spend", "--state", str(state)).stdout


def test_labels_that_are_not_sure_are_put_right_and_what_was_said_is_kept(state: Path) -> None:
    (task,) = exported(state, "--below", "0.8", "--suggest")
    assert task["data"]["offset"] == 1
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["spam"]}
    assert (task["predictions"][0]["model_version"], task["predictions"][0]["score"]) == ("m", 0.4)
    assert imported(state, [annotated(task, "ham & eggs")]) == {"corrected": 1}
    assert imported(state, [annotated(task, "ham & eggs")]) == {"known": 1}
    assert exported(state, "--below", "0.8") == []
    ledger = ledger_of(state)
    assert [row.label for row in ledger.labelled()] == ["spam", "ham & eggs", "spam"]
    before = ledger._connection.execute("SELECT label, teacher, confidence FROM corrections").fetchall()
    assert before == [("spam", "m", 0.4)]
    assert ledger.spent().calls == 4
    ledger.close()


def test_several_people_are_a_majority_a_truth_or_a_tie(state: Path) -> None:
    first, second = exported(state)
    assert imported(state, [annotated(first, "spam", "ham & eggs", "spam")]) == {"new": 1}
    assert imported(state, [annotated(second, "spam", "ham & eggs")]) == {"unreadable": 1}
    truth = annotated(second, "spam", "spam")
    truth["annotations"] += annotated(second, "ham & eggs", ground_truth=True)["annotations"]
    assert imported(state, [truth]) == {"new": 1}
    ledger = ledger_of(state)
    assert [row.label for row in ledger.labelled()][-2:] == ["spam", "ham & eggs"]
    ledger.close()


def test_json_min_is_read_too(state: Path) -> None:
    (task, _) = exported(state)
    assert imported(state, [task["data"] | {"label": "spam", "annotator": 1, "id": 7}]) == {"new": 1}


def test_what_is_no_answer_of_ours_changes_nothing(state: Path) -> None:
    (task, other) = exported(state)
    stranger = json.loads(json.dumps(annotated(task, "spam")))
    stranger["data"]["text"] = "another text"
    under_way = json.loads(json.dumps(annotated(task, "spam")))
    under_way["data"] |= {"offset": 3, "text": "text <3>"}
    cancelled = annotated(other, "spam", was_cancelled=True)
    odd = [7, {}, {"data": {"text": "x"}}, annotated(task, "eggs"), annotated(task, "none_of_these")]
    assert imported(state, [stranger, under_way, cancelled, *odd]) == {
        "unknown": 1,
        "under_way": 1,
        "unanswered": 1,
        "unreadable": 5,
    }
    ledger = ledger_of(state)
    assert ledger.counts() == LabelCounts(pending=2, asked=1, labelled=3)
    ledger.close()
    path = state / "broken.json"
    path.write_text("{")
    with pytest.raises(UsageError, match="no list of tasks"):
        labels(state, "import", str(path))


def test_a_file_of_which_nothing_can_be_read_fails(state: Path) -> None:
    (task, other) = exported(state)
    path = state / "answered.json"

    def code(*tasks: object) -> int:
        path.write_text(json.dumps(tasks))
        return labels(state, "import", str(path)).exit_code

    assert code(7, annotated(task, "eggs")) == 1
    # One that is readable is what was asked for; the others are told.
    assert code(7, annotated(task, "spam")) == 0
    # Nothing to read is nothing amiss.
    assert code() == 0
    assert code(annotated(other, "spam", was_cancelled=True)) == 0
    assert code(7, annotated(other, "spam", was_cancelled=True)) == 1


def test_people_may_find_that_no_label_fits(state: Path) -> None:
    (task, _) = exported(state, "--set", "teacher.abstains=true")
    assert "none_of_these" in (state / "tasks.xml").read_text()
    assert imported(state, [annotated(task, "none_of_these")], "--set", "teacher.abstains=true") == {"new": 1}
    ledger = ledger_of(state)
    assert ledger.counts() == LabelCounts(pending=1, asked=1, labelled=3, invalid=1)
    ledger.close()


def test_an_answer_answers_the_same_text_too(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(0, "one text"), query(1, "one text")], (), None)
    end_one = ledger.reserve(Order(calls=2, now=1.0, teacher="m", key="k"), lambda _: Spend(1)).calls
    label = Label(query(0).coordinates, Outcome.LABELLED, "spam", "m", Answer("spam", 0.5, "stated"), 0.1)
    assert ledger.settle([Settlement(end_one[0].number, (label,), charges=())]) == 1
    assert [question.coordinates.offset for question in ledger.questions(below=0.8, limit=9)] == [0]
    said = HumanAnswer(Coordinates("t", 0, 0), "one text", "ham & eggs", "ham & eggs")
    assert ledger.take([said]) == [Taken.CORRECTED]
    assert {row.label for row in ledger.labelled()} == {"ham & eggs"}
    ledger.close()


def test_on_kafka_an_answer_is_published_and_overrules_elsewhere(tmp_path: Path) -> None:
    here, there = ViewLedger(tmp_path / "here.db"), ViewLedger(tmp_path / "there.db")
    here.owned = frozenset({0})
    here.ingest([query(0)], [], {})
    end(here, 0.4)
    (teachers,) = here.unpublished(0, 9)
    here.published([teachers])
    there.ingest([], [decode_settled(encode_settled(teachers))], {})
    here.take([HumanAnswer(query(0).coordinates, "document 0", "ham & eggs", "ham & eggs")])
    (peoples,) = here.unpublished(0, 9)
    for _ in range(2):
        there.ingest([], [decode_settled(encode_settled(peoples))], {})
    there.ingest([], [decode_settled(encode_settled(teachers))], {})
    assert [row.label for row in there.labelled()] == ["ham & eggs"]
    assert there.unpublished(0, 9) == []


def test_on_kafka_an_answer_is_still_to_be_published_whatever_the_topic_says_of_its_document(tmp_path: Path) -> None:
    """A worker that starts reads back what it had published itself."""
    ledger = ViewLedger(tmp_path / "here.db")
    ledger.owned = frozenset({0})
    ledger.ingest([query(0)], [], {})
    end(ledger, 0.4)
    (teachers,) = ledger.unpublished(0, 9)

    ledger.take([HumanAnswer(query(0).coordinates, "document 0", "ham & eggs", "ham & eggs")])
    ledger.published([teachers])
    ledger.ingest([], [teachers], {})
    (first,) = ledger.unpublished(0, 9)
    assert first.label.label == "ham & eggs"

    ledger.published([first])
    assert ledger.unpublished(0, 9) == []
    ledger.take([HumanAnswer(query(0).coordinates, "document 0", "spam", "spam")])
    ledger.ingest([], [teachers, first], {})
    (second,) = ledger.unpublished(0, 9)
    assert second.label.label == "spam"
    ledger.ingest([], [first, second], {})
    assert ledger.unpublished(0, 9) == []


def test_an_export_without_a_label_set_says_how_to_name_one(state: Path) -> None:
    done = call("labels", "export", "--state", str(state))
    assert "--set 'teacher.labels=[a, b]'" in str(done.exception)


def test_where_people_are_the_teacher_a_worker_says_how_to_ask_them(state: Path) -> None:
    got = call("teach", "--once", "--teacher", "human", "--labels", "spam,eggs", "--state", str(state))
    assert isinstance(got.exception, ConfigError)
    assert "askance labels export" in str(got.exception)
