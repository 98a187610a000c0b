"""How soon is a drift told, and how often for nothing? Run with `make bench-drift`.

The streams are those of tests/unit/test_drift.py and tests/unit/test_sampled.py: windows of 4,096 documents, about one
in twenty drawn, `guard.miss` 0.01. The last line is one JSON object; delays are in windows after the change.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.unit import test_drift as counted
from tests.unit import test_sampled as drawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from askance.rules.drift import Alarm

BEFORE = 6
"""Windows before the change."""
CALM = 30
"""Windows of a stream that does not change."""
COUNTED = {
    "a class appears (16 %)": ([0.34, 0.25, 0.17, 0.08, 0.16], 4.0),
    "two classes change places": ([0.2, 0.3, 0.4, 0.1, 0.0], 4.0),
    "less sure of everything": ([0.4, 0.3, 0.2, 0.1, 0.0], 2.5),
}
DRAWN = {
    "a class changes its meaning: 20 points of agreement": {"agreement": 0.7},
    "a class changes its meaning: 30 points of agreement": {"agreement": 0.6},
    "half of the words are others": {"others": 0.5},
    "a quarter of the words are others": {"others": 0.25},
}


def delays(alarms: Callable[[int], list[Alarm]], before: int, runs: int) -> list[float]:
    """Windows from the change to the first alarm after it; infinite where there was none."""
    found = []
    for seed in range(runs):
        late = [alarm.documents for alarm in alarms(seed) if alarm.documents > before]
        found.append((late[0] - before) / drawn.DOCUMENTS if late else np.inf)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    calm = {
        "counted": np.mean([bool(counted.alarms(seed, None, batches=8 * CALM - 80)) for seed in range(runs)]),
        "drawn": np.mean([bool(drawn.alarms(seed, before=CALM, after=0)) for seed in range(runs)]),
    }
    for kind, rate in calm.items():
        print(f"{kind}: {rate:.3f} of {runs} streams of {CALM} windows that do not change raise an alarm", flush=True)
    summary = {}
    cases = [
        (name, 80 * counted.BATCH, lambda seed, after=after: counted.alarms(seed, after, batches=80))
        for name, after in COUNTED.items()
    ]
    cases += [
        (
            name,
            BEFORE * drawn.DOCUMENTS,
            lambda seed, change=change: drawn.alarms(seed, before=BEFORE, after=10, **change),
        )
        for name, change in DRAWN.items()
    ]
    for name, before, alarms in cases:
        found = delays(alarms, before, runs)
        median, slow = np.quantile(found, [0.5, 0.95], method="higher")
        missed = float(np.mean(np.isinf(found)))
        summary[name] = {"median": float(median), "missed_in_10": round(missed, 3)}
        print(f"{name:52} median {median:.0f} windows, 95 % within {slow:.0f}, none in ten {missed:.1%}", flush=True)
    print(
        json.dumps(
            {"bench": "drift", "false_alarms": {k: round(float(v), 4) for k, v in calm.items()}, "told": summary}
        )
    )


if __name__ == "__main__":
    main()
