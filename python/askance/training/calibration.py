"""One temperature that makes a student's probabilities honest.

Temperature scaling (Guo et al., On Calibration of Modern Neural Networks, ICML 2017): the logits of documents the
student has not seen are divided by the T under which the teacher's labels are likeliest. It changes no answer, only how
sure the student is of it, and so how often the teacher is asked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST, HIGHEST = 0.1, 100.0
"""Where T is sought. Fits on 128 to 6,000 labels wanted 0.3 to 1.5; discriminant analysis wants 5 to 20."""

MINIMUM = 8
"""With fewer documents T stays 1."""


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.int64]) -> float:
    """The temperature for (n, K) logits of unseen documents whose classes are `targets`, (n,).

    It minimises the negative log-likelihood plus (ln T)^2 / 2: the weight of about one document that says T = 1,
    which keeps a handful of documents that are all answered rightly from asking for boundless certainty.

    >>> fit_temperature(np.zeros((4, 2)), np.zeros(4, dtype=np.int64))
    1.0
    """
    if len(targets) < MINIMUM:
        return 1.0
    rows = np.arange(len(targets))
    doubles = np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        likelihoods = log_softmax(doubles / math.exp(log_temperature), axis=1)[rows, targets]
        return float(log_temperature**2 / 2.0 - likelihoods.sum())

    best = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return float(math.exp(best.x))


def tempered(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Probabilities softmax(logits / temperature), (n, K) float64."""
    probabilities: NDArray[np.float64] = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return probabilities
