"""When the live version has to go: its predecessor is still there, and going back is one atomic write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from askance.rules.tally import merged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from askance.manifest import Estimate
    from askance.records import Tally
    from askance.rules.estimate import WindowEstimate


def reason_to_roll_back(
    live: WindowEstimate,
    live_tallies: Sequence[Tally],
    former_tallies: Sequence[Tally],
    *,
    promoted_on: Estimate | None,
    tolerance: float,
    jump: float,
    documents: int,
) -> str | None:
    """Why the live version is worse than what it was promoted on, or None.

    One of three: it scored documents with numbers that are none; its class shares lie more than `jump` (in total
    variation) from those of the last `documents` documents before it, once it has answered as many; or the confidence
    sequence of its live agreement, which may be watched after every label, lies below what it was promoted on by more
    than `tolerance`. What it was promoted on is an estimate itself: its interval's lower end is given the benefit too.
    """
    whole = merged(live_tallies)
    if whole is None:
        return None
    silent = whole.documents - whole.uncovered - sum(whole.predicted.values())
    if silent > 0:
        return f"non-finite scores for {silent:,} of {whole.documents:,} documents"
    former = merged(_last(former_tallies, documents))
    if former is not None and min(former.documents - former.uncovered, whole.documents - whole.uncovered) >= documents:
        distance = _variation(former.predicted, whole.predicted)
        if distance > jump:
            return f"class shares jumped by {distance:.2f} (total variation; guard.jump is {jump:g})"
    if live.watched is not None and promoted_on is not None:
        floor = min(promoted_on.value - tolerance, promoted_on.low)
        if live.watched.high < floor:
            return (
                f"live agreement is {live.watched.value:.3f}, at most {live.watched.high:.3f}, but it was promoted on "
                f"{promoted_on.value:.3f} [{promoted_on.low:.3f}, {promoted_on.high:.3f}]"
            )
    return None


def _last(tallies: Sequence[Tally], documents: int) -> list[Tally]:
    taken: list[Tally] = []
    for tally in reversed(tallies):
        if sum(one.documents - one.uncovered for one in taken) >= documents:
            break
        taken.append(tally)
    return taken


def _variation(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    first, second = max(1, sum(one.values())), max(1, sum(other.values()))
    return sum(abs(one.get(label, 0) / first - other.get(label, 0) / second) for label in one.keys() | other.keys()) / 2
