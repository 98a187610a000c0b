"""Selection at training time, from the ledger's labels to a published version."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from askance.errors import TrainingError
from askance.ledger import SqliteLedger
from askance.records import Answer, Label, Outcome, Query
from askance.rules.selection import SelectionRule
from askance.training.pipeline import train
from askance.training.process import ProcessTrainer
from tests.doubles import give
from tests.integration.test_training import labelled, load, registry, spec

if TYPE_CHECKING:
    from pathlib import Path

SURE = SelectionRule(by_uncertainty=False, weighted=False, importance_exponent=0.0)
TRUTH = labelled(1500, seed=7)


def write(state: Path, *, confident: bool = True) -> int:
    """400 labels, a third of them wrong; the teacher is less sure of those. Returns how many are wrong."""
    random = np.random.default_rng(3)
    rows = labelled(400, seed=1)
    names = sorted({row.label for row in rows})
    labels = []
    wrong = 0
    for row in rows:
        errs = random.random() < 1 / 3
        wrong += errs
        name = names[(names.index(row.label) + 1) % len(names)] if errs else row.label
        answer = Answer(name, confidence=(0.3 if errs else 0.9) if confident else None, confidence_source="stated")
        labels.append(Label(row.coordinates, Outcome.LABELLED, name, "test", answer, 0.0))
    with closing(SqliteLedger(state / "ledger.db")) as ledger:
        queries = [
            Query(row.coordinates, str(row.coordinates), row.text, "boats", 0.5, 0.6, 0.2, "v1", 0) for row in rows
        ]
        ledger.commit(queries, (), None)
        give(ledger, labels)
    return wrong


def accuracy(state: Path, **changed: object) -> tuple[float, int]:
    manifest = train(spec(state, **changed))
    logits = load(state, manifest).logits([row.text for row in TRUTH])
    answers = [manifest.labels[column] for column in logits.argmax(axis=1)]
    right = np.mean([answer == row.label for answer, row in zip(answers, TRUTH, strict=True)])
    return float(right), manifest.dropped


def test_labels_the_teacher_is_not_sure_of_are_dropped_and_the_student_is_better_for_it(tmp_path: Path) -> None:
    wrong = write(tmp_path)

    plain, none_dropped = accuracy(tmp_path)
    better, dropped = accuracy(tmp_path, selection=SURE)

    assert none_dropped == 0
    # A fifth of the wrong ones is held out.
    assert 0.6 * wrong < dropped < wrong
    assert better > plain + 0.03


def test_a_label_that_weighs_little_is_learnt_little_from(tmp_path: Path) -> None:
    write(tmp_path)
    rule = SelectionRule(by_confidence=False, by_uncertainty=False, importance_exponent=0.0)

    plain, _ = accuracy(tmp_path)
    weighted, dropped = accuracy(tmp_path, selection=rule)

    assert dropped == 0
    assert weighted > plain + 0.03


def test_without_confidence_the_rule_changes_no_answer(tmp_path: Path) -> None:
    write(tmp_path, confident=False)

    plain, _ = accuracy(tmp_path)
    degraded, dropped = accuracy(tmp_path, selection=SelectionRule(importance_exponent=0.0))

    assert (degraded, dropped) == (plain, 0)


def test_another_rule_is_something_new_to_learn_and_the_same_one_is_not(tmp_path: Path) -> None:
    write(tmp_path)
    train(spec(tmp_path, selection=SURE))

    with pytest.raises(TrainingError, match="nothing new"):
        train(spec(tmp_path, selection=SURE))

    train(spec(tmp_path))


def test_uncertainty_as_the_champion_sees_it_now_drops_other_labels(tmp_path: Path) -> None:
    """All were recorded as equally uncertain, so by that nothing is dropped; the champion is sure of some."""
    write(tmp_path)
    champion = train(spec(tmp_path))
    registry(tmp_path).promote(champion.version)
    rule = SelectionRule(by_confidence=False, weighted=False, importance_exponent=0.0, per_class=False)

    recorded = train(spec(tmp_path, selection=rule))
    rescored = train(spec(tmp_path, selection=rule, rescored="entropy"))

    assert recorded.dropped == 0
    assert rescored.dropped > 50


def test_the_rule_reaches_the_training_process(tmp_path: Path) -> None:
    write(tmp_path)

    manifest = asyncio.run(ProcessTrainer(spec(tmp_path, selection=SURE)).train())

    assert manifest.dropped > 50
