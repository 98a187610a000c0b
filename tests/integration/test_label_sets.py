"""Label sets that change between trainings: labels that are added, dropped, renamed and merged."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from askance import assembly
from askance.config import Config
from askance.config.student import TrainConfig
from askance.ledger import SqliteLedger
from askance.teaching import examples_of
from askance.training.pipeline import split, train
from tests.integration.test_training import labelled, load, registry, spec, write

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("transport", "animals", "news")
RENAMED = {"boats": "transport", "cooking": "animals"}
"""`boats` only has another name; `cooking` is merged into `animals`."""


def test_what_was_paid_for_is_learnt_under_the_new_names(tmp_path: Path) -> None:
    rows = labelled(240)
    write(tmp_path, rows)
    first = train(spec(tmp_path))
    registry(tmp_path).promote(first.version)
    second = train(spec(tmp_path, labels=LABELS, renamed=RENAMED))
    assert (first.label_set, second.label_set) == (1, 2)
    assert second.labels == LABELS
    assert (second.trained_on, second.held_out) == (first.trained_on, first.held_out)
    fresh = labelled(300, seed=5)
    logits = load(tmp_path, second).logits([row.text for row in fresh])
    expected = [LABELS.index(RENAMED.get(row.label, row.label)) for row in fresh]
    assert (logits.argmax(axis=1) == expected).mean() > 0.8
    # The new one has no label yet, and is never answered.
    assert (logits[:, 2] < -9e4).all()

    write(tmp_path, [msgspec.structs.replace(row, label="animals") for row in labelled(250)[240:]])
    third = train(spec(tmp_path, labels=LABELS, renamed=RENAMED))
    assert third.label_set == 2


def test_the_champion_is_judged_by_what_its_labels_are_called_now(tmp_path: Path) -> None:
    write(tmp_path, labelled(240))
    first = train(spec(tmp_path))
    registry(tmp_path).promote(first.version)
    labels = ("animals", "ships", "cooking")
    difference = train(spec(tmp_path, labels=labels, renamed={"boats": "ships"})).verdict.difference
    assert difference is not None
    # Under their old name a third of the champion's answers would be wrong.
    assert abs(difference.value) < 0.1


def test_labels_that_are_gone_are_on_neither_side(tmp_path: Path) -> None:
    rows = labelled(60)
    training, held_out = split(rows, labels=("animals", "ships"), share=0.2, renamed={"boats": "ships"})
    counts = np.unique([row.label for row in [*training, *held_out]], return_counts=True)
    assert [column.tolist() for column in counts] == [["animals", "ships"], [20, 20]]


def test_with_another_label_set_the_next_training_is_due_at_once(tmp_path: Path) -> None:
    write(tmp_path, labelled(100))
    train(spec(tmp_path))
    config = Config(train=TrainConfig(first_at=50))
    versions = registry(tmp_path)
    same = assembly.schedule(config, versions, ("animals", "boats", "cooking"), now=0.0)
    other = assembly.schedule(config, versions, ("animals", "ships", "cooking"), now=0.0)
    assert (same.due(100, 0.0), other.due(100, 0.0)) == (False, True)


def test_the_prompt_shows_examples_under_their_new_names(tmp_path: Path) -> None:
    write(tmp_path, labelled(30))
    config = Config.model_validate(
        {"teacher": {"examples": 6, "labels": ["animals", "ships", "cooking"], "renamed": {"boats": "ships"}}}
    )
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        assert {label for _, label in examples_of(config, ledger)} == {"animals", "ships", "cooking"}


@pytest.mark.parametrize(
    ("renamed", "says"),
    [
        ({"a": "b"}, "teacher.renamed renames 'a', which is one of teacher.labels: drop one of them"),
        ({"old": "c"}, "teacher.renamed renames 'old' to 'c', which is none of teacher.labels"),
        ({"old": "older", "older": "a"}, "teacher.renamed renames 'old' to 'older', which is none of teacher.labels"),
    ],
)
def test_a_renaming_that_leads_nowhere_is_refused(renamed: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Config.model_validate({"teacher": {"labels": ["a", "b"], "renamed": renamed}})
