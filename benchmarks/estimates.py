"""Do the estimates keep their promises? Run with `make bench-estimates`.

Simulated streams (tests/simulated.py): coverage of the 95 % intervals, bias, and how often a watched confidence
sequence ever misses, over 2,000 runs a stream; beside them the naive share over labelled documents and Hájek's ratio.
Then the agreement contract over 100 splits of each set in `../shared/data` (BENCH_DATA names another folder).
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from askance.rules.estimate import (  # noqa: E402 - the path above comes first
    Guesses,
    all_right,
    estimate_agreement,
    estimate_classes,
    watched_agreement,
)
from tests.simulated import Stream, stream  # noqa: E402 - what is set above comes first

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from askance.manifest import Estimate

RATES = {0.01: 50_000, 0.05: 20_000, 0.3: 10_000}
"""Acceptance rate to documents of a window: 500 to 3,000 labels."""
CHECKPOINTS = 60


class Cell(NamedTuple):
    """A simulated stream and what it is called."""

    name: str
    known: Stream


@functools.cache
def cells() -> tuple[Cell, ...]:
    """Every stream: 2, 20 and 77 classes, the rarest a twentieth of the commonest, calibrated or far too sure."""
    return tuple(
        Cell(
            f"K={classes} rate={rate} {'too sure' if overconfidence > 1 else 'calibrated'}",
            stream(
                classes=classes,
                rate=rate,
                documents=documents,
                overconfidence=overconfidence,
                rarest=0.05,
                signal=3.5 if classes == 2 else 4.5,
            ),
        )
        for classes in (2, 20, 77)
        for overconfidence in (1.0, 2.5)
        for rate, documents in RATES.items()
    )


def fixed_time(cell: Cell, runs: int) -> dict[str, tuple[float, float]]:
    """Coverage and bias of each way to estimate agreement, by its name."""
    known = cell.known
    truth, documents, total = float(known.agrees.mean()), len(known.truth), float(known.confidences.sum())
    found: dict[str, list[Estimate]] = {"difference": [], "counted": [], "ratio": [], "naive": []}
    for rows in known.draws(runs):
        agrees, q = known.agrees[rows], known.propensities[rows]
        for name, estimate in (
            ("difference", estimate_agreement(agrees, q, guesses=Guesses(known.confidences[rows], total, documents))),
            ("counted", estimate_agreement(agrees, q, guesses=all_right(len(rows), documents))),
            ("ratio", estimate_agreement(agrees, q)),
            ("naive", estimate_agreement(agrees, np.ones(len(rows)))),
        ):
            if estimate is not None:
                found[name].append(estimate)
    return {
        name: (
            float(np.mean([one.low <= truth <= one.high for one in estimates])),
            float(np.mean([one.value for one in estimates]) - truth),
        )
        for name, estimates in found.items()
    }


def ever_miss(cell: Cell, runs: int) -> tuple[float, float]:
    """How often a sequence that is watched all along ever misses, and how often a fixed-time interval does."""
    known = cell.known
    truth = float(known.agrees.mean())
    rng = np.random.default_rng(7)
    missed = fixed_missed = 0
    for _ in range(runs):
        order = rng.permutation(len(known.truth))
        places = np.flatnonzero(rng.random(len(order)) < known.propensities[order])
        rows = order[places]
        misses = fixed_misses = False
        for labels in np.unique(np.geomspace(20, len(rows), CHECKPOINTS).astype(int)).tolist():
            agrees, q = known.agrees[rows[:labels]], known.propensities[rows[:labels]]
            guesses = all_right(labels, int(places[labels - 1]) + 1)
            watched, fixed = (
                estimate(agrees, q, guesses=guesses) for estimate in (watched_agreement, estimate_agreement)
            )
            misses |= watched is not None and not watched.low <= truth <= watched.high
            fixed_misses |= fixed is not None and not fixed.low <= truth <= fixed.high
        missed += misses
        fixed_missed += fixed_misses
    return missed / runs, fixed_missed / runs


def class_coverage(cell: Cell, runs: int) -> dict[str, tuple[int, int]]:
    """Of each figure of the classes, how many intervals covered and how many there were."""
    known = cell.known
    names = [str(label) for label in range(known.classes)]
    truths, predictions = (np.array(names, dtype=object)[column] for column in (known.truth, known.predicted))
    predicted = {name: int((known.predicted == label).sum()) for label, name in enumerate(names)}
    counts = {figure: [0, 0] for figure in ("precision", "recall", "f1", "share")}
    for rows in known.draws(runs):
        found = estimate_classes(names, truths[rows], predictions[rows], known.propensities[rows], predicted=predicted)
        for label, one in enumerate(found):
            is_class, is_guess = known.truth == label, known.predicted == label
            right = float((is_class & is_guess).sum())
            truth = {
                "precision": right / max(is_guess.sum(), 1),
                "recall": right / max(is_class.sum(), 1),
                "f1": 2 * right / max(is_class.sum() + is_guess.sum(), 1),
                "share": is_class.mean(),
            }
            for figure, tally in counts.items():
                estimate = getattr(one, figure)
                if estimate is not None:
                    tally[0] += bool(estimate.low <= truth[figure] <= estimate.high)
                    tally[1] += 1
    return {figure: (covered, given) for figure, (covered, given) in counts.items()}


def _fixed_time(runs: int, place: int) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[int, int]]]:
    with threadpool_limits(1):
        cell = cells()[place]
        return fixed_time(cell, runs), class_coverage(cell, max(2, runs // 100))


def _ever_miss(runs: int, place: int) -> tuple[float, float]:
    with threadpool_limits(1):
        return ever_miss(cells()[place], runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--hashed-splits", type=int, default=2)
    parser.add_argument("--both-splits", type=int, default=2)
    options = parser.parse_args()
    # Started anew, not forked: libraries with threads do not survive a fork.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as executor:
        measure_all(options, executor)


def measure_all(options: argparse.Namespace, executor: Executor) -> None:
    started = time.perf_counter()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"fixed-time 95 % intervals over {options.runs:,} runs: coverage / bias")
    coverage, bias, misses = [], [], []
    figures = {figure: [0, 0] for figure in ("precision", "recall", "f1", "share")}
    for cell, (result, of_classes) in zip(
        cells(), executor.map(functools.partial(_fixed_time, options.runs), range(len(cells()))), strict=True
    ):
        coverage += [result["difference"][0], result["counted"][0]]
        bias += [abs(result["difference"][1]), abs(result["counted"][1])]
        for figure, (covered, given) in of_classes.items():
            figures[figure][0] += covered
            figures[figure][1] += given
        line = "  ".join(f"{name} {share:.3f} / {error:+.4f}" for name, (share, error) in result.items())
        print(f"  {cell.name:28} truth {cell.known.agrees.mean():.3f}  {line}", flush=True)
    for figure, (covered, given) in figures.items():
        print(f"  classes' {figure:9} {covered / given:.3f} of {given:,} intervals cover")
    print(
        f"watched over {options.runs:,} runs, {CHECKPOINTS} looks each: ever missed (fixed-time interval watched alike)"
    )
    watched = [place for place, cell in enumerate(cells()) if "rate=0.05" in cell.name]
    for place, (missed, fixed) in zip(
        watched, executor.map(functools.partial(_ever_miss, options.runs), watched), strict=True
    ):
        misses.append(missed)
        print(f"  {cells()[place].name:28} {missed:.4f} ({fixed:.4f})", flush=True)
    summary: dict[str, object] = {
        "bench": "estimates",
        "coverage": round(min(coverage), 4),
        "ever_miss": round(max(misses), 4),
        "bias": round(max(bias), 4),
    }
    folder = Path(os.environ.get("BENCH_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir() and options.splits:
        from contract_sets import TEACHERS, measure

        splits = {
            "encoder": options.splits,
            "hashed": options.hashed_splits,
            "encoder and hashed": options.both_splits,
        }
        sets = {name: measure(folder, name, splits, executor) for name in TEACHERS}
        summary["contract_broken_of_100"] = max(
            100 * one["encoder"]["broken"] / one["encoder"]["splits"] for one in sets.values()
        )
        for key, kind in zip(("", "_hashed_alone", "_with_hashed"), splits, strict=True):
            summary[f"served_by_student_at_98{key}"] = {
                name: one[kind]["served"] for name, one in sets.items() if kind in one
            }
        summary["teacher_agrees_with_gold"] = {name: one["teacher_agrees_with_gold"] for name, one in sets.items()}
    print(f"took {time.perf_counter() - started:.0f} s")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
