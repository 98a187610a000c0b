"""The data plane under a contract or with a version on trial: who answers, at what propensity, and what follows."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from askance.calls import TeacherState
from askance.directions import Calibration, Challenger, Directions, Exploration
from askance.records import Answer, Coordinates, Label, Outcome
from askance.rules.gate import Gate
from askance.rules.replay import replay
from askance.rules.serving import Contract, answer
from askance.student.slot import Slot
from askance.telemetry import Telemetry
from tests.unit.test_classify_worker import ListSink, ListSource, record, worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.records import Query

CORRECT = Contract(audit_share=0.25, holds=False, deadline_seconds=60.0)
HOLD = CORRECT._replace(holds=True)
SURE = Directions(calibrations={"v1": Calibration(0.9, 0.5, 0.01, 300)})


class Graded:
    """Is as sure of `a` as the text says: `0.93`, `0.51`; `nan` is no number."""

    labels = ("a", "b")
    temperature = 1.0

    def __init__(self, version: str = "v1") -> None:
        self.version = version
        self.scored: list[str] = []

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.scored += texts
        sure = np.array([float(text.split()[0]) for text in texts])
        return np.stack([np.log(sure) - np.log1p(-sure), np.zeros(len(sure))], axis=1).astype(np.float32)


def run(
    texts: Sequence[str],
    directions: Directions,
    *,
    challenger: Graded | None = None,
    student: Graded | None = None,
    keys: Sequence[bytes | None] = (),
    **changes: object,
) -> tuple[list[dict[str, object]], ListSink]:
    slot, sink = Slot(), ListSink()
    slot.put(student or Graded())
    slot.direct(directions, challenger)
    records = [record(offset, text) for offset, text in enumerate(texts)]
    if keys:
        records = [type(one)(one.coordinates, one.value, key) for one, key in zip(records, keys, strict=True)]
    source = ListSource([records[start : start + 10] for start in range(0, len(records), 10)])
    settings = {"max_backlog": 10**6, "unix_time": lambda: 1000.0} | changes
    asyncio.run(worker(source, sink, slot, Telemetry(), **settings).run(asyncio.Event()))
    lines = [value for delivery in sink.deliveries for _, value in delivery.predictions if value is not None]
    outcome = replay(lines)
    assert outcome.is_proven, (outcome.differences, outcome.malformed_lines)
    return [json.loads(line) for line in lines], sink


def queries(sink: ListSink) -> list[Query]:
    return [query for delivery in sink.deliveries for _, query in delivery.queries]


def test_a_version_that_is_not_calibrated_answers_nothing_by_itself() -> None:
    predictions, sink = run(["0.999", "0.6", "nan"], Directions(), contract=CORRECT)
    assert [(one["standing"], one["propensity"], one["accepted"]) for one in predictions] == [
        ("provisional", 1.0, True)
    ] * 3
    assert not any("threshold" in one for one in predictions)
    assert [one.standing for one in queries(sink)] == ["provisional"] * 3
    assert predictions[2]["label"] is None


def test_who_is_sure_enough_answers_and_is_audited_at_the_audit_share() -> None:
    texts = ["0.95", "0.85"] * 500
    predictions, sink = run(texts, SURE, contract=CORRECT)
    sure, unsure = predictions[::2], predictions[1::2]
    assert {(one["standing"], one["propensity"], one["threshold"]) for one in sure} == {("final", 0.25, 0.9)}
    assert {(one["standing"], one["propensity"], one["accepted"]) for one in unsure} == {("provisional", 1.0, True)}
    audited = sum(bool(one["accepted"]) for one in sure)
    assert 90 <= audited <= 160, "500 coins of 0.25: within five standard deviations"
    assert len(queries(sink)) == 500 + audited
    # An audit waits for nothing: its answer was final.
    assert sum(one.standing is None for one in queries(sink)) == audited


def test_held_documents_get_no_prediction_and_stop_nobody() -> None:
    predictions, sink = run(["0.95", "0.85", "0.99"], SURE, contract=HOLD)
    assert [one["offset"] for one in predictions] == [0, 2]
    [held] = [one for one in queries(sink) if one.standing == "held"]
    assert (held.coordinates.offset, held.propensity, held.held_until, held.threshold) == (1, 1.0, 1060.0, 0.9)
    [position] = sink.deliveries[0].positions
    assert (position.next_offset, position.documents) == (3, 3)


@pytest.mark.parametrize(
    "closed", [{"teacher_state": lambda: TeacherState.SPENT}, {"backlog": lambda: 10, "max_backlog": 10}]
)
def test_a_closed_gate_is_recorded_as_an_answer_that_nobody_assures(closed: dict[str, object]) -> None:
    predictions, sink = run(["0.95", "0.85"], SURE, contract=HOLD, **closed)
    assert [(one["standing"], one["propensity"], one["accepted"]) for one in predictions] == [
        ("final", 0.0, False),
        ("unassured", 0.0, False),
    ]
    assert queries(sink) == []


def test_a_paused_teacher_is_still_owed_what_must_go_to_it() -> None:
    predictions, _ = run(["0.85"], SURE, contract=CORRECT, teacher_state=lambda: TeacherState.PAUSED)
    assert (predictions[0]["standing"], predictions[0]["propensity"]) == ("provisional", 1.0)


def test_a_raised_exploration_floor_is_in_the_propensity_until_its_time_is_over() -> None:
    raised = Directions(calibrations=SURE.calibrations, exploration=Exploration(0.5, until=1001.0))
    predictions, _ = run(["0.95"], raised, contract=CORRECT)
    assert predictions[0]["propensity"] == 0.5
    predictions, _ = run(["0.95"], raised, contract=CORRECT, unix_time=lambda: 1001.0)
    assert predictions[0]["propensity"] == 0.25
    predictions, _ = run(["0.999999"], raised, gate=Gate(exponent=3.0))
    assert predictions[0]["propensity"] >= 0.5


def test_a_canary_answers_its_share_of_the_keys_always_the_same_ones() -> None:
    keys = [b"key-%d" % (number % 200) for number in range(1000)]
    texts = [f"0.9 {number}" for number in range(1000)]
    canary = Graded("v2")
    trial = Directions(challenger=Challenger("v2", "canary", 0.2))
    predictions, _ = run(texts, trial, challenger=canary, keys=keys)
    of_key: dict[bytes, set[object]] = {}
    for key, one in zip(keys, predictions, strict=True):
        of_key.setdefault(key, set()).add(one["version"])
    assert all(len(versions) == 1 for versions in of_key.values())
    answered = sum(versions == {"v2"} for versions in of_key.values())
    assert 20 <= answered <= 65, "200 keys at 0.2: within four standard deviations"
    assert [text for text, one in zip(texts, predictions, strict=True) if one["version"] == "v2"] == canary.scored
    # Until the challenger is loaded, and when another one is on trial, the champion answers everything.
    for other in (None, Graded("v3")):
        predictions, _ = run(texts[:20], trial, challenger=other)
        assert {one["version"] for one in predictions} == {"v1"}


def test_a_canary_without_a_threshold_asks_about_everything_while_the_champion_answers() -> None:
    trial = Directions(calibrations=SURE.calibrations, challenger=Challenger("v2", "canary", 0.5))
    predictions, _ = run([f"0.95 {n}" for n in range(100)], trial, challenger=Graded("v2"), contract=CORRECT)
    assert {(one["version"], one["standing"]) for one in predictions} == {("v1", "final"), ("v2", "provisional")}


def test_a_shadow_scores_everything_and_answers_nothing() -> None:
    texts = [f"0.6 {number}" for number in range(50)]
    shadow = Graded("v2")
    plain, _ = run(texts, Directions())
    predictions, sink = run(texts, Directions(challenger=Challenger("v2", "shadow")), challenger=shadow)
    assert predictions == plain, "a shadow changes no answer and no draw"
    assert shadow.scored == texts
    asked = queries(sink)
    assert asked
    assert {(one.version, one.shadow_version, one.shadow_predicted) for one in asked} == {("v1", "v2", "a")}
    tallies = [tally for delivery in sink.deliveries for position in delivery.positions for tally in position.tallies]
    counted = {("v1", False): 0, ("v2", True): 0}
    for tally in tallies:
        counted[tally.version or "", tally.is_shadow] += tally.documents
    assert counted == {("v1", False): 50, ("v2", True): 50}


@pytest.mark.parametrize("contract", [CORRECT, HOLD])
@pytest.mark.parametrize("outcome", [Outcome.LABELLED, Outcome.INVALID, None])
def test_what_follows_says_the_decision_again_and_what_became_of_it(
    contract: Contract, outcome: Outcome | None
) -> None:
    predictions, sink = run(["0.85"], SURE, contract=contract)
    [query] = queries(sink)
    label = None
    if outcome is not None:
        given = "b" if outcome is Outcome.LABELLED else None
        label = Label(Coordinates("t", 0, 0), outcome, given, "m", Answer("b"), 0.1)
    prediction, standing = answer(query, label)
    wanted = {Outcome.LABELLED: ("b", "m", None), Outcome.INVALID: ("a", None, "invalid"), None: ("a", None, None)}
    assert (prediction.label, prediction.teacher, prediction.outcome) == wanted[outcome]
    assert prediction.predicted == ("a" if outcome is Outcome.LABELLED else None)
    assert standing == ("provisional" if label is None else "final" if contract.holds else "settled")
    if predictions:
        for name in ("id", "confidence", "uncertainty", "propensity", "accepted", "version", "seed", "threshold"):
            assert getattr(prediction, name) == predictions[0][name]
