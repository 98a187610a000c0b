"""A label set that changes between trainings and between runs: nothing that was paid for is lost or asked again."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from askance.training.pipeline import train
from tests.integration.test_training import LABELS, labelled, load, registry, spec, write

if TYPE_CHECKING:
    from pathlib import Path

    from askance.manifest import Manifest

PRESENT = {"animals": "nature", "boats": "nature"}


def changed(state: Path, labels: tuple[str, ...], renamed: dict[str, str], **more: object) -> Manifest:
    """Train on the first label set, go live, then train on this one."""
    write(state, labelled(300))
    first = train(spec(state))
    registry(state).promote(first.version)
    return train(spec(state, labels=labels, renamed=renamed, **more))


def test_a_rename_learns_from_every_label_and_goes_live_though_it_improves_nothing(tmp_path: Path) -> None:
    now = {"animals": "beasts"}
    second = changed(tmp_path, ("beasts", "boats", "cooking"), now, promote="improves")
    first, _ = registry(tmp_path).versions()
    assert (first.label_set, second.label_set, second.renamed) == (1, 2, now)
    assert (second.trained_on, second.held_out) == (first.trained_on, first.held_out)
    # The champion's answers are taken by their present name: it agrees just as often.
    assert second.verdict.difference is not None
    assert second.verdict.difference.value == 0.0
    assert (second.verdict.promoted, second.verdict.rule) == (True, "unless_worse")


def test_merged_classes_are_one(tmp_path: Path) -> None:
    second = changed(tmp_path, ("nature", "cooking"), PRESENT)
    student = load(tmp_path, second)
    assert student.labels == ("nature", "cooking")
    logits = student.logits(["cat dog fur", "sail mast hull", "salt oven pan"])
    assert [student.labels[column] for column in logits.argmax(axis=1)] == ["nature", "nature", "cooking"]
    assert second.agreement is not None
    assert second.agreement.value > 0.85


def test_an_added_class_is_there_from_the_start_and_learnt_when_its_labels_come(tmp_path: Path) -> None:
    labels = (*LABELS, "weather")
    second = changed(tmp_path, labels, {})
    assert second.verdict.promoted
    assert (second.labels, second.label_set) == (labels, 2)
    registry(tmp_path).promote(second.version)
    rows = [
        msgspec.structs.replace(
            row,
            text=" ".join(f"rain{number % 5}" if "common" not in word else word for word in row.text.split()),
            label="weather",
            coordinates=row.coordinates._replace(topic="later"),
        )
        for number, row in enumerate(labelled(60, seed=3))
    ]
    write(tmp_path, rows)
    third = train(spec(tmp_path, labels=labels))
    assert (third.label_set, third.verdict.promoted) == (2, True)
    student = load(tmp_path, third)
    (answer,) = student.logits(["rain1 rain2 rain3 common1"]).argmax(axis=1)
    assert student.labels[answer] == "weather"


def test_a_class_that_is_gone_takes_its_labels_with_it(tmp_path: Path) -> None:
    second = changed(tmp_path, ("animals", "boats"), {})
    first, _ = registry(tmp_path).versions()
    assert second.trained_on + second.held_out == 200
    assert first.trained_on + first.held_out == 300


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    for name, seed in (("first", 0), ("second", 1)):
        rows = labelled(600, seed=seed)
        lines = [json.dumps({"id": f"{name}-{n}", "text": row.text, "gold": row.label}) for n, row in enumerate(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def run(folder: Path, name: str, **teacher: object) -> None:
    settings = {
        "teacher": {"kind": "replay", "replay_field": "gold", **teacher},
        "train": {"first_at": 60},
        "budget": {"share": 0.3},
    }
    (folder / "askance.yaml").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-c", "from askance.cli.main import main; main()", "run", "--config", "askance.yaml"]
    process = subprocess.run(
        [*command, "--input", f"{name}.jsonl", "--output", f"{name}-predictions.jsonl"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_a_run_after_a_merge_trains_at_once_and_answers_by_the_new_names(stream: Path) -> None:
    run(stream, "first")
    before = registry(stream / "askance-state").versions()
    assert {manifest.label_set for manifest in before} == {1}
    run(stream, "second", renamed=PRESENT)
    state = registry(stream / "askance-state")
    after = state.versions()[len(before) :]
    assert after
    assert {(manifest.label_set, manifest.labels) for manifest in after} == {(2, ("cooking", "nature"))}
    # The first of them has the old labels to learn from, not only those that came since.
    assert after[0].trained_on + after[0].held_out >= before[-1].trained_on + before[-1].held_out
    live = state.current()
    assert live is not None
    assert state.manifest(live).label_set == 2
    command = [sys.executable, "-c", "from askance.cli.main import main; main()", "estimate", "--json"]
    found = subprocess.run(command, cwd=stream, capture_output=True, text=True, timeout=60, check=True)
    classes = {one["label"] for one in json.loads(found.stdout)["classes"]}
    assert classes == {"cooking", "nature"}
