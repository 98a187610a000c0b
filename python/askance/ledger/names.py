"""Labels of old by their present names: what is read of the ledger changes, never what is written in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from askance.augmentation import Generated
    from askance.calls import Audit
    from askance.records import Judged, Labelled, Tally

_Row = TypeVar("_Row", bound=msgspec.Struct)


class Names:
    """Former labels with their present names; a label without one keeps its own."""

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self._renamed = dict(renamed)

    def labelled(self, rows: Iterable[Labelled]) -> list[Labelled]:
        """Both the label and the student's answer, so that a rename is no mistake of either."""
        return self._with(rows, "label", "predicted")

    def judged(self, rows: Iterable[Judged]) -> list[Judged]:
        """See `labelled`."""
        return self._with(rows, "label", "predicted", "shadow_predicted")

    def audits(self, rows: Iterable[Audit]) -> list[Audit]:
        """Both answers: the second may have been asked for after the rename."""
        return self._with(rows, "first", "again")

    def generated(self, rows: Iterable[Generated]) -> list[Generated]:
        """What it was written for, and what it was then said to be."""
        return self._with(rows, "wanted", "label")

    def tallies(self, rows: Iterable[Tally]) -> list[Tally]:
        """The answers of versions, summed up where several are merged."""
        return [self._summed(row) if self._renamed.keys() & row.predicted.keys() else row for row in rows]

    def _summed(self, row: Tally) -> Tally:
        predicted: dict[str, int] = {}
        for label, count in row.predicted.items():
            name = self._renamed.get(label, label)
            predicted[name] = predicted.get(name, 0) + count
        return msgspec.structs.replace(row, predicted=predicted)

    def _with(self, rows: Iterable[_Row], *fields: str) -> list[_Row]:
        if not self._renamed:
            return list(rows)
        return [self._named(row, fields) for row in rows]

    def _named(self, row: _Row, fields: tuple[str, ...]) -> _Row:
        changes = {field: self._renamed[value] for field in fields if (value := getattr(row, field)) in self._renamed}
        return msgspec.structs.replace(row, **changes) if changes else row
