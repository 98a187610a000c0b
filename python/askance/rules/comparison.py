"""What another version or policy would have said of documents that were classified before: the differences, counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

NAMED = 10
"""So many of the most frequent changes of a label are named; all are counted."""
_NOT_READ = -1


class Said(msgspec.Struct, frozen=True, gc=False):
    """Of a prediction, what is compared."""

    topic: str
    partition: int
    offset: int
    label: str | None
    version: str | None
    accepted: bool


class Change(msgspec.Struct, frozen=True):
    """How the predictions of one recorded version compare with the new ones."""

    documents: int
    label_changes: int
    newly_accepted: int
    no_longer_accepted: int


class LabelChange(msgspec.Struct, frozen=True):
    """One label in the place of another."""

    recorded: str | None
    new: str | None
    documents: int


class Outcome(msgspec.Struct, frozen=True):
    """What came of a comparison."""

    documents: int
    """Predicted anew."""
    without_record: int
    """Of these, without a recorded prediction."""
    repeated: int
    """Recorded predictions of a document that had one already; the first one counts."""
    malformed: int
    """Records that are no prediction."""
    total: Change
    by_version: dict[str, Change]
    """By the version that the recorded prediction names; `none`: there was no student yet."""
    label_changes: tuple[LabelChange, ...]
    """The most frequent ones."""


class Comparison:
    """Remembers what is said anew of the documents of a few stretches, then hears what was recorded.

    `spans` is, by (topic, partition), the first offset of a stretch and the one behind its last. Five bytes a document
    are kept.
    """

    def __init__(self, spans: Mapping[tuple[str, int], tuple[int, int]]) -> None:
        self._starts = {place: begin for place, (begin, _) in spans.items()}
        self._labels: dict[tuple[str, int], NDArray[np.int32]] = {
            place: np.full(end - begin, _NOT_READ, dtype=np.int32) for place, (begin, end) in spans.items()
        }
        self._accepted: dict[tuple[str, int], NDArray[np.bool_]] = {
            place: np.zeros(end - begin, dtype=np.bool_) for place, (begin, end) in spans.items()
        }
        self._names: list[str | None] = []
        self._numbers: dict[str | None, int] = {}
        self._documents = self._compared = self._repeated = self._malformed = 0
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._changes: Counter[tuple[str | None, str | None]] = Counter()
        self._decode = msgspec.json.Decoder(Said).decode

    def anew(self, values: Iterable[bytes]) -> None:
        """What is said now: predictions in JSON, of documents of the stretches, each once."""
        for value in values:
            said = self._decode(value)
            place = (said.topic, said.partition)
            index = said.offset - self._starts[place]
            self._labels[place][index] = self._number(said.label)
            self._accepted[place][index] = said.accepted
            self._documents += 1

    @property
    def is_complete(self) -> bool:
        """Every document that was predicted anew has been compared."""
        return self._compared == self._documents

    def recorded(self, values: Iterable[bytes]) -> None:
        """What was said then; predictions of other documents are passed over."""
        for value in values:
            try:
                said = self._decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._malformed += 1
                continue
            place = (said.topic, said.partition)
            labels = self._labels.get(place)
            index = said.offset - self._starts.get(place, 0)
            if labels is None or not 0 <= index < len(labels) or labels[index] == _NOT_READ:
                continue
            if labels[index] < _NOT_READ:
                self._repeated += 1
                continue
            self._compare(said, self._names[labels[index]], is_accepted=bool(self._accepted[place][index]))
            labels[index] = _NOT_READ - 1
            self._compared += 1

    def outcome(self) -> Outcome:
        """What came of it."""
        by_version = {version: _change(counts) for version, counts in sorted(self._counts.items())}
        return Outcome(
            documents=self._documents,
            without_record=self._documents - self._compared,
            repeated=self._repeated,
            malformed=self._malformed,
            total=_change(sum(self._counts.values(), Counter())),
            by_version=by_version,
            label_changes=tuple(
                LabelChange(*labels, documents=count) for labels, count in self._changes.most_common(NAMED)
            ),
        )

    def _number(self, label: str | None) -> int:
        if label not in self._numbers:
            self._numbers[label] = len(self._names)
            self._names.append(label)
        return self._numbers[label]

    def _compare(self, said: Said, label: str | None, *, is_accepted: bool) -> None:
        counts = self._counts[said.version or "none"]
        counts["documents"] += 1
        if said.label != label:
            counts["label_changes"] += 1
            self._changes[said.label, label] += 1
        if said.accepted != is_accepted:
            counts["newly_accepted" if is_accepted else "no_longer_accepted"] += 1


def _change(counts: Counter[str]) -> Change:
    return Change(**{name: counts[name] for name in Change.__struct_fields__})
