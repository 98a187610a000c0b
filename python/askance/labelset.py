"""The versions of a label set: what labels of old are called now, so that no label that was paid for is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from askance.manifest import Manifest


def renaming(renamed: Mapping[str, str], labels: Collection[str] | None = None) -> dict[str, str]:
    """Every former label with what it is called now, whatever it was called in between.

    Several former labels with one name are merged. Raises `ValueError` for a circle and, with the label set `labels`,
    for a label that is in it under its former name, or is not under its present one.

    >>> renaming({"loss": "lost", "lost": "card lost"})
    {'loss': 'card lost', 'lost': 'card lost'}
    """
    found = {}
    for former in renamed:
        label, passed = former, {former}
        while label in renamed:
            label = renamed[label]
            if label in passed:
                msg = f"renamed goes in a circle at {label!r}: drop one of its steps"
                raise ValueError(msg)
            passed.add(label)
        found[former] = label
    if labels is not None:
        for former, label in found.items():
            if former in labels:
                msg = f"renamed calls {former!r} {label!r}, but it is in the label set under its former name: drop one"
                raise ValueError(msg)
            if label not in labels:
                msg = f"renamed turns {former!r} into {label!r}, which is not in the label set: add it, or drop this"
                raise ValueError(msg)
    return found


def number_of(labels: Sequence[str], versions: Sequence[Manifest]) -> int:
    """The number of the label set of a student to come after these, oldest first: it grows with every change.

    Another order is no change.
    """
    if not versions:
        return 1
    newest = versions[-1]
    return newest.label_set + (set(newest.labels) != set(labels))


def is_like(manifest: Manifest, before: Manifest) -> bool:
    """Whether a version has the labels of one before it, by their present names."""
    return {manifest.renamed.get(label, label) for label in before.labels} == set(manifest.labels)
