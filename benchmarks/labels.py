"""How many teacher calls each policy needs for what random sampling learns: `make bench-labels`.

A set's fixed test fifth, chosen by text, is never asked about; the other documents are a stream, in an order of the
seed's. Random sampling's whole budget is two fifths of it; smaller budgets, and the accuracy that all labels give, are
reported beside it. Every run goes to a file as it ends, so that `--resume` goes on after a stop. Charts and results go
to a folder that git ignores.
"""

from __future__ import annotations

import os

# One core a process: several processes run beside each other.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import argparse
import itertools
import json
import math
import platform
import time
import warnings
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from labels_curves import Curve, curve, draw, fraction, interval
from labels_stream import TEACHERS, Point, Policy, Stream, at_random, load, play
from labels_students import Recipe

ROOT = Path(__file__).parents[1]
SETS = ("stackoverflow20", "banking77", "clinc150", "hwu64", "snips")
BUDGETS = (0.05, 0.1, 0.2, 0.4)
"""Random sampling's, as shares of the stream; the last one is its whole budget."""
EVERYTHING = 1.0
"""All labels of the stream: no sampling any more, but the most that this student can learn from it."""
SETTINGS = (("gold", "encoder"), ("llm", "encoder"), ("gold", "hashed"))
SHARES = (0.015, 0.03, 0.06, 0.12, 0.25, 0.4)
"""The policies'."""
HEADLINE = "margin^3"
"""What the product can be set to that needs few labels on all sets; `docs/label-efficiency.md` says what it costs."""
RANDOM = Policy("random", measure="random")
MAIN = (
    Policy("m-raru, no budget", unlimited=True),
    Policy("m-raru at a share"),
    Policy("entropy^3", exponent=3.0),
    Policy("margin", measure="margin"),
    Policy("margin^2", measure="margin", exponent=2.0),
    Policy("margin^3", measure="margin", exponent=3.0),
    Policy("margin^5", measure="margin", exponent=5.0),
    Policy("random, self-training", measure="random", pseudo=True),
    Policy("margin^3, self-training", measure="margin", exponent=3.0, pseudo=True),
)
LLM = (
    Policy("m-raru at a share"),
    Policy("margin^3", measure="margin", exponent=3.0),
    Policy("m-raru + llkd", selection=True),
    Policy("margin^3 + llkd", measure="margin", exponent=3.0, selection=True),
)
HASHED = (Policy("m-raru at a share"), Policy("margin^3", measure="margin", exponent=3.0))
CHEAP_HASHED = ("stackoverflow20", "banking77", "snips")
"""Sets whose fits on hashed features take seconds; the others' are for `--full`."""
_CUBED: dict[str, Any] = {"measure": "margin", "exponent": 3.0}


def _with(what: str, recipe: Recipe) -> tuple[Policy, Policy]:
    """Random sampling and a policy with the same student."""
    return (
        Policy(f"random, {what}", measure="random", recipe=recipe),
        Policy(f"margin^3, {what}", recipe=recipe, baseline=f"random, {what}", **_CUBED),
    )


FULL = (
    Policy("entropy^2", exponent=2.0),
    Policy("margin^4", measure="margin", exponent=4.0),
    Policy("least confidence^3", measure="least_confidence", exponent=3.0),
    Policy("vote entropy", measure="vote_entropy"),
    Policy("consensus", measure="consensus_kl"),
    Policy("margin^3, seed set", seed_documents=1000, **_CUBED),
    Policy("margin^3, growth 1.15", growth=1.15, **_CUBED),
    Policy("margin^3, growth 2", growth=2.0, **_CUBED),
    Policy("margin^3, spends late", ramp=True, **_CUBED),
    Policy("margin, a quarter spread evenly", measure="margin", floor_part=0.25),
    Policy("margin^3, a quarter spread evenly", floor_part=0.25, **_CUBED),
    Policy("margin, self-training", measure="margin", pseudo=True),
    Policy("margin^3, not calibrated", recipe=Recipe(calibrated=False), **_CUBED),
    *_with("classes as they come", Recipe(balanced=False)),
    *_with("C = 3", Recipe(penalty=3.0)),
    *_with("C = 30", Recipe(penalty=30.0)),
)
FAMILIES = tuple(
    policy
    for family in ("svm", "lda", "rf", "gbdt")
    for policy in (
        *_with(family, Recipe(family=family)),
        Policy(f"m-raru, {family}", recipe=Recipe(family=family), baseline=f"random, {family}"),
    )
)
"""What the other students of the product learn, with `--families`."""


POLICIES = {policy.name: policy for policy in (RANDOM, *MAIN, *LLM, *FULL, *FAMILIES)}


class Cell(NamedTuple):
    """One run of the grid; a result is the points that came of it."""

    name: str
    teacher: str
    features: str
    policy: str
    share: float
    seed: int


def policies(name: str, teacher: str, features: str, *, full: bool, families: bool) -> tuple[Policy, ...]:
    """Those that are measured in a setting."""
    more = (*(FULL if full else ()), *(FAMILIES if families else ()))
    if features == "hashed":
        return (RANDOM, *HASHED, *more) if name in CHEAP_HASHED or full else ()
    if teacher == "llm":
        return (RANDOM, *LLM, *more) if name in TEACHERS else ()
    return (RANDOM, *MAIN, *more)


def cells(sets: list[str], *, seeds: int, full: bool, families: bool) -> list[Cell]:
    """The grid, seed by seed, so that a run that is stopped has something of everything."""
    found = []
    for seed, (teacher, features), name in itertools.product(range(seeds), SETTINGS, sets):
        for policy in policies(name, teacher, features, full=full, families=families):
            shares: tuple[float, ...] = (1.0,) if policy.unlimited else SHARES
            if policy.measure == "random":
                # The whole stream is the same one in every order: it is fitted once.
                shares = (*BUDGETS, *((EVERYTHING,) if seed == 0 else ()))
            found += [Cell(name, teacher, features, policy.name, share, seed) for share in shares]
    return found


@cache
def _stream(folder: Path, name: str, teacher: str, features: str) -> Stream:
    return load(folder, name, teacher=teacher, features=features)


def run(folder: Path, cell: Cell) -> list[Point]:
    """One cell, in a process of its own."""
    warnings.filterwarnings("ignore", "The number of unique classes")
    stream = _stream(folder, cell.name, cell.teacher, cell.features)
    policy = POLICIES[cell.policy]
    if policy.measure == "random":
        return [at_random(stream, policy, cell.share, cell.seed)]
    return play(stream, policy, cell.share, cell.seed)


def curves(results: dict[Cell, list[Point]]) -> dict[tuple[str, str, str], dict[str, Curve]]:
    """By setting and policy; seeds whose runs are not all there are left out."""
    grouped: dict[tuple[str, str, str], dict[str, dict[int, dict[float, list[Point]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    for cell, points in results.items():
        if cell.policy not in POLICIES or cell.share not in (*BUDGETS, *SHARES, EVERYTHING):
            continue  # of another grid
        grouped[cell[:3]][cell.policy][cell.seed][cell.share] = points
    found: dict[tuple[str, str, str], dict[str, Curve]] = {}
    for setting, by_policy in grouped.items():
        for policy, by_seed in by_policy.items():
            if POLICIES[policy].measure == "random" and EVERYTHING in by_seed[0]:
                for by_share in by_seed.values():
                    by_share[EVERYTHING] = by_seed[0][EVERYTHING]
            shares = max((tuple(sorted(by_share)) for by_share in by_seed.values()), key=len)
            runs = [
                [point for share in shares for point in by_seed[seed][share]]
                for seed in sorted(by_seed)
                if tuple(sorted(by_seed[seed])) == shares
            ]
            found.setdefault(setting, {})[policy] = curve(runs)
    return found


def report(results: dict[Cell, list[Point]], output: Path) -> dict[str, Any]:
    """Print the table, draw the charts; the summary."""
    print("labels needed for what random sampling reaches with so much of the stream, as a fraction of its labels")
    print("  ".join(f"{budget:>6.0%}" for budget in (*BUDGETS, EVERYTHING)))
    fractions: dict[str, dict[str, float]] = defaultdict(dict)
    for setting, by_policy in sorted(curves(results).items()):
        name, teacher, features = setting
        title = f"{name}, {teacher} labels, {features} features"
        random = by_policy["random"]
        if len(random.steps) <= len(BUDGETS):
            continue  # a run that was stopped
        draw(output / f"{'-'.join(setting)}.png", title, by_policy, int(random.steps[-1]))
        print(f"{title}, {random.calls.shape[1]} seeds")
        print("  ".join(f"{step.mean():6.3f}" for step in random.accuracy), " random's accuracy")
        print("  ".join(f"{step.mean():6.3f}" for step in random.balanced), " balanced")
        for policy, one in by_policy.items():
            if policy == "random":
                continue
            baseline = by_policy.get(POLICIES[policy].baseline, random)
            at_budgets = [fraction(one, baseline, step) for step in range(len(BUDGETS))]
            whole, low, high = at_budgets[-1]
            worths = [
                points[-1].worth
                for cell, points in results.items()
                if (*cell[:3], cell.policy) == (*setting, policy) and cell.share in (0.06, 1.0)
            ]
            known = [worth for worth in worths if worth is not None]
            (accuracy, width), (balanced, _) = interval(one.accuracy[-1]), interval(one.balanced[-1])
            print(
                "  ".join(f"{value:6.2f}" if math.isfinite(value) else "     -" for value, _, _ in at_budgets),
                f" {policy:30} [{low:.2f}, {high:.2f}]; with {one.steps[-1]:,.0f} calls {accuracy:.4f} +- "
                f"{width:.4f}, balanced {balanced:.4f}; {one.calls.shape[1]} seeds; a label's worth in an estimate "
                f"{np.mean(known) if known else float('nan'):.2f}",
            )
            if (teacher, features) == ("gold", "encoder"):
                # A set whose accuracy was not reached is one where nothing is saved.
                fractions[policy][name] = round(whole, 3) if math.isfinite(whole) else 1.0
    found = fractions.get(HEADLINE, {})
    return {
        "bench": "labels",
        "fraction_of_random": found,
        "best": min(found.values(), default=None),
        "policy": HEADLINE,
        "medians": {policy: round(float(np.median([*by_set.values()])), 3) for policy, by_set in fractions.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    folder = os.environ.get("BENCH_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(folder))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "output" / "labels")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--policies", nargs="+", help="only these, by name, and random")
    parser.add_argument("--settings", nargs="+", metavar="TEACHER-FEATURES", help="only these: gold-encoder, ...")
    parser.add_argument("--full", action="store_true", help="every variant on every setting: many hours")
    parser.add_argument("--families", action="store_true", help="the product's other students too: more hours")
    parser.add_argument("--resume", action="store_true", help="keep the results that are in the output folder")
    parser.add_argument("--report", action="store_true", help="run nothing; with --resume: print what there is")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    started = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    log = options.output / "results.jsonl"
    results: dict[Cell, list[Point]] = {}
    if options.resume and log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            cell, points = json.loads(line)
            results[Cell(*cell)] = [Point(*point) for point in points]
    else:
        log.write_text("", encoding="utf-8")
    if not options.report:
        wanted = [
            cell
            for cell in cells(options.sets, seeds=options.seeds, full=options.full, families=options.families)
            if cell not in results
            and (not options.policies or cell.policy in ("random", *options.policies))
            and (not options.settings or f"{cell.teacher}-{cell.features}" in options.settings)
        ]
        with (
            ProcessPoolExecutor(options.processes, initializer=os.nice, initargs=(10,)) as pool,
            log.open("a", encoding="utf-8") as lines,
        ):
            waiting = {pool.submit(run, options.data, cell): cell for cell in wanted}
            for done, future in enumerate(as_completed(waiting), start=1):
                cell = waiting[future]
                results[cell] = future.result()
                lines.write(json.dumps([cell, results[cell]]) + "\n")
                lines.flush()
                if done % 50 == 0:
                    print(f"{done} of {len(waiting)} runs after {time.perf_counter() - started:.0f} s", flush=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    summary = report(results, options.output)
    print(f"took {time.perf_counter() - started:.0f} s")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
