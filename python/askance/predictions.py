"""A batch's predictions by column: no object is made for a document until somebody asks for that one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from askance.records import Prediction, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from askance.records import Coordinates


class Answerer(NamedTuple):
    """Who answers some of a batch's documents: a version, or nobody."""

    version: str | None
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    """Of the contract."""

    @property
    def missing(self) -> Reason:
        """Why a prediction of its has no label."""
        return Reason.NO_STUDENT if self.version is None else Reason.NON_FINITE


class Places(NamedTuple):
    """The coordinates of n records, by column."""

    topics: tuple[str, ...]
    """(n,)."""
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, coordinates: Sequence[Coordinates]) -> Places:
        """At least one."""
        topics, partitions, offsets = zip(*coordinates, strict=True)
        return cls(topics, np.array(partitions, dtype=np.int32), np.array(offsets, dtype=np.int64))

    def partitioned(self) -> Iterator[tuple[str, int, NDArray[np.int64]]]:
        """Each topic and partition with the rows that lie in it, ascending."""
        for topic in dict.fromkeys(self.topics):
            own = np.flatnonzero(self.among(topic))
            partitions = self.partitions[own]
            for partition in np.unique(partitions).tolist():
                yield topic, partition, own[partitions == partition]

    def among(self, topic: str) -> NDArray[np.bool_]:
        """(n,) which of them are of this topic."""
        if self.topics.count(topic) == len(self.topics):
            return np.ones(len(self.topics), dtype=np.bool_)
        return np.array([each == topic for each in self.topics])


class Predictions(NamedTuple):
    """The predictions of n documents, in their order; every array has shape (n,).

    `rows` makes a `Prediction` of each.
    """

    ids: list[str]
    places: Places
    seed: int
    answerers: tuple[Answerer, ...]
    answerer: NDArray[np.uint8]
    """Which of them answers."""
    finite: NDArray[np.bool_]
    """Whether there is an answer."""
    labels: NDArray[np.int32]
    """Of its answerer's; of no meaning where there is no answer."""
    confidences: NDArray[np.float32]
    uncertainties: NDArray[np.float32]
    propensities: NDArray[np.float32]
    accepted: NDArray[np.bool_]
    standings: tuple[str | None, ...]
    """Those that occur."""
    standing: NDArray[np.uint8]
    """Which of them it is."""

    @property
    def documents(self) -> int:
        """n, how many there are."""
        return len(self.ids)

    def names(self) -> list[str | None]:
        """The predicted labels."""
        found = np.full(self.documents, None, dtype=object)
        for number, answerer in enumerate(self.answerers):
            own = self.finite & (self.answerer == number)
            found[own] = np.array(answerer.labels, dtype=object)[self.labels[own]] if answerer.labels else None
        names: list[str | None] = found.tolist()
        return names

    def rows(self, places: NDArray[np.int64] | None = None) -> list[Prediction]:
        """Those at these places, or all. A float32 becomes the very float64 of the same value, so JSON carries the
        propensity exactly."""
        chosen = np.arange(self.documents) if places is None else places
        columns = zip(
            chosen.tolist(),
            [self.answerers[number] for number in self.answerer[chosen].tolist()],
            self.finite[chosen].tolist(),
            self.labels[chosen].tolist(),
            self.confidences[chosen].tolist(),
            self.uncertainties[chosen].tolist(),
            self.propensities[chosen].tolist(),
            self.accepted[chosen].tolist(),
            [self.standings[number] for number in self.standing[chosen].tolist()],
            self.places.partitions[chosen].tolist(),
            self.places.offsets[chosen].tolist(),
            strict=True,
        )
        return [
            Prediction(
                id=self.ids[place],
                label=answerer.labels[label] if is_finite else None,
                confidence=confidence if is_finite else None,
                uncertainty=uncertainty,
                propensity=propensity,
                accepted=accepted,
                version=answerer.version,
                seed=self.seed,
                topic=self.places.topics[place],
                partition=partition,
                offset=offset,
                reason=None if is_finite else answerer.missing,
                standing=standing,
                threshold=answerer.threshold if standing is not None else None,
            )
            for (
                place, answerer, is_finite, label, confidence, uncertainty, propensity, accepted, standing, partition,
                offset,
            ) in columns
        ]  # fmt: skip
