"""How many teacher calls each policy needs for what random sampling learns: `make bench-labels`.

A set's fixed test fifth, chosen by text, is never asked about; the other documents are a stream, in an order of the
seed's. Random sampling's whole budget is the whole stream; smaller budgets are reported beside it. Every run goes to a
file as it ends, so that `--resume` goes on after a stop. Charts and results go to a folder that git ignores.
"""

from __future__ import annotations

import os

# One core a process: several processes run beside each other.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import argparse
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
BUDGETS = (0.05, 0.1, 0.2, 0.4, 1.0)
"""Random sampling's, as shares of the stream."""
SHARES = (0.03, 0.06, 0.12, 0.25, 0.4, 0.6)
"""The policies'."""
HEADLINE = "margin^3"
RANDOM = Policy("random")
MAIN = (
    Policy("m-raru, no budget", unlimited=True),
    Policy("m-raru at a share"),
    Policy("entropy^3", exponent=3.0),
    Policy("margin", measure="margin"),
    Policy("margin^3", measure="margin", exponent=3.0),
    Policy("margin^5", measure="margin", exponent=5.0),
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
FULL = (
    Policy("entropy^2", exponent=2.0),
    Policy("margin^2", measure="margin", exponent=2.0),
    Policy("margin^4", measure="margin", exponent=4.0),
    Policy("least confidence^3", measure="least_confidence", exponent=3.0),
    Policy("vote entropy", measure="vote_entropy"),
    Policy("consensus", measure="consensus_kl"),
    Policy("margin^3, seed set", seed_documents=1000, **_CUBED),
    Policy("margin^3, growth 1.15", growth=1.15, **_CUBED),
    Policy("margin^3, growth 2", growth=2.0, **_CUBED),
    Policy("margin^3, spends late", ramp=True, **_CUBED),
    Policy("margin^3, self-training", pseudo=True, **_CUBED),
    Policy("random, self-training", measure="margin", exponent=0.0, pseudo=True),
    Policy("margin^3, not calibrated", recipe=Recipe(calibrated=False), **_CUBED),
    Policy("margin^3, classes as they come", recipe=Recipe(balanced=False), **_CUBED),
    Policy("margin^3, C = 3", recipe=Recipe(penalty=3.0), **_CUBED),
    Policy("margin^3, C = 30", recipe=Recipe(penalty=30.0), **_CUBED),
    Policy("random, C = 3", measure="margin", exponent=0.0, recipe=Recipe(penalty=3.0)),
    Policy("random, C = 30", measure="margin", exponent=0.0, recipe=Recipe(penalty=30.0)),
)


class Cell(NamedTuple):
    """One run of the grid; a result is the points that came of it."""

    name: str
    teacher: str
    features: str
    policy: str
    share: float
    seed: int


def policies(name: str, teacher: str, features: str, *, full: bool) -> tuple[Policy, ...]:
    """Those that are measured in a setting."""
    more = FULL if full else ()
    if features == "hashed":
        return HASHED + more if name in CHEAP_HASHED or full else ()
    if teacher == "llm":
        return LLM + more if name in TEACHERS else ()
    return MAIN + more


def cells(sets: list[str], *, seeds: int, full: bool) -> list[Cell]:
    """The grid, seed by seed, so that a run that is stopped has something of everything."""
    found = []
    for seed in range(seeds):
        for teacher, features in (("gold", "encoder"), ("llm", "encoder"), ("gold", "hashed")):
            for name in sets:
                chosen = policies(name, teacher, features, full=full)
                if not chosen:
                    continue
                # The whole stream is the same one in every order: it is fitted once.
                random = [share for share in BUDGETS if share < 1.0 or seed == 0]
                found += [Cell(name, teacher, features, "random", share, seed) for share in random]
                for policy in chosen:
                    shares = (1.0,) if policy.unlimited else SHARES
                    found += [Cell(name, teacher, features, policy.name, share, seed) for share in shares]
    return found


@cache
def _stream(folder: Path, name: str, teacher: str, features: str) -> Stream:
    return load(folder, name, teacher=teacher, features=features)


def run(folder: Path, cell: Cell) -> list[Point]:
    """One cell, in a process of its own."""
    warnings.filterwarnings("ignore", "The number of unique classes")
    stream = _stream(folder, cell.name, cell.teacher, cell.features)
    if cell.policy == "random":
        return [at_random(stream, RANDOM, cell.share, cell.seed)]
    (policy,) = {one for one in MAIN + LLM + FULL if one.name == cell.policy}
    return play(stream, policy, cell.share, cell.seed)


def curves(results: dict[Cell, list[Point]]) -> dict[tuple[str, str, str], dict[str, Curve]]:
    """By setting and policy; seeds whose runs are not all there are left out."""
    grouped: dict[tuple[str, str, str], dict[str, dict[int, dict[float, list[Point]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    for cell, points in results.items():
        grouped[cell[:3]][cell.policy][cell.seed][cell.share] = points
    found: dict[tuple[str, str, str], dict[str, Curve]] = {}
    for setting, by_policy in grouped.items():
        whole = by_policy["random"][0].get(1.0)
        if whole is None:
            continue
        for policy, by_seed in by_policy.items():
            if policy == "random":
                for by_share in by_seed.values():
                    by_share[1.0] = whole
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
    print("  ".join(f"{budget:>6.0%}" for budget in BUDGETS))
    headline: dict[str, float | None] = {}
    for setting, by_policy in sorted(curves(results).items()):
        name, teacher, features = setting
        title = f"{name}, {teacher} labels, {features} features"
        random = by_policy["random"]
        draw(output / f"{'-'.join(setting)}.png", title, by_policy, int(random.steps[-1]))
        print(f"{title}, {random.calls.shape[1]} seeds")
        print("  ".join(f"{step.mean():6.3f}" for step in random.accuracy), " random's accuracy")
        print("  ".join(f"{step.mean():6.3f}" for step in random.balanced), " balanced")
        for policy, one in by_policy.items():
            if policy == "random":
                continue
            found = [fraction(one, random, step) for step in range(len(BUDGETS))]
            whole, low, high = found[-1]
            worths = [
                points[-1].worth
                for cell, points in results.items()
                if (*cell[:3], cell.policy) == (*setting, policy) and cell.share in (0.06, 1.0)
            ]
            known = [worth for worth in worths if worth is not None]
            (accuracy, width), (balanced, _) = interval(one.accuracy[-1]), interval(one.balanced[-1])
            print(
                "  ".join(f"{value:6.2f}" if math.isfinite(value) else "     -" for value, _, _ in found),
                f" {policy:30} [{low:.2f}, {high:.2f}] at 100 %; with {one.steps[-1]:,.0f} calls {accuracy:.4f} +- "
                f"{width:.4f}, balanced {balanced:.4f}; {one.calls.shape[1]} seeds; a label's worth in an estimate "
                f"{np.mean(known) if known else float('nan'):.2f}",
            )
            if (teacher, features, policy) == ("gold", "encoder", HEADLINE):
                headline[name] = round(whole, 3) if math.isfinite(whole) else None
    # A set whose accuracy was not reached counts as one where nothing is saved.
    values = [1.0 if value is None else value for value in headline.values()]
    return {
        "bench": "labels",
        "policy": HEADLINE,
        "fraction_of_random": headline,
        "best": min(values, default=None),
        "median": round(float(np.median(values)), 3) if values else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    folder = os.environ.get("BENCH_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(folder))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "output" / "labels")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--policies", nargs="+", help="only these, by name, and random")
    parser.add_argument("--full", action="store_true", help="every variant on every setting: many hours")
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
            for cell in cells(options.sets, seeds=options.seeds, full=options.full)
            if cell not in results and (not options.policies or cell.policy in ("random", *options.policies))
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
