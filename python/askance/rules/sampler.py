"""M-RARU as a query strategy: which documents of a pool to ask about, by chance, with their propensities. Pure.

What active-learning libraries rank, this draws: a pool's documents are accepted independently, each with a probability
that grows with the classifier's uncertainty (Poisson sampling), so that what is learnt of the accepted ones can be
weighted back to the whole pool (`askance.estimate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from askance import _kernel
from askance.rules.simulate import probabilities as shared

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from askance.rules.gate import Measure

_PARAMETERS = ("measure", "exponent", "floor", "seed")


class Classifier(Protocol):
    """Whatever gives probabilities, as scikit-learn's classifiers do."""

    def predict_proba(self, X: Any) -> Any:  # noqa: N803 - theirs
        """(n, K) probabilities."""


class Queried(NamedTuple):
    """What to ask about: rows of the pool in ascending order, (m,), and the propensity with which each came."""

    indices: NDArray[np.int64]
    propensities: NDArray[np.float64]

    def __repr__(self) -> str:
        q = self.propensities
        among = f", propensities {q.min():.3g} to {q.max():.3g}" if len(q) else ""
        return f"<Queried: {len(q)} documents{among}>"


class Sampler:
    """A query strategy that draws instead of ranking.

    Without a number wanted it is M-RARU (arXiv 2511.11574): a document is accepted with a probability equal to its
    uncertainty. With one, the probabilities are scaled so that so many are accepted on average: how many it is this
    time is a matter of chance, which is what keeps the propensities true. `floor` is the least propensity, so that
    nothing is out of reach; no more than the part that is wanted. Parameters follow scikit-learn's conventions
    (`get_params`, `set_params`, `sklearn.base.clone`).

    The same seed, `round` and pool give the same draw. Each draw is a round of its own: unless `round` names it, the
    one after the last, from 0 on. `last` is what was drawn last, for loops that hand on no more than the indices.

    >>> sampler = Sampler(measure="least_confidence", seed=1)
    >>> sampler.query_proba([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25], [0.75, 0.25]]).indices.tolist()
    [0, 2]
    >>> sampler.last
    <Queried: 2 documents, propensities 0.5 to 1>
    """

    def __init__(self, measure: Measure = "entropy", exponent: float = 1.0, floor: float = 0.0, seed: int = 0) -> None:
        self.measure = measure
        self.exponent = exponent
        self.floor = floor
        self.seed = seed
        self.last: Queried | None = None
        self._next = 0

    def __repr__(self) -> str:
        return f"Sampler({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - scikit-learn's signature
        """The parameters by name."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **params: Any) -> Sampler:
        """Change parameters; raises `ValueError` for one that there is not."""
        for name, value in params.items():
            if name not in _PARAMETERS:
                msg = f"there is no parameter {name!r}; there are: {', '.join(_PARAMETERS)}"
                raise ValueError(msg)
            setattr(self, name, value)
        return self

    def query(
        self,
        classifier: Classifier,
        X: Any,  # noqa: N803 - theirs
        n_instances: float | None = None,
        *,
        round: int | None = None,  # noqa: A002 - the field's word
    ) -> Queried:
        """Of a pool X of n documents, those to ask about; `n_instances` are wanted on average, None: as M-RARU has it.

        `round` makes the draws of one round of learning different from those of another; None: the one after the last.
        """
        return self.query_proba(classifier.predict_proba(X), n_instances, round=round)

    def query_proba(
        self,
        probabilities: ArrayLike,
        n_instances: float | None = None,
        *,
        round: int | None = None,  # noqa: A002 - the field's word
    ) -> Queried:
        """The same, of (n, K) probabilities. Raises `ValueError` for what are none, or for more than the pool holds."""
        p = np.asarray(probabilities, dtype=np.float64)
        if p.ndim != 2 or not len(p) or not np.isfinite(p).all() or (p < 0).any() or not np.allclose(p.sum(axis=1), 1):
            msg = f"probabilities are (n, K), n >= 1, none negative, and each row adds up to 1; these are {p.shape}"
            raise ValueError(msg)
        number = self._next if round is None else round
        # The kernel takes logits; the softmax of logarithms is what they are of.
        logits = np.log(np.maximum(p, np.finfo(np.float32).tiny)).astype(np.float32)
        uncertainties = _kernel.uncertainty(logits=logits, measure=self.measure).astype(np.float64) ** self.exponent
        q = self._propensities(uncertainties, n_instances)
        offsets = np.arange(len(p), dtype=np.int64)
        draws = _kernel.uniform(
            seed=self.seed, topic=f"round {number}", partitions=np.zeros(len(p), dtype=np.int32), offsets=offsets
        )
        accepted = draws < q
        self.last, self._next = Queried(offsets[accepted], q[accepted]), number + 1
        return self.last

    def __call__(
        self,
        classifier: Classifier,
        X: Any,  # noqa: N803 - theirs
        n_instances: float | None = 1,
        *,
        round: int | None = None,  # noqa: A002 - the field's word
    ) -> Queried:
        """As modAL calls a query strategy: one document unless more are wanted; its metrics are the propensities."""
        return self.query(classifier, X, n_instances, round=round)

    def _propensities(self, powers: NDArray[np.float64], wanted: float | None) -> NDArray[np.float64]:
        if not 0.0 <= self.floor <= 1.0:
            msg = f"floor is {self.floor:g}: a probability is in [0, 1]"
            raise ValueError(msg)
        if wanted is None:
            return self.floor + (1.0 - self.floor) * powers
        share = wanted / len(powers)
        if not 0.0 < share <= 1.0:
            msg = f"{wanted:g} of {len(powers)} documents are wanted; ask for more than 0 and no more than there are"
            raise ValueError(msg)
        floor = min(self.floor, share)
        above = (share - floor) / (1.0 - floor) if floor < 1.0 else 0.0
        # Documents that are certain have no chance above the floor, however many are wanted.
        return floor + (1.0 - floor) * shared("uncertainty", powers, above)
