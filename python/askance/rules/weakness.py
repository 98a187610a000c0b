"""What a student is bad at, for the prompt of an augmentation round: its weakest classes and its hard negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.records import Labelled


class ClassReport(NamedTuple):
    """How a student does on one class of the held-out labels."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """Held-out labels of the class."""


def class_reports(answers: Sequence[str], truth: Sequence[str], labels: Sequence[str]) -> list[ClassReport]:
    """One report a class that has held-out labels, or was answered, weakest F1 first; ties as `labels` has them.

    >>> [(one.label, round(one.f1, 2)) for one in class_reports(["a", "a", "b"], ["a", "b", "b"], ["a", "b", "c"])]
    [('a', 0.67), ('b', 0.67)]
    """
    reports = []
    for label in labels:
        answered, support = answers.count(label), truth.count(label)
        hits = sum(answer == given == label for answer, given in zip(answers, truth, strict=True))
        if answered or support:
            reports.append(
                ClassReport(
                    label,
                    precision=hits / answered if answered else 0.0,
                    recall=hits / support if support else 0.0,
                    f1=2 * hits / (answered + support),
                    support=support,
                )
            )
    return sorted(reports, key=lambda one: one.f1)


def hard_negatives(rows: Sequence[Labelled], label: str, most: int) -> list[Labelled]:
    """Labels of a class that a version got wrong, or took for it, when they came; the surest mistakes first.

    `rows` are to be the training side: what is held out must not be shown to whoever writes training data. The answer
    on record is that of the version which scored the document before anyone had labelled it, so it is an honest one.
    """
    wrong = [
        row
        for row in rows
        if row.predicted is not None and row.predicted != row.label and label in (row.label, row.predicted)
    ]
    return sorted(wrong, key=lambda row: row.uncertainty)[:most]
