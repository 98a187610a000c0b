"""What the labels already paid for say of a student on the whole stream.

`mean`: agreement, accuracy and paired differences; `sequence`: intervals that may be watched; `classes`: per class;
`window`: what is known of a window of a run, and how much of it is not.
"""

from askance.rules.estimate.classes import ClassEstimate, Confusion, estimate_classes, estimate_confusions
from askance.rules.estimate.mean import (
    MINIMUM_EFFECTIVE,
    Guesses,
    all_right,
    effective_size,
    estimate_agreement,
    estimate_difference,
)
from askance.rules.estimate.sequence import watched_agreement
from askance.rules.estimate.window import WindowEstimate, estimate_window

__all__ = [
    "MINIMUM_EFFECTIVE",
    "ClassEstimate",
    "Confusion",
    "Guesses",
    "WindowEstimate",
    "all_right",
    "effective_size",
    "estimate_agreement",
    "estimate_classes",
    "estimate_confusions",
    "estimate_difference",
    "estimate_window",
    "watched_agreement",
]
