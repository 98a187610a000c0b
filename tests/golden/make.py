"""Write the golden vectors next to this file: `python tests/golden/make.py`.

Plain Python integers and float64 numpy, from `tests/reference.py`, which shares nothing with the kernel.
Run it only when the contract changes, and say why in the commit.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import reference  # noqa: E402

# Sebastiano Vigna's splitmix64.c with x = 1234567, as published with it and in Rosetta Code's "Pseudo-random
# numbers/Splitmix64".
PUBLISHED = {
    "state": "1234567",
    "outputs": [
        "6457827717110365317",
        "3203168211198807973",
        "9817491932198370423",
        "4593380528125082431",
        "16408922859458223821",
    ],
}

SEEDS = [0, 1, 1234567, 2**63, 2**64 - 1]
TOPICS = ["", "documents", "документы 文書 🗎"]
PARTITIONS = [0, 1, 2**31 - 1, -1, -(2**31)]
OFFSETS = [0, 1, 2**53 + 1, 2**63 - 1, -1, -(2**63)]


def draws() -> dict[str, Any]:
    """Draws at the corners of the key. 64-bit integers are strings, because JSON numbers are doubles."""
    cases = []
    for seed in SEEDS:
        for topic in TOPICS:
            for partition in PARTITIONS:
                for offset in OFFSETS:
                    key = {"seed": seed, "topic": topic, "partition": partition, "offset": offset}
                    cases.append(
                        {
                            "seed": str(seed),
                            "topic": topic,
                            "partition": partition,
                            "offset": str(offset),
                            "bits": str(reference.bits(**key)),
                            "uniform": reference.uniform(**key),
                        }
                    )
    return {"splitmix64": PUBLISHED, "fnv1a": {"a": str(reference.fnv1a(b"a"))}, "draws": cases}


def matrices() -> dict[str, tuple[float, np.ndarray]]:
    """Logits worth remembering, each with a temperature."""
    rng = np.random.default_rng(20240607)
    denormal = float(np.float32(1e-45))
    largest = float(np.finfo(np.float32).max)
    nan, inf = float("nan"), float("inf")
    return {
        "normal, K = 2": (1.0, rng.normal(0, 3, (9, 2))),
        "normal, K = 5, warm": (2.5, rng.normal(0, 3, (7, 5))),
        "normal, K = 20, cold": (0.25, rng.normal(0, 1, (5, 20))),
        "normal, K = 77": (1.3, rng.normal(0, 2, (3, 77))),
        "ties: the first index wins": (
            1.0,
            np.array([[0, 0, 0], [1, 2, 2], [2, 1, 2], [-1, -1, -1], [0.0, -0.0, 0.0], [-0.0, 0.0, -1]]),
        ),
        "extreme spreads": (
            1.0,
            np.array(
                [
                    [1e30, -1e30],
                    [-1e30, 1e30],
                    [largest, -largest],
                    [largest, largest],
                    [-largest, -largest],
                    [0, 88],
                ]
            ),
        ),
        "extreme spreads, hot": (1e6, np.array([[1e30, -1e30, 0], [largest, -largest, 0], [1e6, 2e6, 0]])),
        "denormals": (1.0, np.array([[denormal, 0, -denormal], [1e-40, 2e-40, 3e-40], [0, 0, denormal]])),
        "exponentials that vanish": (
            1.0,
            np.array([[0, -86, -87], [0, -88, -89], [0, -100, -104], [0, -126, -750]]),
        ),
        "not finite": (
            1.0,
            np.array([[nan, 1, 2], [1, inf, 2], [1, 2, -inf], [inf, -inf, nan], [inf, inf, inf], [1, 2, 3]]),
        ),
    }


GATES = [
    {"floor": 0.0, "exponent": 1.0, "scale": 1.0},
    {"floor": 0.05, "exponent": 2.0, "scale": 0.7},
    {"floor": 0.0, "exponent": 0.5, "scale": 3.0},
    {"floor": 0.25, "exponent": 7.5, "scale": 1.0},
    {"floor": 0.01, "exponent": 0.0, "scale": 0.5},
    {"floor": 0.3, "exponent": 1.0, "scale": 1e300},
    {"floor": 0.0, "exponent": 1e300, "scale": 1.0},
    {"floor": 0.0, "exponent": 1.0, "scale": 0.0},
    {"floor": 1.0, "exponent": 1.0, "scale": 1.0},
]
UNCERTAINTIES = np.array([0, 1e-30, 1e-7, 0.001, 0.1, 0.25, 0.5, 0.75, 0.999, 1], dtype=np.float32)


def propensities() -> list[dict[str, Any]]:
    """The propensity at each of `UNCERTAINTIES`, through each of `GATES`."""
    return [
        gate
        | {
            "uncertainties": UNCERTAINTIES.tolist(),
            "propensities": reference.propensity(UNCERTAINTIES, **gate).tolist(),
        }
        for gate in GATES
    ]


def decisions() -> dict[str, Any]:
    """Scores in float64 and the draws their rows meet; row i has partition i % 3 and offset 1000 + i."""
    cases = []
    for name, (temperature, values) in matrices().items():
        logits = values.astype(np.float32)
        for measure in ("entropy", "margin", "least_confidence"):
            scores = reference.score(logits, measure=measure, temperature=temperature)
            cases.append(
                {
                    "name": name,
                    "measure": measure,
                    "temperature": temperature,
                    # repr of the double: exact. Not finite: a string.
                    "logits": [[float(x) if np.isfinite(x) else str(x) for x in row] for row in logits],
                    "labels": scores.labels.tolist(),
                    "confidences": scores.confidences.tolist(),
                    "uncertainties": scores.uncertainties.tolist(),
                    "finite": scores.finite.tolist(),
                    "draws": [
                        reference.uniform(seed=7, topic="golden", partition=row % 3, offset=1000 + row)
                        for row in range(len(logits))
                    ],
                }
            )
    return {"tolerance": 1e-6, "key": {"seed": 7, "topic": "golden"}, "cases": cases, "gates": propensities()}


def write(name: str, content: dict[str, Any]) -> None:
    """One line for each case keeps diffs readable."""
    text = (
        json.dumps(content, ensure_ascii=False)
        .replace('{"name"', '\n{"name"')
        .replace('{"seed": "', '\n{"seed": "')
        .replace('{"floor"', '\n{"floor"')
    )
    (HERE / name).write_text(text.strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    write("draws.json", draws())
    write("decisions.json", decisions())
