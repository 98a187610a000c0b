"""`decide` beside what a user would write or install instead: `make bench-kernel`.

All contenders score the same logits in the same process, in interleaved rounds, and each answer is checked
against float64: a fast wrong answer is reported as wrong. numpy computes all that `decide` returns, in the
fused form (H = ln S - sum(e d) / S, one exp for each logit), float32, with as few passes as it can; its coins
come from a generator with state, which is cheaper than keyed ones. The others compute less: scipy and
scikit-activeml the uncertainty, river the uncertainty and the coin. A row named after an instruction set is
`decide` made to use that one instead of the widest.

Logits are 512 KiB (in L2), but at least 4,096 rows. Times are medians over the rounds; the last line is JSON.
"""

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# One thread, and the kernels that numpy picks for itself.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402 - what is set above comes first

from askance import _kernel  # noqa: E402 - what is set above comes first

BASELINES = {"scipy": "scipy", "river": "river", "skactiveml": "scikit-activeml"}
CLASSES = [2, 4, 8, 20, 77, 150]
LOGITS = 1 << 17
TEMPERATURE, FLOOR, SCALE = 1.3, 0.05, 1.0
TOLERANCE = 1e-6
ROUND_SECONDS = 0.06
# river takes a row at a time: this many are enough to know what a row costs.
FEW = 512


class Contender(NamedTuple):
    """Something that turns logits into uncertainties, and how to tell what they were."""

    name: str
    rows: int
    run: Callable[[], Any]
    uncertainties: Callable[[Any], Any]


def missing() -> list[str]:
    """The packages of baselines that this environment lacks."""
    absent = []
    for module, package in BASELINES.items():
        try:
            importlib.import_module(module)
        except ImportError:
            absent.append(package)
    return absent


def cpu() -> str:
    """The CPU's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def reference(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, confidence and entropy in [0, 1], in float64."""
    e = np.exp((x.astype(np.float64) - x.max(axis=1, keepdims=True)) / TEMPERATURE)
    p = e / e.sum(axis=1, keepdims=True)
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1) / np.log(x.shape[1])
    return x.argmax(axis=1), p.max(axis=1), entropy


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp((x - x.max(axis=1, keepdims=True)) / np.float32(TEMPERATURE))
    return e / e.sum(axis=1, keepdims=True)


def fused_numpy(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Everything `decide` returns, as well as numpy can."""
    labels = x.argmax(axis=1)
    finite = np.isfinite(x).all(axis=1)
    d = x - x.max(axis=1, keepdims=True)
    d *= np.float32(1 / TEMPERATURE)
    e = np.exp(d)
    s = e.sum(axis=1)
    d *= e
    confidences = np.float32(1) / s
    u = np.log(s)
    u -= d.sum(axis=1) * confidences
    u *= np.float32(1 / np.log(x.shape[1]))
    np.clip(u, 0, 1, out=u)
    q = np.float32(FLOOR) + np.float32(1 - FLOOR) * np.minimum(np.float32(SCALE) * u, np.float32(1))
    accepted = rng.random(len(x), dtype=np.float32) < q
    return labels, confidences, u, q, accepted, finite


def decide(x: np.ndarray, path: str | None = None) -> Callable[[], _kernel.Decisions]:
    """A call of the kernel on `x`, on the instruction set it chooses or on `path`."""
    arguments: dict[str, Any] = {
        "logits": x,
        "temperature": TEMPERATURE,
        "measure": "entropy",
        "floor": FLOOR,
        "exponent": 1.0,
        "scale": SCALE,
        "seed": 1,
        "topic": "documents",
        "partitions": np.zeros(len(x), dtype=np.int32),
        "offsets": np.arange(len(x), dtype=np.int64),
    }
    if path is not None:
        return lambda: _kernel._decide_on(path, **arguments)  # noqa: SLF001 - there is no public way
    return lambda: _kernel.decide(**arguments)


def narrower() -> list[str]:
    """The instruction sets that this CPU has and `decide` does not choose, without the slow portable one."""
    return [path for path in _kernel._paths()[:-1] if path != "portable"]  # noqa: SLF001 - there is no public way


def contenders(x: np.ndarray) -> list[Contender]:
    from river import active
    from scipy import stats
    from skactiveml.pool import uncertainty_scores

    rows, classes = x.shape
    rng = np.random.default_rng(0)
    normaliser = np.float32(1 / np.log(classes))

    answers = [dict(enumerate(map(float, row))) for row in softmax(x[:FEW].astype(np.float64))]

    class Known:
        """A classifier whose answers are already dictionaries: making them is not counted against river."""

        def predict_proba_one(self, row: int) -> dict[int, float]:
            return answers[row]

    sampler = active.EntropySampler(Known(), discount_factor=1, seed=0)
    return [
        Contender("askance", rows, decide(x), lambda got: got.uncertainties),
        *[Contender(path, rows, decide(x, path), lambda got: got.uncertainties) for path in narrower()],
        Contender("numpy", rows, lambda: fused_numpy(x, rng), lambda got: got[2]),
        Contender("scipy", rows, lambda: stats.entropy(softmax(x), axis=1) * normaliser, lambda got: got),
        Contender(
            "scikit-activeml",
            rows,
            lambda: uncertainty_scores(softmax(x), method="entropy") * normaliser,
            lambda got: got,
        ),
        Contender(
            "river",
            min(rows, FEW),
            lambda: [sampler.predict_one(row) for row in range(min(rows, FEW))],
            lambda _: [sampler._p(answer) for answer in answers],  # noqa: SLF001 - there is no public way
        ),
    ]


def seconds_per_call(run: Callable[[], Any]) -> float:
    """The median call of one round."""
    times = []
    end = time.perf_counter() + ROUND_SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def kernel_error(x: np.ndarray) -> tuple[float, bool]:
    """The largest error of the kernel, and whether all it returns is right."""
    got = decide(x)()
    labels, confidences, uncertainties = reference(x)
    error = max(
        float(np.abs(got.confidences - confidences).max()),
        float(np.abs(got.uncertainties - uncertainties).max()),
    )
    draws = _kernel.uniform(
        seed=1,
        topic="documents",
        partitions=np.zeros(len(x), dtype=np.int32),
        offsets=np.arange(len(x), dtype=np.int64),
    )
    q = FLOOR + (1 - FLOOR) * np.minimum(1, SCALE * got.uncertainties.astype(np.float64))
    right = (
        np.array_equal(got.labels, labels)
        and bool(got.finite.all())
        and float(np.abs(got.propensities - q).max()) <= TOLERANCE
        and np.array_equal(got.accepted, draws < got.propensities)
    )
    return error, right and error <= TOLERANCE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds, at least 7")
    rounds = max(7, parser.parse_args().rounds)
    if absent := missing():
        print(f"baselines are missing: pip install {' '.join(absent)}", file=sys.stderr)
        return 2

    generator = np.random.default_rng(20240607)
    ratios: dict[str, float] = {}
    by_path: dict[str, dict[str, float]] = {path: {} for path in narrower()}
    worst, correct = 0.0, True
    print(f"{'K':>4} {'rows':>6} {'contender':<16} {'ns/row':>9} {'Mrow/s':>8} {'askance is':>11} {'answer':>8}")
    for classes in CLASSES:
        rows = max(4096, LOGITS // classes)
        x = (generator.standard_normal((rows, classes)) * 3).astype(np.float32)
        error, right = kernel_error(x)
        worst, correct = max(worst, error), correct and right
        field = contenders(x)
        times: dict[str, list[float]] = {contender.name: [] for contender in field}
        for _ in range(rounds):
            for contender in field:
                times[contender.name].append(seconds_per_call(contender.run) / contender.rows)
        own = times["askance"]
        for path, found in by_path.items():
            pairs = zip(times["numpy"], times[path], strict=True)
            found[str(classes)] = round(statistics.median(other / mine for other, mine in pairs), 1)
        expected = reference(x)[2]
        for contender in field:
            # Each round is compared with itself, so that what disturbs the machine disturbs both.
            ratio = statistics.median(other / mine for other, mine in zip(times[contender.name], own, strict=True))
            per_row = statistics.median(times[contender.name])
            answer = np.asarray(contender.uncertainties(contender.run()))
            close = float(np.abs(answer - expected[: len(answer)]).max()) <= TOLERANCE
            print(
                f"{classes:>4} {rows:>6} {contender.name:<16} {per_row * 1e9:>9.2f} {1e-6 / per_row:>8.2f} "
                f"{ratio:>9.1f} x {'right' if close else 'WRONG':>8}"
            )
            if contender.name == "numpy":
                ratios[str(classes)] = round(ratio, 1)

    one = statistics.median(seconds_per_call(decide(np.zeros((1, 4), dtype=np.float32))) for _ in range(rounds))
    print(f"seam: a call with N = 1 and K = 4 takes {one * 1e6:.2f} us, work included")
    print(f"ratio to numpy by path: {json.dumps(by_path)}")
    print(
        json.dumps(
            {
                "bench": "kernel",
                "cpu": cpu(),
                "ratio_vs_numpy": ratios,
                "max_abs_error": worst,
                "correct": correct,
            }
        )
    )
    return 0 if correct else 1


if __name__ == "__main__":
    sys.exit(main())
