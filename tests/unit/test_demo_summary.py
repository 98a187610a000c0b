"""What the demo says of itself follows from what the run left behind, and it admits when the loop did not close."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from askance.demo import summary
from askance.errors import AskanceError, UsageError
from askance.manifest import Estimate, FeaturizerConfig, Manifest, Verdict
from askance.report import render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LABELS = ("a", "b", "c")


class Scripted:
    """A student that is right about the first `right` of every 100 documents and otherwise one label off."""

    temperature = 1.0
    labels: Sequence[str] = LABELS

    def __init__(self, version: str, right: int) -> None:
        self.version = version
        self._right = right

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        logits = np.zeros((len(texts), len(LABELS)), dtype=np.float32)
        for row, number in enumerate(int(text.split()[-1]) for text in texts):
            logits[row, (number + (number // 3 % 100 >= self._right)) % 3] = 1.0
        return logits


def gold(number: int) -> str:
    return LABELS[number % 3]


def judged(count: int = 4_000, *, versions: int = 4) -> list[summary.Judged]:
    """A quarter without a student, then ever better versions; every tenth document is accepted."""
    stream = []
    for number in range(count):
        part = number * (versions + 1) // count
        is_right = number // 3 % 100 < 50 + 10 * part
        stream.append(
            summary.Judged(
                text=f"document {number}",
                gold=gold(number),
                label=None if part == 0 else gold(number + (not is_right)),
                accepted=number % 10 == 0,
                version=f"v{part}" if part else None,
            )
        )
    return stream


def manifest(version: str, *, promoted: bool = True) -> Manifest:
    return Manifest(
        version=version,
        created_at="2026-01-01T00:00:00Z",
        student="logistic",
        labels=LABELS,
        temperature=1.0,
        featurizer=FeaturizerConfig(),
        featurizer_digest="",
        parent=None,
        trained_on=100,
        held_out=20,
        training_digest="",
        parity_error=0.0,
        agreement=Estimate(0.7, 0.6, 0.8, 20, 15.0),
        verdict=Verdict(promoted=promoted, why="because"),
        files={},
    )


def test_the_figures_are_those_of_the_stream() -> None:
    told = summary.summarise(judged(), first=Scripted("v1", 60), last=Scripted("v4", 90), seconds=8.0)
    assert (told.documents, told.teacher_calls) == (4_000, 400)
    assert told.share_saved == pytest.approx(0.9)
    assert told.swapped_in == ("v1", "v2", "v3", "v4")
    assert told.first_accuracy is not None
    assert told.first_accuracy.value == pytest.approx(0.6, abs=0.02)
    assert told.first_accuracy.documents == 3_600
    assert told.last_accuracy is not None
    assert told.last_accuracy.value == pytest.approx(0.9, abs=0.02)
    assert told.gain is not None
    assert told.gain.value == pytest.approx(told.last_accuracy.value - told.first_accuracy.value)
    # The last quarter's 1,000 documents hold 90 wrong predictions, and a tenth of all are accepted.
    assert told.accuracy is not None
    assert told.accuracy.documents == 900
    assert told.accuracy.value == pytest.approx(0.91)
    assert told.closed
    text = "\n".join(told.lines())
    for expected in (
        "4,000",
        "90.0% of the documents saved",
        "4 swapped in: v1, v2, v3, v4",
        "500 documents per second",
    ):
        assert expected in text


def test_accepted_documents_never_count_towards_accuracy() -> None:
    stream = [
        summary.Judged(one.text, one.gold, "wrong" if one.accepted else one.label, one.accepted, one.version)
        for one in judged()
    ]
    honest = summary.summarise(judged(), first=Scripted("v1", 60), last=Scripted("v4", 90), seconds=8.0)
    assert summary.summarise(stream, first=Scripted("v1", 60), last=Scripted("v4", 90), seconds=8.0) == honest


@pytest.mark.parametrize(
    ("versions", "first", "last", "holds"),
    [(4, 60, 90, (True, True)), (2, 60, 90, (False, True)), (4, 60, 62, (True, False)), (4, 90, 60, (True, False))],
)
def test_the_loop_closed_only_if_versions_were_swapped_in_and_got_better(
    versions: int, first: int, last: int, holds: tuple[bool, bool]
) -> None:
    told = summary.summarise(
        judged(versions=versions), first=Scripted("v1", first), last=Scripted("v9", last), seconds=8.0
    )
    assert tuple(finding.holds for finding in told.findings) == holds
    assert told.closed == all(holds)
    assert ("NO " in "\n".join(told.lines())) != told.closed


def test_without_a_student_it_says_so() -> None:
    stream = [summary.Judged(one.text, one.gold, None, one.accepted, None) for one in judged(100)]
    told = summary.summarise(stream, first=None, last=None, seconds=1.0)
    assert not told.closed
    assert told.accuracy is None
    assert "0 swapped in: none" in "\n".join(told.lines())
    assert "<svg" in render(summary.report(told, stream, [], budget_share=0.1))
    nothing = summary.summarise([], first=None, last=None, seconds=0.0)
    assert not nothing.closed
    render(summary.report(nothing, [], [], budget_share=None))
    assert nothing.lines()


def test_one_version_is_no_progress() -> None:
    only = Scripted("v1", 60)
    told = summary.summarise(judged(versions=1), first=only, last=only, seconds=1.0)
    assert told.gain is not None
    assert told.gain.value == 0.0
    assert not told.closed


def test_the_report_covers_the_stream() -> None:
    stream = judged()
    told = summary.summarise(stream, first=Scripted("v1", 60), last=Scripted("v4", 90), seconds=8.0)
    manifests = [manifest("v1"), manifest("v2"), manifest("v2b", promoted=False), manifest("v3"), manifest("v4")]
    page = summary.report(told, stream, manifests, budget_share=0.1, about=("a test",))
    assert sum(window.documents for window in page.windows) == 4_000
    assert sum(window.accepted for window in page.windows) == 400
    assert page.windows[0].accuracy is None
    assert page.windows[-1].accuracy is not None
    assert [row.live_from for row in page.versions] == [800, 1_600, None, 2_400, 3_200]
    assert sum(row.answered for row in page.versions) == 3_200
    assert sum(row.documents for row in page.classes) == 4_000
    assert sum(row.accepted for row in page.classes) == 400
    assert sum(row.judged for row in page.classes) == 900
    assert {row.label: row.mistaken_for for row in page.classes} == {"a": "b", "b": "c", "c": "a"}
    assert page.agreement == manifests[-1].agreement
    assert page.findings == told.findings
    assert "a test" in render(page)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def documents(count: int = 5) -> list[dict[str, object]]:
    return [{"id": f"d{number}", "text": f"text {number}", "gold": gold(number)} for number in range(count)]


def predictions(count: int = 5) -> list[dict[str, object]]:
    return [
        {"id": f"d{number}", "label": "a", "accepted": number == 1, "version": "v1", "offset": 100 * number, "seed": 0}
        for number in range(count)
    ]


def test_predictions_are_joined_to_their_documents_in_stream_order(tmp_path: Path) -> None:
    path = write(tmp_path / "documents.jsonl", documents())
    stream = summary.read(path, write(tmp_path / "predictions.jsonl", predictions()[::-1]))
    assert [one.text for one in stream] == [f"text {number}" for number in range(5)]
    assert [one.gold for one in stream] == list("abcab")
    assert [one.accepted for one in stream] == [False, True, False, False, False]


@pytest.mark.parametrize(
    "change", [lambda rows: rows[:-1], lambda rows: [*rows, rows[0]], lambda rows: [*rows[1:], rows[1]]]
)
def test_every_document_needs_exactly_one_prediction(tmp_path: Path, change: object) -> None:
    assert callable(change)
    path = write(tmp_path / "documents.jsonl", documents())
    with pytest.raises(AskanceError, match="exactly one"):
        summary.read(path, write(tmp_path / "predictions.jsonl", change(predictions())))


def test_a_file_that_is_not_the_demos_is_a_usage_error(tmp_path: Path) -> None:
    path = write(tmp_path / "documents.jsonl", documents())
    with pytest.raises(UsageError, match="cannot be read"):
        summary.read(path, tmp_path / "absent.jsonl")
    for wrong in (b"{", b'{"id": 1}\n', b"\xff\n"):
        (tmp_path / "wrong.jsonl").write_bytes(wrong)
        with pytest.raises(UsageError, match="not what the demo writes"):
            summary.read(path, tmp_path / "wrong.jsonl")
