"""What near-duplicates do to the estimates: a simulated stream through the ledger's own search for them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from askance.calls import Charge, Order, Settlement, Spend
from askance.ledger import SqliteLedger
from askance.records import Answer, Coordinates, Label, Outcome, Prediction, Query
from askance.rules import audit
from askance.rules.estimate import WindowEstimate, estimate_window
from askance.rules.tally import tally_of

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("a", "b", "c")
KINDS, DOCUMENTS, RUNS = 120, 1_000, 12
ALIKE = 0.6


class Corpus(NamedTuple):
    """Documents that are variations on `KINDS` texts, and what a student thinks of them."""

    texts: list[str]
    truth: list[str]
    predicted: list[str]
    propensities: list[float]

    @property
    def agreement(self) -> float:
        return sum(a == b for a, b in zip(self.truth, self.predicted, strict=True)) / len(self.texts)


def corpus(unlike: float) -> Corpus:
    """`unlike` is the part whose own label is drawn anew instead of being its kind's."""
    dice = random.Random(11)
    kinds = [" ".join(f"w{dice.randrange(10**6)}" for _ in range(24)) for _ in range(KINDS)]
    words = [f"{kinds[min(KINDS - 1, int(dice.expovariate(1 / 40)))]} v{n}" for n in range(DOCUMENTS)]
    own = {text.rpartition(" ")[0]: dice.choice(LABELS) for text in words}
    truth = [dice.choice(LABELS) if dice.random() < unlike else own[text.rpartition(" ")[0]] for text in words]
    predicted = [one if dice.random() < 0.8 else dice.choice(LABELS) for one in truth]
    # A student that is wrong is the less sure, as a rule.
    doubts = [
        dice.betavariate(2, 2) if a == b else dice.betavariate(4, 2) for a, b in zip(truth, predicted, strict=True)
    ]
    return Corpus(words, truth, predicted, [0.05 + 0.6 * doubt for doubt in doubts])


def play(known: Corpus, folder: Path, seed: int) -> tuple[WindowEstimate, audit.Agreement, float]:
    """The estimate of one draw of coins, how often copies were right by the audits, and the part that was copied."""
    dice = random.Random(seed)
    queries, predictions = [], []
    for n, (text, label, q) in enumerate(zip(known.texts, known.predicted, known.propensities, strict=True)):
        accepted = dice.random() < q
        predictions.append(Prediction(str(n), label, 0.8, 0.5, q, accepted, "v1", 0, "t", 0, n))
        if accepted:
            queries.append(Query(Coordinates("t", 0, n), str(n), text, label, 0.8, 0.5, q, "v1", 0))
    ledger = SqliteLedger(folder / f"{seed}.db")
    ledger.commit(queries, (), None)
    order = Order(calls=250, now=1.0e9, teacher="m", key="m digest", alike=ALIKE, audit_share=0.3)
    asked = 0
    while calls := ledger.reserve(order, lambda _: Spend(1)).calls:
        settlements = []
        for call in calls:
            (one,) = call.queries
            word = known.truth[one.coordinates.offset]
            if call.is_audit:
                settlements.append(Settlement(call.number, charges=(Charge("m", 1),), audited=(word, None)))
                continue
            asked += 1
            label = Label(one.coordinates, Outcome.LABELLED, word, "m", Answer(word, 0.9, "stated"), 0.1)
            settlements.append(Settlement(call.number, (label,), charges=(Charge("m", 1),), audit_share=0.3))
        ledger.settle(settlements)
    judged = ledger.judged()
    audits = [one for one in ledger.audits() if one.likeness is not None]
    ledger.close()
    assert [row.propensity for row in judged] == [one.propensity for one in queries], "each at its own"
    assert all(row.label is not None for row in judged)
    assert sum(row.likeness is None for row in judged) == asked < len(queries)
    weights = np.array([1.0 / row.propensity for row in judged])
    part = weights[[row.likeness is not None for row in judged]].sum() / weights.sum()
    tally = tally_of(predictions)
    assert tally is not None
    return estimate_window([tally], judged, LABELS), audit.agreement(audits), float(part)


def figures(known: Corpus, folder: Path) -> tuple[list[WindowEstimate], np.ndarray, float, float]:
    """All runs, their agreements, the audited share of wrong copies, and the mean part that was copied."""
    played = [play(known, folder, seed) for seed in range(RUNS)]
    for found, _, part in played:
        assert abs(found.copied - part) < 1e-9
        assert part > 0.25
    audited = sum(agreement.audits for _, agreement, _ in played)
    wrong = 1.0 - sum(agreement.agreed for _, agreement, _ in played) / audited
    values = np.array([found.agreement.value for found, *_ in played if found.agreement])
    assert len(values) == RUNS
    return [found for found, *_ in played], values, wrong, float(np.mean([part for *_, part in played]))


def test_copies_that_are_right_leave_the_estimate_honest(tmp_path: Path) -> None:
    known = corpus(unlike=0.0)
    found, values, wrong, _ = figures(known, tmp_path)
    assert wrong == 0.0
    covered = sum(one.agreement.low <= known.agreement <= one.agreement.high for one in found if one.agreement)
    assert covered >= RUNS - 3
    assert abs(values.mean() - known.agreement) < 4 * values.std() / RUNS**0.5


def test_copies_that_are_wrong_move_it_by_no_more_than_what_is_reported_and_audited(tmp_path: Path) -> None:
    known = corpus(unlike=0.3)
    _, values, wrong, copied = figures(known, tmp_path)
    noise = 4 * values.std() / RUNS**0.5
    assert 0.1 < wrong < 0.4
    assert abs(values.mean() - known.agreement) < copied * wrong + noise
    assert known.agreement - values.mean() > noise, "the stream is one where it matters"
