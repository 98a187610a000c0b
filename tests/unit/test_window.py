"""A window of a run: late, missing and invalid labels, closed gates, several versions, twins, gold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from askance.cli.estimate import lines
from askance.ledger import SqliteLedger
from askance.records import Coordinates, Judged, Position, Prediction, Tally
from askance.rules.estimate import WindowEstimate, estimate_window
from askance.rules.tally import merged, tally_of
from tests.simulated import Stream, stream

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = stream(classes=5, rate=0.1, documents=8_000, signal=4.0)
LABELS = [str(label) for label in range(KNOWN.classes)]


def run(
    known: Stream,
    seed: int,
    *,
    missing: float = 0.0,
    pending_after: int = 10**9,
    closed: range = range(0),
    version: str = "v1",
) -> tuple[list[Tally], list[Judged]]:
    rng = np.random.default_rng([seed, 2])
    q = known.propensities.copy()
    q[closed.start : closed.stop] = 0.0
    accepted = rng.random(len(q)) < q
    predictions = [
        Prediction(
            id=str(offset),
            label=LABELS[known.predicted[offset]],
            confidence=known.confidences[offset],
            uncertainty=known.uncertainties[offset],
            propensity=q[offset],
            accepted=bool(accepted[offset]),
            version=version,
            seed=0,
            topic="t",
            partition=0,
            offset=offset,
        )
        for offset in range(len(q))
    ]
    tallies = [tally_of(predictions[start : start + 512]) for start in range(0, len(q), 512)]
    judged = []
    for prediction in predictions:
        if prediction.accepted:
            status = "pending" if prediction.offset >= pending_after else "labelled"
            if status == "labelled" and rng.random() < missing:
                status = str(rng.choice(["failed", "invalid", "lost"]))
            judged.append(
                Judged(
                    coordinates=Coordinates("t", 0, prediction.offset),
                    document_id=prediction.id,
                    predicted=prediction.label,
                    version=version,
                    propensity=prediction.propensity,
                    confidence=prediction.confidence,
                    status=status,
                    label=LABELS[known.truth[prediction.offset]] if status == "labelled" else None,
                )
            )
    return [tally for tally in tallies if tally is not None], judged


def covers(found: WindowEstimate, truth: float) -> bool:
    assert found.agreement is not None
    assert found.watched is not None
    assert found.watched.low <= found.agreement.low
    assert found.watched.high >= found.agreement.high
    return found.agreement.low <= truth <= found.agreement.high


def test_a_window_with_every_label() -> None:
    truth = KNOWN.agrees.mean()
    found = [estimate_window(*run(KNOWN, seed), LABELS) for seed in range(40)]
    assert sum(covers(one, truth) for one in found) >= 37
    assert (found[0].documents, found[0].uncovered, found[0].answered) == (8_000, 0, 1.0)
    assert [one.label for one in found[0].classes] == LABELS
    share = found[0].classes[0].share
    assert share is not None
    assert share.low <= (KNOWN.truth == 0).mean() <= share.high


@pytest.mark.parametrize("missing", [{"missing": 0.3}, {"pending_after": 6000}])
def test_labels_that_failed_or_are_late_are_reported_and_do_not_bias(missing: dict[str, float]) -> None:
    truth = KNOWN.agrees.mean()
    found = [estimate_window(*run(KNOWN, seed, **missing), LABELS) for seed in range(40)]  # type: ignore[arg-type]
    assert sum(covers(one, truth) for one in found) >= 37
    values = [one.agreement.value for one in found if one.agreement is not None]
    assert abs(np.mean(values) - truth) < 4 * np.std(values) / 40**0.5
    assert 0.6 < found[0].answered < 0.85
    queries = found[0].queries
    assert sum(queries.values()) > queries["labelled"]
    assert queries.keys() <= {"labelled", "failed", "invalid", "lost", "pending"}


def test_a_closed_gate_is_reported_as_uncovered_and_the_figures_are_of_the_rest() -> None:
    closed = range(2000, 5000)
    open_documents = np.setdiff1d(np.arange(8000), np.arange(2000, 5000))
    found = [estimate_window(*run(KNOWN, seed, closed=closed), LABELS) for seed in range(40)]
    assert (found[0].documents, found[0].uncovered) == (8000, 3000)
    assert sum(covers(one, KNOWN.agrees[open_documents].mean()) for one in found) >= 37
    whole = merged(run(KNOWN, 0, closed=closed)[0])
    assert whole is not None
    assert sum(whole.uncertainties) == whole.documents == 8000


def test_labels_count_for_the_version_that_predicted() -> None:
    worse = stream(classes=5, rate=0.1, documents=8_000, signal=2.5, seed=1)
    good, bad = run(KNOWN, 0, version="v1"), run(worse, 1, version="v2")
    tallies, judged = good[0] + bad[0], bad[1] + good[1]
    one, two, both = (estimate_window(tallies, judged, LABELS, version=version) for version in ("v1", "v2", None))
    assert covers(one, KNOWN.agrees.mean())
    assert covers(two, worse.agrees.mean())
    assert covers(both, (KNOWN.agrees.mean() + worse.agrees.mean()) / 2)
    assert one.documents + two.documents == both.documents
    assert one.queries["labelled"] == len(good[1])
    assert both.queries["labelled"] == len(judged)


def test_twins_are_drawn_apart_and_change_nothing() -> None:
    half = 4_000
    twice = Stream(
        *(np.tile(column[:half], 2) for column in (KNOWN.predicted, KNOWN.truth, KNOWN.confidences)),
        *(np.tile(column[:half], 2) for column in (KNOWN.uncertainties, KNOWN.propensities)),
        classes=KNOWN.classes,
    )
    found = [estimate_window(*run(twice, seed), LABELS) for seed in range(40)]
    assert sum(covers(one, twice.agrees.mean()) for one in found) >= 37


def test_too_few_labels_are_no_figure() -> None:
    tallies, judged = run(KNOWN, 0)
    found = estimate_window(tallies, judged[:8], LABELS)
    assert (found.agreement, found.watched, found.accuracy) == (None, None, None)
    assert 0 < found.effective < found.minimum
    nothing = estimate_window([], [], LABELS)
    assert (nothing.documents, nothing.agreement, nothing.classes) == (0, None, ())


def test_without_counts_there_is_hajeks_ratio_but_nothing_to_watch() -> None:
    _, judged = run(KNOWN, 0)
    found = estimate_window([], judged, LABELS)
    assert found.agreement is not None
    assert (found.watched, found.classes) == (None, ())


def test_gold_is_another_truth() -> None:
    tallies, judged = run(KNOWN, 0)
    gold = {str(offset): LABELS[KNOWN.predicted[offset]] for offset in range(8000)}
    found = estimate_window(tallies, judged, LABELS, gold=gold)
    assert found.accuracy is not None
    assert found.accuracy.value == 1.0
    some = estimate_window(tallies, judged, LABELS, gold={judged[0].document_id: "0"})
    assert some.accuracy is None


def test_the_ledger_adds_tallies_up_with_the_positions_and_keeps_versions_apart(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    tallies, _ = run(KNOWN, 0)
    other = msgspec.structs.replace(tallies[0], version="v2")
    for tally in (*tallies, other):
        ledger.commit([], [Position("t", 0, tally.first_offset + 512, 512, 0, 0, tallies=(tally,))], None)
    kept = ledger.tallies()
    ledger.close()
    assert [(tally.first_offset, tally.version) for tally in kept] == [(0, "v1"), (0, "v2"), (4096, "v1")]
    first = [tally for tally in kept if tally.version == "v1"]
    whole, expected = merged(first), merged(tallies)
    assert whole is not None
    assert expected is not None
    assert whole.confidences == pytest.approx(expected.confidences)
    assert msgspec.structs.replace(whole, confidences=0.0) == msgspec.structs.replace(expected, confidences=0.0)
    assert kept[1].documents == 512


def test_the_ledger_gives_every_query_with_how_it_ended(tmp_path: Path) -> None:
    from askance.records import Answer, Label, Outcome
    from tests.doubles import give, query

    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(offset) for offset in range(4)], [], None)
    give(
        ledger,
        [
            Label(Coordinates("t", 0, 0), Outcome.LABELLED, "yes", "teacher", Answer("yes"), 0.1),
            Label(Coordinates("t", 0, 1), Outcome.INVALID, None, "teacher", Answer("maybe"), 0.1),
        ],
    )
    rows = ledger.judged()
    assert [(row.status, row.label) for row in rows] == [
        ("labelled", "yes"),
        ("invalid", None),
        ("pending", None),
        ("pending", None),
    ]
    assert [row.coordinates.offset for row in ledger.judged(since=2)] == [2, 3]
    assert [row.coordinates.offset for row in ledger.judged(newest=1)] == [3]
    ledger.close()


def with_copies(judged: list[Judged], clusters: int, wrong: float, seed: int) -> list[Judged]:
    """The same, as if documents were near-duplicates of `clusters` kinds: the first of a kind is asked, later ones get
    its label; what it would have been for themselves, but for the part that is `wrong`.
    """
    rng = np.random.default_rng([seed, 3])
    asked: set[int] = set()
    found = []
    for row in judged:
        kind = row.coordinates.offset % clusters
        if kind in asked:
            label = str(rng.choice(LABELS)) if rng.random() < wrong else row.label
            row = msgspec.structs.replace(row, label=label, likeness=0.9)
        asked.add(kind)
        found.append(row)
    return found


def test_labels_of_near_duplicates_count_at_their_own_propensity_and_their_part_is_reported() -> None:
    truth = KNOWN.agrees.mean()
    found = []
    for seed in range(40):
        tallies, judged = run(KNOWN, seed)
        found.append(estimate_window(tallies, with_copies(judged, 400, 0.0, seed), LABELS))
        weights = [(1 / row.propensity, row.likeness) for row in with_copies(judged, 400, 0.0, seed)]
        part = sum(w for w, likeness in weights if likeness) / sum(w for w, _ in weights)
        assert found[-1].copied == pytest.approx(part)
        assert 0.2 < part < 0.9
        (told,) = [line for line in lines(found[-1]) if line.startswith("near copies")]
        assert f"{part:.1%} of the labels" in told
    assert sum(covers(one, truth) for one in found) >= 37
    values = [one.agreement.value for one in found if one.agreement is not None]
    assert abs(np.mean(values) - truth) < 4 * np.std(values) / 40**0.5


def test_what_wrong_copies_can_do_to_a_figure_is_bounded_by_what_is_reported() -> None:
    truth, wrong = KNOWN.agrees.mean(), 0.2
    found = [
        estimate_window(tallies, with_copies(judged, 400, wrong, seed), LABELS)
        for seed, (tallies, judged) in enumerate(run(KNOWN, seed) for seed in range(40))
    ]
    values = [one.agreement.value for one in found if one.agreement is not None]
    bound = wrong * np.mean([one.copied for one in found])
    noise = 4 * np.std(values) / 40**0.5
    assert noise < abs(np.mean(values) - truth) < bound + noise
    alone = estimate_window(*run(KNOWN, 0), LABELS)
    assert alone.copied == 0.0
    assert not [line for line in lines(alone) if line.startswith("near copies")]
