"""`askance.Sampler` in other people's active-learning loops: the code of docs/how-to/python.md, really run."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import askance
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

# small-text calls what it has deprecated itself.
pytestmark = pytest.mark.filterwarnings("ignore:The function get_flattened_unique_labels:DeprecationWarning")
ROUNDS, WANTED, KNOWN = 4, 60, 60


class Round(NamedTuple):
    """What a loop drew, as rows of all documents and of those left, and what the right answers among them say."""

    rows: Any
    places: Any
    estimate: float
    naive: float
    truth: float


class Loop:
    """Labels that are bought round after round; a library says which, a `Sampler` with which propensity."""

    def __init__(self, seed: int) -> None:
        images, self.truth = load_digits(return_X_y=True)
        # A classifier that is wrong now and then has something to estimate.
        self.documents = images / 16 + np.random.default_rng(5).normal(scale=0.3, size=images.shape)
        self.known = np.arange(KNOWN)
        self.sampler = askance.Sampler(exponent=2.0, floor=0.02, seed=seed)
        self.rounds: list[Round] = []

    @property
    def left(self) -> Any:
        return np.setdiff1d(np.arange(len(self.truth)), self.known)

    def bought(self, rows: Any, predicted: Any) -> None:
        """The labels of `rows`, which are of those left; `predicted` (N,) is what was answered when they were drawn."""
        assert self.sampler.last is not None
        places, propensities = self.sampler.last
        assert np.array_equal(rows, self.left[places])
        right = np.asarray(predicted) == self.truth
        estimate = askance.estimate(right[rows], propensities)
        assert estimate is not None
        self.rounds.append(Round(rows, places, estimate.value, right[rows].mean(), right[self.left].mean()))
        self.known = np.concatenate([self.known, rows])


def in_scikit_activeml(seed: int) -> Loop:
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.utils import MISSING_LABEL

    loop = Loop(seed)
    strategy = defined("skactiveml")(loop.sampler)
    y = np.full(len(loop.truth), MISSING_LABEL)
    classifier = SklearnClassifier(LogisticRegression(max_iter=200), classes=range(10))
    for _ in range(ROUNDS):
        y[loop.known] = loop.truth[loop.known]
        rows = strategy.query(loop.documents, y, classifier, batch_size=WANTED)
        loop.bought(rows, classifier.fit(loop.documents, y).predict(loop.documents))
    return loop


def in_small_text(seed: int) -> Loop:
    from scipy.sparse import csr_matrix
    from small_text import PoolBasedActiveLearner, SklearnClassifierFactory, SklearnDataset

    loop = Loop(seed)
    dataset = SklearnDataset(csr_matrix(loop.documents), loop.truth, target_labels=np.arange(10))
    factory = SklearnClassifierFactory(LogisticRegression(max_iter=200), 10)
    learner = PoolBasedActiveLearner(factory, defined("small_text")(loop.sampler), dataset)
    learner.initialize_data(loop.known, loop.truth[loop.known])
    for _ in range(ROUNDS):
        rows = learner.query(num_samples=WANTED)
        loop.bought(rows, learner.classifier.predict(dataset))
        learner.update(loop.truth[rows])
    return loop


def in_modal(seed: int) -> Loop:
    models = pytest.importorskip("modAL.models", reason="needs modAL: make .venv/ready-active")

    loop = Loop(seed)
    for _ in range(ROUNDS):
        known, left = loop.known, loop.left
        learner = models.ActiveLearner(
            LogisticRegression(max_iter=200),
            query_strategy=loop.sampler,
            X_training=loop.documents[known],
            y_training=loop.truth[known],
        )
        indices, documents, metrics = learner.query(loop.documents[left], n_instances=WANTED, return_metrics=True)
        assert np.array_equal(documents, loop.documents[left[indices]])
        assert loop.sampler.last is not None
        assert np.array_equal(metrics, loop.sampler.last.propensities)
        loop.bought(left[indices], learner.predict(loop.documents))
    return loop


def pieces(library: str = "") -> list[str]:
    """The page's code, all of it or that which imports `library`."""
    page = (REPOSITORY / "docs/how-to/python.md").read_text(encoding="utf-8")
    return [code for code in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if library in code]


def defined(library: str) -> Any:
    names: dict[str, Any] = {}
    (code,) = pieces(f"from {library}")
    exec(code, names)
    return names["Drawn"]


# modAL is installed for `make test-all` alone.
LOOPS = pytest.mark.parametrize(
    "run", [in_scikit_activeml, in_small_text, pytest.param(in_modal, marks=pytest.mark.slow)]
)


@LOOPS
def test_what_was_drawn_in_a_librarys_loop_stands_for_the_pool(run: Callable[[int], Loop]) -> None:
    loops = [run(seed) for seed in range(10)]
    rounds = [each for loop in loops for each in loop.rounds]

    # 60 on average, five standard deviations at most away.
    assert all(abs(len(each.rows) - WANTED) < 5 * np.sqrt(WANTED) for each in rounds)
    estimate, naive, truth = (np.mean(column) for column in zip(*(each[2:] for each in rounds), strict=True))
    assert abs(estimate - truth) < 0.03
    assert truth - naive > 0.06  # which is why it is weighted
    assert loops[0].rounds[-1].truth > loops[0].rounds[0].truth  # it learns


@LOOPS
def test_a_librarys_loop_tosses_other_coins_each_round_and_the_same_for_a_seed(run: Callable[[int], Loop]) -> None:
    first, again, other = run(1), run(1), run(2)
    for one, same in zip(first.rounds, again.rounds, strict=True):
        assert np.array_equal(one.rows, same.rows)
    assert not np.array_equal(first.rounds[0].rows, other.rounds[0].rows)
    for one, following in pairwise(first.rounds):
        # With the same coins most places would come again: their uncertainties are alike.
        assert len(np.intersect1d(one.places, following.places)) < WANTED / 4


def test_scikit_activeml_may_name_the_candidates() -> None:
    from skactiveml.classifier import SklearnClassifier

    loop = Loop(1)
    strategy = defined("skactiveml")(loop.sampler)
    y = np.full(len(loop.truth), np.nan)
    y[loop.known] = loop.truth[loop.known]
    classifier = SklearnClassifier(LogisticRegression(max_iter=200), classes=range(10)).fit(loop.documents, y)
    candidates = np.arange(200, 400)
    drawn = strategy.query(loop.documents, y, classifier, fit_clf=False, candidates=candidates, batch_size=50)
    assert loop.sampler.last is not None
    assert np.array_equal(drawn, candidates[loop.sampler.last.indices])
    drawn = strategy.query(loop.documents, y, classifier, candidates=loop.documents[candidates], batch_size=50)
    assert np.array_equal(drawn, loop.sampler.last.indices)
