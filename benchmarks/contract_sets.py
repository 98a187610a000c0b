"""The agreement contract on real texts with recorded LLM labels: what `estimates.py` does with `../shared/data`.

Each split puts half of the documents with a valid teacher label to training, a fifth to calibration and the rest to
the test. The contract promises 98 % agreement of the served answers on the test documents with 95 % confidence.
"Strict" leaves documents in whose teacher gave no valid label: serving one of them counts as disagreement.
"""

from __future__ import annotations

import json
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from encoder import embed
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from askance._kernel import HashedFeaturizer
from askance.rules.contract import choose_threshold

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TARGET, MISS = 0.98, 0.05
TEACHERS = {
    "banking77": "qwen3_30b_a3b_fewshot",
    "stackoverflow20": "llama3.2-3b",
    "clinc150": "llama3.2-3b",
}
NONE = -1


def measure(folder: Path, name: str, *, splits: int, hashed_splits: int, both_splits: int) -> dict[str, Any]:
    """Mean figures over the splits, for the encoder's features and for hashed ones."""
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
    texts = [row["text"] for row in rows]
    place = {label: index for index, label in enumerate(sorted({row["gold"] for row in rows}))}
    gold = np.array([place[row["gold"]] for row in rows])
    teacher = np.array([place.get(_answer(row, TEACHERS[name]), NONE) for row in rows])
    valid = teacher != NONE
    print(
        f"{name}: {len(rows):,} documents, {len(place)} classes; teacher {TEACHERS[name]} gives a valid label for "
        f"{valid.mean():.1%}, agrees with gold on {(teacher == gold).mean():.1%} "
        f"({(teacher == gold)[valid].mean():.1%} of the valid)",
        flush=True,
    )
    figures: dict[str, Any] = {"teacher_agrees_with_gold": round(float((teacher == gold)[valid].mean()), 3)}
    embedded = (embed(texts, name=name), LogisticRegression(C=5.0, max_iter=60))
    counted = (_hashed(texts), LogisticRegression(C=10.0, max_iter=30))
    kinds = (
        ("encoder", [embedded], splits),
        ("hashed", [counted], hashed_splits),
        ("encoder and hashed", [embedded, counted], both_splits),
    )
    for kind, parts, count in kinds:
        started = time.perf_counter()
        outcomes = [_split(parts, teacher, gold, seed) for seed in range(count)]
        if not outcomes:
            continue
        mean = {key: float(np.mean([one[key] for one in outcomes])) for key in outcomes[0]}
        broken = sum(one["agreement"] < TARGET for one in outcomes)
        strictly = sum(one["strict_agreement"] < TARGET for one in outcomes)
        print(
            f"  {kind:18} {count} splits, {time.perf_counter() - started:.0f} s: student agrees on "
            f"{mean['student']:.1%}, serves {mean['served']:.1%} (strict {mean['strict_served']:.1%}); "
            f"served answers agree on {mean['agreement']:.2%}, the student's among them {mean['own']:.2%}; "
            f"with gold {mean['gold']:.1%}; broken in {broken} (strict {strictly}) of {count}",
            flush=True,
        )
        figures[kind] = {"served": round(mean["served"], 3), "broken": broken, "splits": count}
    return figures


def _split(
    parts: list[tuple[Any, LogisticRegression]], teacher: NDArray[Any], gold: NDArray[Any], seed: int
) -> dict[str, float]:
    order = np.random.default_rng(seed).permutation(len(teacher))
    first, second = int(0.5 * len(order)), int(0.7 * len(order))
    train, calibration, test = order[:first], order[first:second], order[second:]
    train = train[teacher[train] != NONE]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for features, model in parts:
            model.fit(features[train], teacher[train])
    classes = parts[0][1].classes_

    def score(chosen: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.int64]]:
        # Several students answer together: the normalised geometric mean of what they believe.
        logs = sum(np.log(model.predict_proba(features[chosen]) + 1e-12) for features, model in parts)
        probabilities = np.exp(logs / len(parts))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        answers = classes[probabilities.argmax(axis=1)]
        return probabilities.max(axis=1), answers != teacher[chosen], answers

    calibrating, testing = score(calibration), score(test)
    result: dict[str, float] = {}
    for prefix, in_calibration, in_test in (
        ("", teacher[calibration] != NONE, teacher[test] != NONE),
        ("strict_", np.ones(len(calibration), dtype=bool), np.ones(len(test), dtype=bool)),
    ):
        scores, wrong = calibrating[0][in_calibration], calibrating[1][in_calibration]
        threshold = choose_threshold(
            scores, wrong, np.ones(len(scores)), target=TARGET, miss=MISS, horizon=int(in_test.sum())
        )
        confidences, errors, answers = (column[in_test] for column in testing)
        served = confidences >= (threshold.confidence if threshold else np.inf)
        result[f"{prefix}served"] = float(served.mean())
        result[f"{prefix}agreement"] = 1.0 - float((served & errors).mean())
        if not prefix:
            result["student"] = 1.0 - float(errors.mean())
            result["own"] = 1.0 - float(errors[served].mean()) if served.any() else 1.0
            given = np.where(served, answers, teacher[test][in_test])
            result["gold"] = float((given == gold[test][in_test]).mean())
    return result


def _answer(row: dict[str, Any], model: str) -> str | None:
    return next((answer["label"] for answer in row["teachers"] if answer["model"] == model), None)


def _hashed(texts: list[str]) -> csr_array:
    indptr, indices, values = HashedFeaturizer().transform(texts)
    matrix = csr_array((values, indices, indptr), shape=(len(texts), 2**18))
    # Buckets of one document teach nothing; without them a fit takes half the time.
    frequencies = np.bincount(indices, minlength=2**18)
    kept = np.flatnonzero(frequencies > 1)
    scale = np.log((1 + len(texts)) / (1 + frequencies[kept])) + 1.0
    return csr_array(matrix[:, kept].multiply(scale))
