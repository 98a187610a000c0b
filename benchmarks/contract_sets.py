"""The agreement contract on real texts with recorded LLM labels: what `estimates.py` does with `../shared/data`.

Each split puts half of the documents with a valid teacher label to training, a fifth to calibration and the rest to
the test. The contract promises 98 % agreement of the served answers on the test documents with 95 % confidence.
"Strict" leaves documents in whose teacher gave no valid label: serving one of them counts as disagreement.
"""

from __future__ import annotations

import functools
import json
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from encoder import embed
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from askance._kernel import HashedFeaturizer
from askance.rules.contract import choose_threshold

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

TARGET, MISS = 0.98, 0.05
TEACHERS = {
    "banking77": "qwen3_30b_a3b_fewshot",
    "stackoverflow20": "llama3.2-3b",
    "clinc150": "llama3.2-3b",
}
NONE = -1
KINDS = {"encoder": ("encoder",), "hashed": ("hashed",), "encoder and hashed": ("encoder", "hashed")}


class Labelled(NamedTuple):
    """A set: its texts, and by number the true class and the teacher's, `NONE` where that one is not valid."""

    texts: list[str]
    classes: int
    gold: NDArray[np.int64]
    teacher: NDArray[np.int64]


@functools.cache
def load(folder: Path, name: str) -> Labelled:
    """One of `TEACHERS`."""
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
    place = {label: index for index, label in enumerate(sorted({row["gold"] for row in rows}))}
    return Labelled(
        [row["text"] for row in rows],
        len(place),
        np.array([place[row["gold"]] for row in rows]),
        np.array([place.get(_answer(row, TEACHERS[name]), NONE) for row in rows]),
    )


def measure(folder: Path, name: str, splits: dict[str, int], executor: Executor) -> dict[str, Any]:
    """Mean figures over so many splits, for each of `KINDS`."""
    texts, classes, gold, teacher = load(folder, name)
    valid = teacher != NONE
    agreement = float((teacher == gold)[valid].mean())
    print(
        f"{name}: {len(texts):,} documents, {classes} classes; teacher {TEACHERS[name]} gives a valid label for "
        f"{valid.mean():.1%}, agrees with gold on {(teacher == gold).mean():.1%} ({agreement:.1%} of the valid)",
        flush=True,
    )
    embed(texts, name=name)
    figures: dict[str, Any] = {"teacher_agrees_with_gold": round(agreement, 3)}
    for kind, count in splits.items():
        if not count:
            continue
        started = time.perf_counter()
        outcomes = list(executor.map(functools.partial(_split, folder, name, kind), range(count)))
        mean = {key: float(np.mean([one[key] for one in outcomes])) for key in outcomes[0]}
        broken = sum(one["agreement"] < TARGET for one in outcomes)
        strictly = sum(one["strict_agreement"] < TARGET for one in outcomes)
        print(
            f"  {kind:18} {count} splits, {time.perf_counter() - started:.0f} s: student agrees on "
            f"{mean['student']:.1%}, serves {mean['served']:.1%} (strict {mean['strict_served']:.1%}; by top "
            f"probability {mean['top_served']:.1%}; with the test's own labels {mean['best']:.1%}); served answers "
            f"agree on {mean['agreement']:.2%}, the student's among them {mean['own']:.2%}; with gold "
            f"{mean['gold']:.1%}; broken in {broken} (strict {strictly}) of {count}",
            flush=True,
        )
        figures[kind] = {"served": round(mean["served"], 3), "broken": broken, "splits": count}
    return figures


def _split(folder: Path, name: str, kind: str, seed: int) -> dict[str, float]:
    # The splits run beside each other: threads of one would only wait for those of another.
    with threadpool_limits(1):
        return _outcome(folder, name, kind, seed)


def _outcome(folder: Path, name: str, kind: str, seed: int) -> dict[str, float]:
    _, _, gold, teacher = load(folder, name)
    order = np.random.default_rng(seed).permutation(len(teacher))
    first, second = int(0.5 * len(order)), int(0.7 * len(order))
    train, calibration, test = order[:first], order[first:second], order[second:]
    train = train[teacher[train] != NONE]
    # Several students answer together: the normalised geometric mean of what they believe.
    logs = sum(_believed(folder, name, part, train, teacher[train]) for part in KINDS[kind])
    probabilities = np.exp(logs / len(KINDS[kind]))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    answers = np.unique(teacher[train])[probabilities.argmax(axis=1)]
    wrong = answers != teacher
    second_best, best = np.partition(probabilities, -2, axis=1)[:, -2:].T
    result: dict[str, float] = {}
    for prefix, confidences, counts in (
        ("", best - second_best, teacher != NONE),
        ("top_", best, teacher != NONE),
        ("strict_", best - second_best, np.ones(len(teacher), dtype=bool)),
    ):
        known, tested = calibration[counts[calibration]], test[counts[test]]
        threshold = choose_threshold(
            confidences[known], wrong[known], np.ones(len(known)), target=TARGET, miss=MISS, horizon=len(tested)
        )
        served = confidences[tested] >= (threshold.confidence if threshold else np.inf)
        errors = wrong[tested]
        result[f"{prefix}served"] = float(served.mean())
        result[f"{prefix}agreement"] = 1.0 - float((served & errors).mean())
        if not prefix:
            result["student"] = 1.0 - float(errors.mean())
            result["own"] = 1.0 - float(errors[served].mean()) if served.any() else 1.0
            given = np.where(served, answers[tested], teacher[tested])
            result["gold"] = float((given == gold[tested]).mean())
            surest_first = np.cumsum(errors[np.argsort(-confidences[tested], kind="stable")])
            result["best"] = float((surest_first <= (1.0 - TARGET) * len(tested)).mean())
    return result


def _believed(
    folder: Path, name: str, part: str, train: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, c) log-probabilities for every document, by a student that saw `train` only."""
    features: Any = _embedded(folder, name)
    model = LogisticRegression(C=0.02, max_iter=30)
    if part == "encoder":
        features = _evened(features, train)
    else:
        features, model = _hashed(folder, name), LogisticRegression(C=10.0, max_iter=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(features[train], labels)
    logarithms: NDArray[np.float64] = np.log(model.predict_proba(features) + 1e-12)
    return logarithms


def _evened(vectors: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors with the spread of each principal component replaced by its root, so that the penalty is fairer to
    what varies little: L-BFGS needs 20 to 30 steps instead of 60 and more, and the student serves 1 to 2 % more."""
    centred = vectors - vectors[train].mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(centred[train].T))
    evened = centred @ (directions * (variances + 1e-3 * variances[-1]) ** -0.25).astype(np.float32)
    return evened / evened[train].std()


@functools.cache
def _embedded(folder: Path, name: str) -> NDArray[np.float32]:
    return embed(load(folder, name).texts, name=name)


def _answer(row: dict[str, Any], model: str) -> str | None:
    return next((answer["label"] for answer in row["teachers"] if answer["model"] == model), None)


@functools.cache
def _hashed(folder: Path, name: str) -> csr_array:
    texts = load(folder, name).texts
    indptr, indices, values = HashedFeaturizer().transform(texts)
    matrix = csr_array((values, indices, indptr), shape=(len(texts), 2**18))
    # Buckets of one document teach nothing; without them a fit takes half the time.
    frequencies = np.bincount(indices, minlength=2**18)
    kept = np.flatnonzero(frequencies > 1)
    scale = np.log((1 + len(texts)) / (1 + frequencies[kept])) + 1.0
    return csr_array(matrix[:, kept].multiply(scale))
