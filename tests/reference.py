"""The gate in float64 numpy and Python integers: slow and obvious, what the Rust kernel is held against.

Nothing here shares code with the kernel. The formulas are those of `_kernel.pyi`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = 2**64
_GAMMA = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """The SplitMix64 finaliser."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % _WORD
    return z ^ (z >> 31)


def fnv1a(data: bytes) -> int:
    """FNV-1a over 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % _WORD
    return value


def bits(*, seed: int, topic: str, partition: int, offset: int) -> int:
    """The 64 random bits of one record."""
    key = mix(mix((seed + _GAMMA) % _WORD) ^ fnv1a(topic.encode()))
    state = mix((key + partition * _GAMMA) % _WORD)
    return mix((state + (offset + 1) * _GAMMA) % _WORD)


def uniform(*, seed: int, topic: str, partition: int, offset: int) -> float:
    """The draw of one record in [0, 1)."""
    return (bits(seed=seed, topic=topic, partition=partition, offset=offset) >> 11) * 2.0**-53


@dataclass(frozen=True)
class Scores:
    """What softmax says of each row."""

    labels: NDArray[np.int64]
    confidences: NDArray[np.float64]
    uncertainties: NDArray[np.float64]
    finite: NDArray[np.bool_]


def score(logits: NDArray[np.float32], *, measure: str = "entropy", temperature: float = 1.0) -> Scores:
    """Label, confidence and uncertainty of each row of `logits`."""
    rows, classes = logits.shape
    labels = np.full(rows, -1)
    confidences, uncertainties = np.zeros(rows), np.ones(rows)
    finite = np.isfinite(logits).all(axis=1)
    for row in np.flatnonzero(finite):
        x = logits[row].astype(np.float64)
        z = (x - x.max()) / temperature
        p = np.exp(z) / np.exp(z).sum()
        second, first = np.sort(p)[-2:]
        labels[row] = x.argmax()
        confidences[row] = first
        match measure:
            case "entropy":
                positive = p[p > 0]
                uncertainties[row] = -(positive * np.log(positive)).sum() / np.log(classes)
            case "margin":
                uncertainties[row] = 1 - (first - second)
            case "least_confidence":
                uncertainties[row] = (1 - first) * classes / (classes - 1)
            case _:
                raise ValueError(measure)
    return Scores(labels, confidences, uncertainties.clip(0, 1), finite)


def propensity(
    u: NDArray[np.float32] | NDArray[np.float64], *, floor: float, exponent: float, scale: float
) -> NDArray[np.float64]:
    """The probability of acceptance at uncertainty `u`."""
    return floor + (1 - floor) * np.minimum(1, scale * u.astype(np.float64) ** exponent)
