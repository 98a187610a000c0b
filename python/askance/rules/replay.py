"""Recomputes every accept/reject decision of predictions, of a file or a topic, from what they themselves record.

Owns the proof of invariant 3 on real output: the draw keyed by (seed, topic, partition, offset), compared with the
recorded propensity, must give the recorded `accepted`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np

from askance._kernel import uniform
from askance.records import Coordinates, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

NAMED = 5
"""So many differing decisions, and so many malformed lines, are named; all are counted."""


class _Recorded(msgspec.Struct, frozen=True, gc=False):
    """Of a prediction, what its decision hangs on."""

    seed: Annotated[int, msgspec.Meta(ge=0)]
    topic: str
    partition: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
    offset: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    propensity: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    accepted: bool
    standing: str | None = None
    confidence: float | None = None
    threshold: float | None = None
    teacher: str | None = None
    outcome: str | None = None

    @property
    def broken_rule(self) -> str | None:
        """What a contract says of this decision and does not hold, or None."""
        is_sure = None not in (self.confidence, self.threshold) and self.confidence >= self.threshold  # type: ignore[operator]
        match self.standing:
            case Standing.FINAL if self.teacher is None and self.outcome is None and not is_sure:
                return f"a final answer of confidence {self.confidence}, below the threshold {self.threshold}"
            case Standing.UNASSURED if self.propensity > 0.0:
                return f"unassured, but drawn at propensity {self.propensity} instead of 0"
            case Standing.PROVISIONAL | Standing.SETTLED if self.propensity < 1.0:
                return f"{self.standing}, but drawn at propensity {self.propensity} instead of 1"
        return None


class Difference(NamedTuple):
    """A decision that is not the one its draw gives."""

    line: int
    """In the file, from 1; on a topic, in the order in which it was read."""
    coordinates: Coordinates
    propensity: float
    draw: float
    accepted: bool
    """As recorded; the draw says the opposite."""
    place: str = ""
    """Where it stands, where that is not a line of a file."""

    def __str__(self) -> str:
        topic, partition, offset = self.coordinates
        said, relation = ("accepted", "not below") if self.accepted else ("not accepted", "below")
        return (
            f"{self.place or f'line {self.line}'}: {topic}/{partition}/{offset} is recorded as {said}, but its draw "
            f"{self.draw!r} is {relation} its propensity {self.propensity!r}"
        )


class Malformed(NamedTuple):
    """A line that is no prediction, and why."""

    line: int
    why: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.place or f'line {self.line}'}: {self.why}"


class ReplayOutcome(NamedTuple):
    """What came of a replay."""

    checked: int
    """Decisions recomputed."""
    accepted: int
    """Of these, recorded as accepted."""
    differing: int
    malformed: int
    repeated: int
    """Decisions about a record that an earlier line had decided on: none where every document has one prediction."""
    settled: int
    """Lines that follow a provisional prediction; they are checked like it, and are no decisions of their own."""
    differences: tuple[Difference, ...]
    """The first few, by line."""
    malformed_lines: tuple[Malformed, ...]
    """The first few."""

    @property
    def is_proven(self) -> bool:
        """Every line was a prediction and no decision differs."""
        return self.differing == 0 and self.malformed == 0


class Replay:
    """Recomputes what it is given, some predictions at a time.

    A propensity has to be a float32 in [0, 1], written exactly, because that is what the draw was compared with. What
    is not a prediction is malformed: counted, named, and never silently skipped.
    """

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_Recorded).decode
        self._lines = self._checked = self._accepted = self._differing = self._malformed = self._settled = 0
        self._differences: list[Difference] = []
        self._malformed_lines: list[Malformed] = []
        self._seen: defaultdict[tuple[str, int], list[NDArray[np.int64]]] = defaultdict(list)

    def add(self, values: Sequence[bytes], places: Sequence[str] = ()) -> None:
        """Recompute the decisions of these, a prediction in JSON each; `places` says where each stands."""
        groups: defaultdict[tuple[int, str], list[tuple[int, _Recorded]]] = defaultdict(list)
        wrong: list[Malformed] = []
        first = self._lines + 1
        for number, value in enumerate(values, start=first):
            try:
                recorded = self._decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                wrong.append(Malformed(number, _why(value, exc)))
            else:
                if (broken := recorded.broken_rule) is not None:
                    wrong.append(Malformed(number, broken))
                else:
                    groups[recorded.seed, recorded.topic].append((number, recorded))
        found: list[Difference] = []
        for (seed, topic), members in groups.items():
            if seed >= 2**64:
                wrong += [Malformed(number, f"seed {seed} is not below 2**64") for number, _ in members]
                continue
            inexact, differ, yes = _recompute(seed, topic, members)
            wrong += inexact
            found += differ
            decided = [recorded for _, recorded in members if recorded.standing != Standing.SETTLED]
            for partition in {recorded.partition for recorded in decided}:
                offsets = [recorded.offset for recorded in decided if recorded.partition == partition]
                self._seen[topic, partition].append(np.array(offsets, dtype=np.int64))
            followed = len(members) - len(decided)
            self._settled += followed
            # A settled line was accepted, exactly and at propensity 1, or it is among the broken or the differing ones.
            self._checked += len(members) - len(inexact) - followed
            self._accepted += yes - sum(each.accepted for _, each in members if each.standing == Standing.SETTLED)
        self._lines += len(values)
        self._differing += len(found)
        self._malformed += len(wrong)
        if places:
            found = [one._replace(place=places[one.line - first]) for one in found]
            wrong = [one._replace(place=places[one.line - first]) for one in wrong]
        self._differences += sorted(found)[: NAMED - len(self._differences)]
        self._malformed_lines += sorted(wrong)[: NAMED - len(self._malformed_lines)]

    def outcome(self) -> ReplayOutcome:
        """What came of all that was added."""
        everything = map(np.concatenate, self._seen.values())
        return ReplayOutcome(
            checked=self._checked,
            accepted=self._accepted,
            differing=self._differing,
            malformed=self._malformed,
            repeated=sum(len(offsets) - len(np.unique(offsets)) for offsets in everything),
            settled=self._settled,
            differences=tuple(self._differences),
            malformed_lines=tuple(self._malformed_lines),
        )


def replay(lines: Iterable[bytes], *, batch: int = 65_536) -> ReplayOutcome:
    """Recompute the decision of every line, holding `batch` lines at a time; see `Replay`."""
    found = Replay()
    rest = iter(lines)
    while some := list(itertools.islice(rest, batch)):
        found.add(some)
    return found.outcome()


def _recompute(
    seed: int, topic: str, members: list[tuple[int, _Recorded]]
) -> tuple[list[Malformed], list[Difference], int]:
    """The inexact propensities, the decisions that differ, and how many of the others are recorded as accepted."""
    count = len(members)
    partitions = np.fromiter((recorded.partition for _, recorded in members), np.int32, count)
    offsets = np.fromiter((recorded.offset for _, recorded in members), np.int64, count)
    propensities = np.fromiter((recorded.propensity for _, recorded in members), np.float64, count)
    accepted = np.fromiter((recorded.accepted for _, recorded in members), np.bool_, count)
    draws = uniform(seed=seed, topic=topic, partitions=partitions, offsets=offsets)
    is_exact = propensities.astype(np.float32).astype(np.float64) == propensities
    inexact = [
        Malformed(members[index][0], f"propensity {propensities[index]} is not a float32 written exactly")
        for index in np.flatnonzero(~is_exact).tolist()
    ]
    differ = [
        Difference(
            line=members[index][0],
            coordinates=Coordinates(topic, int(partitions[index]), int(offsets[index])),
            propensity=float(propensities[index]),
            draw=float(draws[index]),
            accepted=bool(accepted[index]),
        )
        for index in np.flatnonzero(is_exact & ((draws < propensities) != accepted)).tolist()
    ]
    return inexact, differ, int((accepted & is_exact).sum())


def _why(line: bytes, exc: Exception) -> str:
    if not line.strip():
        return "empty line"
    return f"not a prediction: {exc or 'nested too deeply'}"
