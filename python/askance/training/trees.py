"""Decision trees as flat arrays, taken from scikit-learn so that the exported ones branch exactly alike.

scikit-learn compares a float32 feature with a float64 threshold, onnxruntime with a float32 one: x <= t holds for a
float32 x iff x <= the largest float32 that is not above t, which is what is exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Trees(NamedTuple):
    """m nodes of an ensemble, and l values at its leaves; a value adds to the score of one class."""

    tree: NDArray[np.int64]
    """(m,) the tree of a node."""
    node: NDArray[np.int64]
    """(m,) its number in the tree; the root is 0."""
    feature: NDArray[np.int64]
    """(m,)."""
    threshold: NDArray[np.float32]
    """(m,) to the left iff feature <= threshold."""
    left: NDArray[np.int64]
    """(m,) a node's number, negative at a leaf."""
    right: NDArray[np.int64]
    """(m,)."""
    leaf_row: NDArray[np.int64]
    """(l,) the leaf's place among the m nodes."""
    leaf_target: NDArray[np.int64]
    """(l,) a class."""
    leaf_value: NDArray[np.float64]
    """(l,)."""


def from_forest(estimators: Sequence[Any], classes: NDArray[np.int64]) -> Trees:
    """The trees of a random forest; the sums of their leaves are its probabilities. `classes` are its columns'."""
    parts = []
    for number, estimator in enumerate(estimators):
        tree = estimator.tree_
        left = tree.children_left
        leaf, column = np.nonzero((left < 0)[:, None] & (tree.value[:, 0, :] > 0))
        values = tree.value[leaf, 0, column] / tree.value[leaf, 0].sum(axis=1) / len(estimators)
        parts.append(
            _part(number, tree.feature, tree.threshold, left, tree.children_right, leaf, classes[column], values)
        )
    return _joined(parts)


def from_boosting(rounds: Sequence[Sequence[Any]], classes: NDArray[np.int64]) -> Trees:
    """The trees of a histogram gradient boosting; the sums of their leaves are its raw scores less its baseline."""
    parts: list[Trees] = []
    for one in rounds:
        for predictor, target in zip(one, classes, strict=True):
            nodes = predictor.nodes
            leaves = np.flatnonzero(nodes["is_leaf"])
            left = np.where(nodes["is_leaf"], -1, nodes["left"].astype(np.int64))
            targets = np.full(len(leaves), target)
            right = nodes["right"].astype(np.int64)
            feature, threshold = nodes["feature_idx"].astype(np.int64), nodes["num_threshold"]
            parts.append(_part(len(parts), feature, threshold, left, right, leaves, targets, nodes["value"][leaves]))
    return _joined(parts)


def not_above(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each threshold.

    >>> not_above(np.array([0.1])).item() <= 0.1 < np.nextafter(not_above(np.array([0.1])), np.float32(1)).item()
    True
    """
    nearest = thresholds.astype(np.float32)
    above = nearest.astype(np.float64) > thresholds
    return np.where(above, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float32)


def _part(
    number: int,
    feature: NDArray[np.int64],
    threshold: NDArray[np.float64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    leaf_row: NDArray[np.int64],
    leaf_target: NDArray[np.int64],
    leaf_value: NDArray[np.float64],
) -> Trees:
    places = np.arange(len(left))
    return Trees(
        np.full(len(left), number),
        places,
        feature,
        not_above(threshold),
        left,
        right,
        leaf_row,
        leaf_target,
        leaf_value,
    )


def _joined(parts: Sequence[Trees]) -> Trees:
    starts = np.cumsum([0, *(len(part.node) for part in parts[:-1])])
    moved = [part._replace(leaf_row=part.leaf_row + start) for part, start in zip(parts, starts, strict=True)]
    return Trees(*(np.concatenate(column) for column in zip(*moved, strict=True)))
