"""Has the stream changed? Counts of what a version answers, and how unsure it is, against those of its first documents.

Owns the promise that a stream which does not change gives a false alarm, ever, with probability at most `miss`: look k
spends 6 miss / (pi^2 k^2) of it. Memory is constant: the reference and the window that is being filled.

Each look is a two-sample chi-square test (Wilson & Hilferty, PNAS 17, 1931, for its tail), which finds any change given
enough documents; an alarm also needs a change that matters, a total variation of at least `least`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from askance.records import Tally


class Alarm(msgspec.Struct, frozen=True):
    """A drift with its evidence."""

    kind: str
    """`predictions` (class shares), `uncertainty`, `agreement` or `vocabulary`."""
    documents: int
    """Documents seen when it was raised, the reference's included."""
    variation: float
    """Size of the change; of shares and uncertainties the total variation between window and reference, the part of the
    documents that would have to change place."""
    p_value: float
    evidence: str


class DriftWatch:
    """Watches one version's tallies; `observe` them in order. A new version needs a new watch."""

    def __init__(self, *, window: int = 4096, miss: float = 0.01, least: float = 0.1) -> None:
        self._window = window
        self._miss = miss
        self._least = least
        self._reference: _Counts | None = None
        self._current = _Counts()
        self._documents = 0
        self._looks = 0

    def observe(self, tally: Tally) -> list[Alarm]:
        """Alarms that this tally completed; after one the window that raised it becomes the reference."""
        self._documents += tally.documents
        self._current.add(tally)
        if self._current.documents < self._window:
            return []
        current, self._current = self._current, _Counts()
        if self._reference is None:
            self._reference = current
            return []
        self._looks += 1
        # Two questions a look share what it may spend.
        spend = 3.0 * self._miss / (math.pi * self._looks) ** 2
        alarms = [
            alarm
            for kind, before, now in (
                ("predictions", self._reference.predicted, current.predicted),
                ("uncertainty", self._reference.uncertainties, current.uncertainties),
            )
            if (alarm := self._compare(kind, before, now, spend)) is not None
        ]
        if alarms:
            self._reference = current
        return alarms

    def _compare(self, kind: str, before: Mapping[str, int], now: Mapping[str, int], spend: float) -> Alarm | None:
        names = sorted(before.keys() | now.keys())
        counts = np.array([[one.get(name, 0) for name in names] for one in (before, now)], dtype=np.float64)
        if not counts.sum(axis=1).all():
            return None
        shares = counts / counts.sum(axis=1, keepdims=True)
        change = shares[1] - shares[0]
        variation = float(np.abs(change).sum() / 2.0)
        p_value = chi_square_p_value(counts)
        if variation < self._least or p_value > spend:
            return None
        most = np.argsort(-np.abs(change), kind="stable")[:3].tolist()
        evidence = ", ".join(f"{names[place]} {shares[0, place]:.1%} to {shares[1, place]:.1%}" for place in most)
        return Alarm(kind, self._documents, variation, p_value, evidence)


class _Counts:
    def __init__(self) -> None:
        self.documents = 0
        self.predicted: dict[str, int] = {}
        self.uncertainties: dict[str, int] = {}

    def add(self, tally: Tally) -> None:
        self.documents += tally.documents - tally.uncovered
        for label, documents in tally.predicted.items():
            self.predicted[label] = self.predicted.get(label, 0) + documents
        for place, documents in enumerate(tally.uncertainties):
            if documents:
                name = f"u {place / len(tally.uncertainties):.2f}"
                self.uncertainties[name] = self.uncertainties.get(name, 0) + documents


def chi_square_p_value(counts: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    """Of a (2, m) table of counts, by Pearson's test; columns expected to hold fewer than 5 are pooled into one.

    >>> chi_square_p_value(np.array([[50.0, 50.0], [50.0, 50.0]])) > 0.9
    True
    """
    totals = counts.sum(axis=0)
    rare = totals * counts.sum(axis=1).min() / counts.sum() < 5.0
    table = np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)
    table = table[:, table.sum(axis=0) > 0.0]
    freedom = table.shape[1] - 1
    if freedom < 1:
        return 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    spread = 2.0 / (9.0 * freedom)
    normal = ((statistic / freedom) ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(normal / math.sqrt(2.0))


def watch_all(tallies: Sequence[Tally], *, window: int, miss: float, least: float) -> list[Alarm]:
    """Every alarm that one version's tallies would have raised."""
    watch = DriftWatch(window=window, miss=miss, least=least)
    return [alarm for tally in tallies for alarm in watch.observe(tally)]
