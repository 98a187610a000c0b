"""How far do class shares move from one version to the next? `make bench-jumps`: what `guard.jump` rests on.

On each set in `../shared/data` with recorded LLM labels, students on encoder features are trained on 100, 200, 400, ...
of the teacher's labels, as a run would, and answer the same 4,096 other documents: the total variation between one and
the next is what a sound version does. Beside it what a broken one does: its labels are in another order, its export
swapped two frequent classes, or it answers one class. The last line is one JSON object.
"""

from __future__ import annotations

import itertools
import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from contract_sets import NONE, TEACHERS, load
from encoder import embed
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = (100, 200, 400, 800, 1600, 3200)
WINDOW = 4096
LIMITS = (0.2, 0.3, 0.4, 0.5, 0.6)
ROOT = Path(__file__).resolve().parent.parent


def shares(answers: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    return np.bincount(answers, minlength=classes) / len(answers)


def variation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(one - other).sum() / 2)


def jumps(folder: Path, name: str, seed: int) -> tuple[list[float], dict[str, float]]:
    """From each size to the next; and by what a broken version, after the last one, jumps."""
    texts, classes, _, teacher = load(folder, name)
    vectors = embed(texts, name=name)
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(teacher != NONE))
    window, pool = order[:WINDOW], order[WINDOW:]
    answered = []
    for size in SIZES:
        chosen = pool[:size]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=10.0, max_iter=100, class_weight="balanced")
            model.fit(vectors[chosen], teacher[chosen])
        # Versions follow one another on the stream: the next one answers other documents.
        half = window[len(answered) % 2 :: 2]
        answered.append(model.predict(vectors[half]))
    sound = [variation(shares(one, classes), shares(other, classes)) for one, other in itertools.pairwise(answered)]
    last = answered[-1]
    first, second = np.argsort(-np.bincount(last, minlength=classes))[[0, len(set(last.tolist())) // 2]]
    swapped = np.where(last == first, second, np.where(last == second, first, last))
    before = shares(answered[-2], classes)
    broken = {
        "labels in another order": variation(before, shares(rng.permutation(classes)[last], classes)),
        "two classes swapped": variation(before, shares(swapped, classes)),
        "one class for all": variation(before, shares(np.full_like(last, first), classes)),
    }
    return sound, broken


def main() -> None:
    folder = Path(os.environ.get("BENCH_DATA", ROOT.parent / "shared" / "data"))
    variations: dict[str, list[float]] = {}
    with threadpool_limits(1):
        for name in TEACHERS:
            found = [jumps(folder, name, seed) for seed in range(5)]
            sound = np.array([one for one, _ in found])
            print(f"{name}: total variation from one version to the next, mean and largest of {len(found)} runs")
            for place, (size, following) in enumerate(itertools.pairwise(SIZES)):
                print(f"  {size:5} to {following:5} labels  {sound[:, place].mean():.2f}  {sound[:, place].max():.2f}")
            for kind in found[0][1]:
                values = [broken[kind] for _, broken in found]
                print(f"  {kind:24} {np.mean(values):.2f}, least {min(values):.2f}", flush=True)
            seen = {"sound": sound.ravel()} | {kind: np.array([one[kind] for _, one in found]) for kind in found[0][1]}
            for kind, values in seen.items():
                variations.setdefault(kind, []).extend(values.tolist())
    rates = {
        kind: {str(limit): round(float(np.mean(np.array(values) > limit)), 3) for limit in LIMITS}
        for kind, values in variations.items()
    }
    print(json.dumps({"bench": "jumps", "taken_back_at_limit": rates}))


if __name__ == "__main__":
    main()
