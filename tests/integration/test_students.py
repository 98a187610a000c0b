"""The contract of every student, whatever its kind and features: train, calibrate, export, parity, serve, swap."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from askance.errors import ParityError
from askance.rules.split import is_held_out
from askance.student import onnx
from askance.student.slot import Slot
from askance.training import evaluation
from askance.training.calibration import HIGHEST, LOWEST, tempered
from askance.training.graph import Graph
from askance.training.pipeline import train
from tests.integration.test_training import LABELS, labelled, load, registry, spec, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from askance.records import Labelled

HELD_OUT = 0.2


class Case(NamedTuple):
    """What `Spec` is given."""

    kind: str
    features: str = "hashed"


FAMILIES = [Case(kind) for kind in ("logistic", "svm", "lda", "rf", "gbdt")]


def name(case: Case) -> str:
    return f"{case.kind}-{case.features}"


def settings(state: Path, case: Case, **changed: object) -> dict[str, object]:
    return {"kind": case.kind} | changed


def spread(logits: np.ndarray, temperature: float, rows: Sequence[Labelled]) -> float:
    """Mean negative log-likelihood of the rows' labels."""
    columns = [LABELS.index(row.label) for row in rows]
    return float(-np.log(tempered(logits, temperature)[np.arange(len(rows)), columns]).mean())


def documents() -> list[str]:
    """Texts of very different lengths, the empty one and one without a known word among them."""
    long = [" ".join(row.text for row in labelled(count, seed=count)) for count in (2, 3, 5, 9, 20)]
    return [*(row.text for row in labelled(60, seed=4)), *long, "", "!!", "unknown", "cat"]


def check_neighbours(student: onnx.OnnxStudent) -> None:
    """A document's logits are the same to the bit whatever is scored beside it."""
    texts = documents()
    alone = np.concatenate([student.logits([text]) for text in texts])
    assert np.isfinite(alone).all()
    rng = np.random.default_rng(1)
    for size in (2, 3, 7, 16, 64):
        order = rng.permutation(len(texts))
        for start in range(0, len(texts), size):
            batch = order[start : start + size]
            logits = student.logits([texts[place] for place in batch])
            assert logits.tobytes() == alone[batch].tobytes(), f"batches of {size}"


@pytest.mark.parametrize("case", FAMILIES, ids=name)
def test_a_student_is_trained_calibrated_exported_checked_served_and_swapped(tmp_path: Path, case: Case) -> None:
    rows = labelled(240, wrong=0.1)
    write(tmp_path, rows[:200])
    champion = train(spec(tmp_path, **settings(tmp_path, case)))
    held_out = [row for row in rows[:200] if is_held_out(row.text, HELD_OUT)]

    # Trained, and calibrated: it has learnt, and its temperature serves documents that are new to it.
    assert (champion.student, champion.features) == (case.kind, case.features)
    assert (champion.held_out, champion.trained_on) == (len(held_out), 200 - len(held_out))
    assert LOWEST <= champion.temperature <= HIGHEST
    student = load(tmp_path, champion)
    fresh = labelled(300, seed=9)
    logits = student.logits([row.text for row in fresh])
    assert (logits.argmax(axis=1) == [LABELS.index(row.label) for row in fresh]).mean() > 0.55
    assert spread(logits, champion.temperature, fresh) < np.log(3)

    # Exported, with parity, which loading has checked once more.
    assert champion.parity_error <= 1e-4
    agreement = evaluation.agreement(student, held_out)
    assert champion.agreement == agreement
    check_neighbours(student)

    # Served and swapped.
    registry(tmp_path).promote(champion.version)
    slot = Slot()
    slot.put(student)
    write(tmp_path, rows[200:])
    challenger = train(spec(tmp_path, **settings(tmp_path, case)))
    assert challenger.parent == challenger.verdict.champion == champion.version
    slot.put(load(tmp_path, challenger))
    live = slot.student
    assert live is not None
    assert live.version == challenger.version
    assert live.logits(["cat"]).shape == (1, 3)


@pytest.mark.parametrize("case", FAMILIES, ids=name)
def test_two_classes_and_one_without_a_label(tmp_path: Path, case: Case) -> None:
    write(tmp_path, labelled(80, labels=(LABELS[0], LABELS[2])))

    for labels, name in ((LABELS, "three"), ((LABELS[0], LABELS[2]), "two")):
        manifest = train(spec(tmp_path, labels=labels, registry=str(tmp_path / name), **settings(tmp_path, case)))
        assert manifest.parity_error <= 1e-4
        folder = tmp_path / name / "versions" / manifest.version
        probabilities = tempered(onnx.load(folder, manifest).logits(documents()), HIGHEST)
        if len(labels) == 3:
            assert not probabilities[:, 1].any()


@pytest.mark.parametrize("case", FAMILIES, ids=name)
def test_an_export_that_answers_differently_is_refused(
    tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, labelled(90))
    exact = Graph.serialised

    def skewed(graph: Graph, value: str, *, name: str, width: int) -> bytes:
        if name == "logits":
            value = graph.add("Add", value, graph.put(np.array([2e-3, 0, 0], dtype=np.float32)))
        return exact(graph, value, name=name, width=width)

    monkeypatch.setattr(Graph, "serialised", skewed)
    with pytest.raises(ParityError, match=r"for the document '.+' differs from the trained one's by"):
        train(spec(tmp_path, **settings(tmp_path, case)))
    assert registry(tmp_path).versions() == []
