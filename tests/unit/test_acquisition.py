"""Other ways to choose what is asked: at random, by committee, by class, from a seed set; each with its exact odds."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from askance import _kernel, assembly
from askance.calls import TeacherState
from askance.config import Config
from askance.manifest import FeaturizerConfig
from askance.records import Coordinates
from askance.rules.budget import PerSecondBudget, ShareBudget
from askance.rules.committee import disagreement
from askance.rules.gate import CLOSED, Decided, Gate, Opening
from askance.rules.scale import ScaleSolver
from askance.rules.seeding import SeedSet, representatives
from askance.student import features
from askance.student.committee import Committee, scores
from askance.student.slot import Slot
from askance.telemetry import Telemetry
from tests.unit.test_classify_worker import ListSink, ListSource, record, worker

N, K = 6000, 5
COORDINATES = [Coordinates("t", offset % 3, offset) for offset in range(N)]
LOGITS = np.random.default_rng(0).normal(0, 3, (N, K)).astype(np.float32)
LABELS = ("a", "b", "c", "d", "e")
FEATURES = features.build(FeaturizerConfig(bits=14)).transform


def draws(seed: int, coordinates: Sequence[Coordinates] = COORDINATES) -> NDArray[np.float64]:
    return _kernel.uniform(
        seed=seed,
        topic="t",
        partitions=np.array([each.partition for each in coordinates], dtype=np.int32),
        offsets=np.array([each.offset for each in coordinates], dtype=np.int64),
    )


def decided(gate: Gate, opening: Opening, u: NDArray[np.float32] | None = None) -> Decided:
    return gate.decide(LOGITS, temperature=1.0, opening=opening, coordinates=COORDINATES, labels=LABELS, disagreement=u)


def test_random_is_blind_to_uncertainty_but_records_it() -> None:
    config = Config.model_validate({"gate": {"measure": "random", "seed": 3}, "budget": {"share": 0.2}})
    gate, budget = assembly.gate(config), assembly.budget(config, documents=0, accepted=0)
    budget.spent(np.random.default_rng(0).random(2048).astype(np.float32), 400)

    got = decided(gate, budget.opening(512, now=0.0, blind=False))

    assert len(set(got.propensities.tolist())) == 1
    assert got.propensities[0] == pytest.approx(0.2, rel=0.01)
    assert np.array_equal(got.uncertainties, decided(Gate(seed=3), CLOSED).uncertainties)
    assert np.array_equal(got.accepted, draws(3) < np.float64(got.propensities[0]))


# A committee.


def slow_disagreement(members: list[list[list[float]]], temperatures: list[float], measure: str) -> list[float]:
    """In plain Python, straight from the definitions."""
    found = []
    for rows in zip(*members, strict=True):
        if measure == "vote_entropy":
            answers = [row.index(max(row)) for row in rows]
            shares = [answers.count(label) / len(rows) for label in set(answers)]
            found.append(-sum(p * np.log(p) for p in shares) / np.log(min(len(rows), len(rows[0]))))
            continue
        probabilities = []
        for row, temperature in zip(rows, temperatures, strict=True):
            powers = [np.exp((x - max(row)) / temperature) for x in row]
            probabilities.append([x / sum(powers) for x in powers])
        mean = [sum(column) / len(rows) for column in zip(*probabilities, strict=True)]
        divergences = [sum(p * np.log(p / m) for p, m in zip(own, mean, strict=True) if p) for own in probabilities]
        found.append(sum(divergences) / len(rows) / np.log(len(rows)))
    return found


@given(
    members=st.integers(2, 5), classes=st.integers(2, 6), seed=st.integers(0, 500), spread=st.sampled_from([0.1, 3, 40])
)
@pytest.mark.parametrize("measure", ["vote_entropy", "consensus_kl"])
def test_disagreement_is_what_the_definition_says(
    measure: str, members: int, classes: int, seed: int, spread: float
) -> None:
    random = np.random.default_rng(seed)
    logits = [random.normal(0, spread, (7, classes)).astype(np.float32) for _ in range(members)]
    temperatures = random.uniform(0.5, 2.0, members).tolist()

    got = disagreement(logits, temperatures, measure)  # type: ignore[arg-type]

    expected = slow_disagreement([each.astype(float).tolist() for each in logits], temperatures, measure)
    assert got.dtype == np.float32
    assert got == pytest.approx(np.clip(expected, 0, 1), abs=1e-6)
    same = disagreement([logits[0]] * members, [1.0] * members, measure)  # type: ignore[arg-type]
    assert same == pytest.approx(np.zeros(7), abs=1e-6)


def test_a_member_without_a_finite_answer_makes_disagreement_whole() -> None:
    broken = LOGITS[:4].copy()
    broken[2, 1] = np.nan

    assert disagreement([LOGITS[:4], broken], [1.0, 1.0], "consensus_kl").tolist() == [0, 0, 1, 0]
    with pytest.raises(ValueError, match="at least 2"):
        disagreement([LOGITS], [1.0], "vote_entropy")


def test_by_committee_the_recorded_propensity_is_exact_and_the_answer_the_live_ones() -> None:
    u = np.random.default_rng(5).random(N).astype(np.float32)
    gate, opening = Gate(exponent=2.0, seed=11), Opening(0.05, 0.6)

    got, plain = decided(gate, opening, u), decided(gate, opening)

    expected = (0.05 + 0.95 * np.minimum(1.0, 0.6 * u.astype(np.float64) ** 2)).astype(np.float32)
    assert np.array_equal(got.propensities, expected)
    assert np.array_equal(got.accepted, draws(11) < expected.astype(np.float64))
    assert np.array_equal(got.uncertainties, u)
    assert np.array_equal(got.labels, plain.labels)
    assert np.array_equal(got.confidences, plain.confidences)
    # The measure's own uncertainties, given back as if they were a committee's, change no decision.
    again = decided(gate, opening, plain.uncertainties)
    assert np.array_equal(again.accepted, plain.accepted)
    assert again.propensities == pytest.approx(plain.propensities, abs=1e-6)


class Stubborn:
    """Always answers the same."""

    labels = ("a", "b")
    temperature = 1.0

    def __init__(self, version: str, answer: int) -> None:
        self.version = version
        self._answer = answer

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.tile(np.eye(2, dtype=np.float32)[self._answer] * 9, (len(texts), 1))


def test_a_committee_in_the_slot_answers_as_the_live_student_and_asks_where_it_disagrees() -> None:
    async def scenario(*answers: int) -> list[dict[str, object]]:
        slot, sink = Slot(), ListSink()
        slot.put(Committee([Stubborn(f"v{n}", answer) for n, answer in enumerate(answers)], "vote_entropy"))
        source = ListSource([[record(offset) for offset in range(50)]])
        await worker(source, sink, slot, Telemetry(), scores=scores).run(asyncio.Event())
        return sink.predictions

    split, agreed = asyncio.run(scenario(0, 1)), asyncio.run(scenario(0, 0))

    assert {each["label"] for each in split + agreed} == {"a"}
    assert {each["version"] for each in split + agreed} == {"v0"}
    assert all(each["propensity"] == 1 and each["accepted"] for each in split)
    assert not any(each["propensity"] or each["accepted"] for each in agreed)


# Classes with a target.


@given(
    seed=st.integers(0, 300),
    rate=st.floats(0.02, 0.9),
    targets=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(0.0, 0.33), max_size=3),
    exponent=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_targets_are_met_where_they_can_be_and_the_rate_stays(
    seed: int, rate: float, targets: dict[str, float], exponent: float
) -> None:
    random = np.random.default_rng(seed)
    u = random.beta(0.7, 3.0, 2048).astype(np.float32)
    labels: list[str | None] = [
        str(each) for each in random.choice(["a", "b", "c", "d"], 2048, p=[0.01, 0.04, 0.35, 0.6])
    ]
    solver = ScaleSolver(0.0, exponent, targets)
    solver.observe(u, labels)

    opening = solver.solve(rate)

    scales = dict(opening.scales)
    powers = u.astype(float) ** exponent
    q = np.minimum(1.0, np.array([scales.get(str(each), opening.scale) for each in labels]) * powers)
    assert q.sum() == pytest.approx(rate * 2048, rel=1e-6)
    for label, target in targets.items():
        own = np.array([each == label for each in labels])
        reachable = np.minimum(1.0, 1e12 * powers[own]).sum()
        assert q[own].sum() >= min(target * rate * 2048, reachable) - 1e-6
        # Nobody who has enough anyway is raised.
        assert scales.get(label, opening.scale) >= opening.scale - 1e-9


def test_a_rare_class_gets_its_share_of_the_queries_in_a_stream() -> None:
    """`e` is 1 % of the predictions and the student is sure of it; a tenth of the queries are to be about it."""

    def share_of_e(targets: dict[str, float]) -> tuple[float, float]:
        random = np.random.default_rng(1)
        budget = ShareBudget(share=0.1, floor=0.0, exponent=1.0, advance=0, horizon=5000, targets=targets)
        asked = of_e = 0
        for start in range(0, 100_000, 500):
            label = np.where(random.random(500) < 0.02, 4, random.integers(0, 4, 500))
            logits = (np.eye(5, dtype=np.float32)[label] * np.where(label == 4, 6, 2.5)[:, None]).astype(np.float32)
            where = [Coordinates("t", 0, start + n) for n in range(500)]
            opening = budget.opening(500, now=0.0, blind=False)
            got = Gate().decide(logits, temperature=1.0, opening=opening, coordinates=where, labels=LABELS)
            assert np.array_equal(got.accepted, draws(0, where) < got.propensities.astype(np.float64))
            budget.spent(got.uncertainties, int(got.accepted.sum()), [LABELS[n] for n in label])
            asked += int(got.accepted.sum())
            of_e += int((got.accepted & (label == 4)).sum())
        return asked / 100_000, of_e / asked

    assert share_of_e({}) == pytest.approx((0.1, 0.001), abs=0.003)
    assert share_of_e({"e": 0.1}) == pytest.approx((0.1, 0.1), abs=0.01)


def test_a_paused_teacher_shuts_every_class() -> None:
    async def scenario() -> list[dict[str, object]]:
        slot, sink = Slot(), ListSink()
        slot.put(Stubborn("v1", 0))
        budget = ShareBudget(share=0.5, floor=0.0, exponent=0.0, advance=0, horizon=100, targets={"a": 0.9})
        budget.spent(np.ones(100, np.float32), 0, ["a"] * 50 + ["b"] * 50)
        assert budget.opening(10, now=0.0, blind=False).scales
        source = ListSource([[record(offset) for offset in range(50)]])
        paused = worker(source, sink, slot, Telemetry(), budget=budget, teacher_state=lambda: TeacherState.PAUSED)
        await paused.run(asyncio.Event())
        return sink.predictions

    assert not any(each["propensity"] for each in asyncio.run(scenario()))


def test_queries_per_second_have_targets_too() -> None:
    budget = PerSecondBudget(per_second=10.0, floor=0.0, exponent=1.0, targets={"a": 0.5})
    budget.opening(100, now=0.0, blind=False)
    budget.spent(np.full(1000, 0.5, np.float32), 0, ["a"] * 10 + ["b"] * 990)

    assert budget.opening(1000, now=1.0, blind=False).scales[0][0] == "a"


# A seed set.


def topics(count: int, seed: int = 0) -> list[str]:
    """Texts about forty things of very different frequency, each with a few words of its own."""
    random = np.random.default_rng(seed)
    odds = 1.0 / np.arange(1, 41)
    about = random.choice(40, count, p=odds / odds.sum())
    return [" ".join(f"w{topic}x{word}" for word in random.integers(0, 12, 5)) for topic in about]


def about(texts: Sequence[str]) -> set[str]:
    return {text.split("x")[0] for text in texts}


@pytest.mark.parametrize("batch", [1, 7, 100, 250, 1000, 4096])
def test_a_seed_set_has_its_size_whatever_the_batches_are(batch: int) -> None:
    texts = topics(1500)
    seeds = SeedSet(FEATURES, documents=1000, size=60)

    picked = [seeds.pick(texts[start : start + batch]) for start in range(0, len(texts), batch)]

    assert sum(int(each.sum()) for each in picked) == 60
    assert seeds.is_done
    assert np.flatnonzero(np.concatenate(picked)).max() < 1000


@pytest.mark.parametrize("batch", [100, 1000])
def test_a_seed_set_covers_more_than_the_first_documents_do(batch: int) -> None:
    missed_by_first = missed_by_seeds = 0
    for seed in range(10):
        texts = topics(1000, seed)
        seeds = SeedSet(FEATURES, documents=1000, size=40)
        chosen = np.concatenate([seeds.pick(texts[start : start + batch]) for start in range(0, 1000, batch)])
        missed_by_first += len(about(texts) - about(texts[:40]))
        missed_by_seeds += len(about(texts) - about([text for text, own in zip(texts, chosen, strict=True) if own]))

    assert missed_by_seeds < 0.75 * missed_by_first


def test_documents_without_a_word_are_no_mistake() -> None:
    seeds = SeedSet(FEATURES, documents=10, size=3)

    assert seeds.pick(["", "?", "", "!", "", "...", "", "", "", ""]).sum() == 3


def test_representatives_are_the_greedy_maximum() -> None:
    random = np.random.default_rng(2)
    vectors = random.normal(size=(30, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def value(picks: list[int]) -> float:
        return float(np.maximum(vectors @ vectors[picks].T, 0.0).max(axis=1).sum())

    picked: list[int] = []
    for _ in range(5):
        picked.append(max((n for n in range(30) if n not in picked), key=lambda n: value([*picked, n])))
    assert representatives(vectors, 5) == picked
    assert representatives(vectors, 3, known=vectors[picked[:2]]) == picked[2:]


def test_picks_are_recorded_with_propensity_one_and_the_rest_as_drawn() -> None:
    texts = topics(400)
    sink, slot = ListSink(), Slot()
    records = [record(offset, text) for offset, text in enumerate(texts)]
    budget = ShareBudget(share=0.1, floor=0.05, exponent=1.0, advance=40, horizon=5000)
    seeds = SeedSet(FEATURES, documents=200, size=40)
    source = ListSource([records[start : start + 100] for start in range(0, 400, 100)])

    asyncio.run(worker(source, sink, slot, Telemetry(), budget=budget, seed_set=seeds).run(asyncio.Event()))

    q = np.array([each["propensity"] for each in sink.predictions])
    accepted = np.array([each["accepted"] for each in sink.predictions])
    r = draws(0, [Coordinates("t", 0, offset) for offset in range(400)])
    assert np.array_equal(accepted, r < q)
    assert (q[:200] == 1).sum() == 40
    assert set(q[:200].tolist()) == {1.0, float(np.float32(0.05))}
    # Then the share is made up for, evenly, as without a seed set.
    assert (q[200:] < 1).all()
    assert len(set(q[200:300].tolist())) == 1


def test_a_closed_gate_picks_nothing_and_the_seed_set_waits() -> None:
    seeds = SeedSet(FEATURES, documents=100, size=10)
    sink = ListSink()
    source = ListSource([[record(offset, text) for offset, text in enumerate(topics(100))]])

    closed = worker(source, sink, Slot(), Telemetry(), seed_set=seeds, teacher_state=lambda: TeacherState.SPENT)
    asyncio.run(closed.run(asyncio.Event()))

    assert not any(each["propensity"] for each in sink.predictions)
    assert not seeds.is_done


def test_a_restart_goes_on_with_the_seed_set_where_it_was() -> None:
    config = Config.model_validate({"gate": {"seed_documents": 1000}})

    halfway, over = assembly.seed_set(config, documents=500), assembly.seed_set(config, documents=1000)

    assert halfway is not None
    assert over is not None
    assert halfway.pick(topics(1000)).sum() == 50
    assert over.is_done
    assert assembly.seed_set(Config(), documents=0) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gate": {"measure": "random"}, "budget": {"kind": "m-raru"}}, "every document"),
        ({"gate": {"measure": "random", "exponent": 2}}, "exponent"),
        ({"gate": {"seed_documents": 50}}, "nothing to choose"),
        ({"gate": {"seed_documents": 500}, "budget": {"kind": "per_second"}}, "advance"),
        ({"budget": {"class_targets": {"a": 0.7, "b": 0.4}}}, "add up to 1.1"),
        ({"budget": {"kind": "m-raru", "class_targets": {"a": 0.7}}}, "budget"),
        ({"budget": {"class_targets": {"c": 0.1}}, "teacher": {"labels": ["a", "b"]}}, "'c'"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Config.model_validate(settings)


def test_the_state_folder_is_left_alone(tmp_path: Path) -> None:
    assert assembly.seed_set(Config(state=tmp_path / "none"), documents=0) is None
    assert not (tmp_path / "none").exists()
