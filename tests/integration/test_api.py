"""`import askance` on a run of the workers: the same students, the same figures."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import askance
from askance.ledger import SqliteLedger
from askance.registry import DirectoryRegistry
from tests.integration.test_active_learning import pieces
from tests.integration.test_page import documents
from tests.paged import COMMAND
from tests.unit.test_student import publish

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_students_and_estimates_are_those_of_the_workers(tmp_path: Path) -> None:
    # What the first stream taught answers the second one.
    for name, count in (("first", 900), ("second", 300)):
        documents(tmp_path / f"{name}.jsonl", count)
        command = [*COMMAND, "run", "-i", f"{name}.jsonl", "-o", f"{name}-out.jsonl", "--teacher", "replay", "--quiet"]
        command += ["--replay-field", "gold", "--share", "0.3", "--set", "train.first_at=20"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    state = tmp_path / "askance-state"
    told = subprocess.run(
        [*COMMAND, "estimate", "--json"], cwd=tmp_path, check=True, timeout=60, capture_output=True
    ).stdout
    assert msgspec.json.decode(told, type=askance.WindowEstimate) == askance.estimate_run(state)

    rows = [json.loads(line) for line in (tmp_path / "second-out.jsonl").read_bytes().splitlines()]
    texts = {row["id"]: row["text"] for row in map(json.loads, (tmp_path / "second.jsonl").read_bytes().splitlines())}
    versions = {row["version"] for row in rows} - {None}
    assert versions
    for version in versions:
        mine = [row for row in rows if row["version"] == version]
        student = askance.Student.load(state / "registry", version)
        assert (student.version, set(student.labels)) == (version, {"fruit", "metal"})
        asked = [texts[row["id"]] for row in mine]
        assert student.predict(asked) == [row["label"] for row in mine]
        probabilities = student.predict_proba(asked)
        assert np.allclose(probabilities.max(axis=1), [row["confidence"] for row in mine], atol=1e-5)
        decided = askance.Gate(share=None).decide(
            student.logits(asked),
            coordinates=[(row["topic"], row["partition"], row["offset"]) for row in mine],
            temperature=student.temperature,
        )
        assert np.allclose(decided.uncertainties, [row["uncertainty"] for row in mine], atol=1e-6)


def test_the_code_of_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = DirectoryRegistry(tmp_path / "askance-state" / "registry")
    registry.promote(publish(registry).version)
    SqliteLedger(tmp_path / "askance-state" / "ledger.db").close()
    monkeypatch.chdir(tmp_path)
    X, y = load_digits(return_X_y=True)  # noqa: N806 - theirs
    people = LogisticRegression(max_iter=100).fit(X / 16, y)
    names: dict[str, Any] = {
        "texts": np.array([f"document {number} on my invoice" for number in range(400)]),
        "ask": lambda asked: "label 1" if isinstance(asked, str) else people.predict(asked),
        "classifier": LogisticRegression(max_iter=100).fit(X[:60] / 16, y[:60]),
        "X_known": X[:60] / 16,
        "y_known": y[:60],
        "X_pool": X[60:] / 16,
    }
    for code in pieces():
        if "modAL" not in code or find_spec("modAL"):
            exec(code, names)
    assert len(names["agrees"]) == names["asked"].sum() > 0
    assert 0 < len(names["indices"]) < len(names["X_pool"])
