"""`import askance`: the surface for notebooks and other consumers does what the workers do."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

import askance
from askance import _kernel
from askance.errors import RegistryError, UsageError
from askance.registry import DirectoryRegistry
from askance.rules.simulate import POLICIES


def logits_of(n: int, seed: int = 1, k: int = 4) -> np.ndarray:
    """Rows from nearly certain to quite unsure."""
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(n, k)) * generator.uniform(0.2, 6.0, size=(n, 1))).astype(np.float32)


def keys(n: int, start: int = 0) -> list[tuple[str, int, int]]:
    return [("t", 0, offset) for offset in range(start, start + n)]


def test_importing_it_loads_nothing_until_something_is_used() -> None:
    program = "import sys, askance; print('numpy' in sys.modules, 'askance.api' in sys.modules, askance.__version__)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "False", askance.__version__]


def test_everything_it_names_is_there_and_nothing_else() -> None:
    assert all(getattr(askance, name) is not None for name in askance.__all__)
    assert list(askance.__all__) == sorted(
        askance.__all__, key=lambda name: (name != name.title() and not name[0].isupper(), name)
    )
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = askance.nothing


# The gate


def test_without_a_share_it_is_m_raru_to_the_bit() -> None:
    logits = logits_of(500)
    decided = askance.Gate(share=None, seed=7).decide(logits, coordinates=keys(500), temperature=1.5)
    kernel = askance.decide(
        logits=logits,
        temperature=1.5,
        measure="entropy",
        floor=0.0,
        exponent=1.0,
        scale=1.0,
        seed=7,
        topic="t",
        partitions=np.zeros(500, dtype=np.int32),
        offsets=np.arange(500, dtype=np.int64),
    )
    for name in ("labels", "confidences", "uncertainties", "propensities", "accepted"):
        assert np.array_equal(getattr(decided, name), getattr(kernel, name)), name
    assert np.array_equal(decided.propensities, decided.uncertainties)
    assert 0 < decided.accepted.sum() < 500


def test_the_share_is_kept_over_batches_of_any_size() -> None:
    gate, accepted, documents = askance.Gate(share=0.05), 0, 0
    for size in [1, 7, 64, 512] * 60:
        decided = gate.decide(logits_of(size, seed=documents), coordinates=keys(size, documents))
        accepted, documents = accepted + int(decided.accepted.sum()), documents + size
        assert (decided.propensities > 0.0).all()  # the floor
    assert accepted / documents == pytest.approx(0.05, rel=0.1)


def test_before_there_is_a_student_the_advance_is_accepted_and_then_the_share() -> None:
    gate = askance.Gate(share=0.1, advance=40)
    draws = [gate.draw(keys(20, start)) for start in range(0, 5_000, 20)]
    accepted = np.concatenate([each.accepted for each in draws])
    assert accepted[:40].all()
    assert accepted.sum() == pytest.approx(540, rel=0.1)


def test_an_empty_batch_is_a_batch() -> None:
    gate = askance.Gate()
    assert len(gate.decide(logits_of(0), coordinates=[]).accepted) == 0
    assert len(gate.draw([]).accepted) == 0


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"measure": "guess"}, {"measure": "vote_entropy"}, {"seed": -1}])
def test_what_a_setting_may_not_be_the_gate_may_not(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"share|measure|seed"):
        askance.Gate(**wrong)  # type: ignore[arg-type]


# The sampler


def pool(n: int, seed: int = 3) -> np.ndarray:
    logits = logits_of(n, seed).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class Fitted:
    """A classifier that has learnt its pool by heart."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        return X


def test_the_propensities_are_those_the_documents_came_with() -> None:
    probabilities = pool(60)
    for wanted in (None, 15):
        counts, said = np.zeros(60), np.zeros(60)
        for seed in range(2_000):
            queried = askance.Sampler(seed=seed, floor=0.02).query(Fitted(), probabilities, wanted)
            counts[queried.indices] += 1
            said[queried.indices] = queried.propensities
        frequency = counts / 2_000
        error = np.sqrt(np.maximum(said * (1 - said), 1e-9) / 2_000)
        assert (np.abs(frequency - said) < 5 * error + 1e-3).all()
        if wanted:
            assert said.sum() == pytest.approx(wanted, rel=1e-6)


def test_what_was_accepted_stands_for_the_whole_pool() -> None:
    probabilities = pool(2_000)
    right = np.random.default_rng(4).random(2_000) < probabilities.max(axis=1)
    estimates = []
    for seed in range(200):
        queried = askance.Sampler(seed=seed, floor=0.02).query_proba(probabilities, 300)
        found = askance.estimate(right[queried.indices], queried.propensities)
        assert found is not None
        estimates.append(found)
    assert np.mean([one.value for one in estimates]) == pytest.approx(right.mean(), abs=0.01)
    naive = np.mean(
        [
            right[askance.Sampler(seed=seed, floor=0.02).query_proba(probabilities, 300).indices].mean()
            for seed in range(20)
        ]
    )
    assert right.mean() - naive > 0.05  # which is why it is weighted
    assert np.mean([one.low <= right.mean() <= one.high for one in estimates]) > 0.9


def test_rounds_and_seeds_differ_and_the_same_is_the_same() -> None:
    probabilities = pool(200)
    sampler = askance.Sampler(seed=1)
    first, second = (sampler.query(Fitted(), probabilities, 50) for _ in range(2))
    assert not np.array_equal(first.indices, second.indices)
    assert np.array_equal(first.indices, sampler.query(Fitted(), probabilities, 50, round=0).indices)
    assert np.array_equal(second.indices, sampler.query(Fitted(), probabilities, 50).indices)
    assert np.array_equal(first.indices, clone(sampler).query(Fitted(), probabilities, 50).indices)
    assert not np.array_equal(first.indices, askance.Sampler(seed=2).query(Fitted(), probabilities, 50).indices)


def test_called_as_a_query_strategy_it_draws_the_same_and_keeps_it() -> None:
    probabilities = pool(200)
    sampler = askance.Sampler(seed=1)
    assert sampler.last is None
    for number in (0, 1, 7, 8):
        called = sampler(Fitted(), probabilities, 50, round=7) if number == 7 else sampler(Fitted(), probabilities, 50)
        assert sampler.last is called
        again = askance.Sampler(seed=1).query(Fitted(), probabilities, 50, round=number)
        assert all(np.array_equal(one, other) for one, other in zip(called, again, strict=True))
    with pytest.raises(TypeError, match="rounds"):
        sampler(Fitted(), probabilities, 50, rounds=7)  # type: ignore[call-arg]


def test_it_is_cloned_and_set_as_scikit_learn_does() -> None:
    sampler = askance.Sampler(measure="margin", floor=0.1)
    copy = clone(sampler)
    assert copy is not sampler
    assert copy.get_params() == {"measure": "margin", "exponent": 1.0, "floor": 0.1, "seed": 0}
    assert copy.set_params(seed=5).seed == 5
    with pytest.raises(ValueError, match="no parameter 'sed'"):
        copy.set_params(sed=5)


@pytest.mark.parametrize("wrong", [[[0.5, 0.6]], [0.5, 0.5], [[np.nan, 1.0]], [[1.5, -0.5]], np.empty((0, 2))])
def test_what_are_no_probabilities_is_misuse(wrong: object) -> None:
    with pytest.raises(ValueError, match="probabilities are"):
        askance.Sampler().query_proba(wrong)  # type: ignore[arg-type]


def test_more_than_the_pool_holds_is_misuse() -> None:
    with pytest.raises(ValueError, match="11 of 10 documents"):
        askance.Sampler().query_proba(pool(10), 11)


# Estimates and students


def test_a_budget_is_simulated_as_the_command_does() -> None:
    generator = np.random.default_rng(2)
    uncertainties, right = generator.random(400), generator.random(400) < 0.8
    found = askance.simulate(uncertainties, 1 - uncertainties / 2, right, shares=(0.0, 1.0))
    assert [(one.policy, one.share) for one in found] == [
        (policy, share) for policy in POLICIES for share in (0.0, 1.0)
    ]
    assert found[0].accuracy is not None
    assert found[0].accuracy.value == pytest.approx(right.mean())
    assert found[1].accuracy is not None
    assert found[1].accuracy.value == 1.0
    with pytest.raises(ValueError, match="399 right answers"):
        askance.simulate(uncertainties, uncertainties, right[1:])


def test_what_is_not_there_is_told(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RegistryError, match="no version is live in"):
        askance.Student.load(tmp_path)
    DirectoryRegistry(tmp_path)
    with pytest.raises(RegistryError, match="there is no version 'v0009-00000000'"):
        askance.Student.load(tmp_path, "v0009-00000000")
    with pytest.raises(UsageError, match="there is no such folder"):
        askance.estimate_run(tmp_path / "none")


class Loaded:
    """A student of as many labels as it is given, that answers with the first."""

    version, temperature = "v0003-0123abcd", 1.25

    def __init__(self, labels: tuple[str, ...] = ("a", "b")) -> None:
        self.labels = labels

    def logits(self, texts: list[str]) -> np.ndarray:
        return np.tile(np.linspace(1, 0, len(self.labels), dtype=np.float32), (len(texts), 1))


@pytest.mark.parametrize("name", ["logits", "predict", "predict_proba"])
def test_one_text_is_not_taken_for_a_list_of_its_characters(name: str) -> None:
    ask = getattr(askance.Student(Loaded()), name)  # type: ignore[arg-type]
    assert len(ask(["a string", "another"])) == 2
    assert len(ask([])) == 0
    with pytest.raises(TypeError, match=r"texts is 'a string', one str; give a list of texts, such as \[text\]"):
        ask("a string")
    with pytest.raises(TypeError, match=r"one bytes"):
        ask(b"a string")


def test_in_a_notebook_each_says_what_it_is() -> None:
    assert repr(askance.Student(Loaded())) == "<Student v0003-0123abcd: 2 labels ['a', 'b'], temperature 1.25>"  # type: ignore[arg-type]
    many = askance.Student(Loaded(tuple(f"label {number}" for number in range(77))))  # type: ignore[arg-type]
    assert "77 labels ['label 0'," in repr(many)
    assert len(repr(many)) < 200
    assert repr(askance.Gate(share=0.1, seed=3)) == (
        "Gate(share=0.1, measure='entropy', exponent=None, floor=None, seed=3, advance=0)"
    )
    assert repr(askance.Sampler(seed=3)) == "Sampler(measure='entropy', exponent=1.0, floor=0.0, seed=3)"
    queried = askance.Sampler().query_proba(pool(200), 50)
    assert re.fullmatch(r"<Queried: \d+ documents, propensities 0\.\d+ to [01](\.\d+)?>", repr(queried))
    assert repr(askance.Queried(np.empty(0, np.int64), np.empty(0))) == "<Queried: 0 documents>"
    decided = askance.Gate(share=None).decide(logits_of(500), coordinates=keys(500))
    assert repr(decided) == f"<Decided: {decided.accepted.sum()} of 500 documents accepted>"
    drawn = askance.Gate().draw(keys(500))
    assert repr(drawn) == f"<Draws: {drawn.accepted.sum()} of 500 documents accepted>"


def test_the_kernel_is_the_one_that_decides() -> None:
    assert askance.decide is _kernel.decide
