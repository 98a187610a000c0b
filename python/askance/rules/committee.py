"""How far the members of a committee disagree about a document: query by committee, as an uncertainty in [0, 1]."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.rules.gate import Disagreement


def disagreement(
    logits: Sequence[NDArray[np.float32]], temperatures: Sequence[float], measure: Disagreement
) -> NDArray[np.float32]:
    """Of m members, with (n, K) logits each, about n documents: (n,) float32.

    `vote_entropy` (Dagan & Engelson, 1995): the entropy of the members' answers. `consensus_kl` (McCallum & Nigam,
    1998): the mean Kullback-Leibler divergence of a member's probabilities from the mean of all. Both are at most
    ln min(m, K) respectively ln m and are divided by that. A document for which a member has a non-finite logit is of
    disagreement 1. Raises `ValueError` for fewer than two members.
    """
    members = len(logits)
    if members < 2:
        msg = f"a committee of {members} cannot disagree: it needs at least 2 members"
        raise ValueError(msg)
    stacked = np.stack(logits).astype(np.float64)
    finite = np.isfinite(stacked).all(axis=(0, 2))
    stacked[:, ~finite] = 0.0
    classes = stacked.shape[2]
    if measure == "vote_entropy":
        answers = stacked.argmax(axis=2)
        votes = (answers[:, :, None] == np.arange(classes)).mean(axis=0)
        found = -_times_log(votes).sum(axis=1) / math.log(min(members, classes))
    else:
        stacked /= np.asarray(temperatures, dtype=np.float64)[:, None, None]
        stacked -= stacked.max(axis=2, keepdims=True)
        probabilities = np.exp(stacked)
        probabilities /= probabilities.sum(axis=2, keepdims=True)
        # mean KL(p_m || mean p) = H(mean p) - mean H(p_m)
        own = -_times_log(probabilities).sum(axis=2).mean(axis=0)
        found = (-_times_log(probabilities.mean(axis=0)).sum(axis=1) - own) / math.log(members)
    return np.where(finite, np.clip(found, 0.0, 1.0), 1.0).astype(np.float32)


def _times_log(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """p ln p, 0 where p is 0."""
    found: NDArray[np.float64] = p * np.log(np.where(p > 0.0, p, 1.0))
    return found
