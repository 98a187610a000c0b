"""From a student's logits to predictions and queries: who answers a document, and whether that is the last word.

Under an agreement contract a document that its version is not sure enough of must go to the teacher: its propensity is
1, and recorded as such. Of the others a share is audited with a known propensity, for ever. Without a contract the
budget's opening alone decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from askance.predictions import Answerer, Places, Predictions
from askance.records import Outcome, Prediction, Query, Reason, Standing
from askance.rules.gate import CLOSED
from askance.rules.split import bytes_uniform
from askance.tracing import traceparent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from askance.directions import Challenger
    from askance.protocols import Student
    from askance.records import Document, Label
    from askance.rules.gate import Gate, Opening

    Score: TypeAlias = Callable[[Student, Sequence[str]], tuple[NDArray[np.float32], NDArray[np.float32] | None]]
    """What a student says of n texts: logits, (n, K), and, of a committee, its disagreement, (n,) in [0, 1]."""


def alone(student: Student, texts: Sequence[str]) -> tuple[NDArray[np.float32], None]:
    """A `Score` of one student."""
    return student.logits(texts), None


class Contract(NamedTuple):
    """An agreement contract, as far as the data plane is concerned."""

    audit_share: float
    """Least propensity of a document that a version answers by itself."""
    holds: bool
    """Whether a document that goes to the teacher is held until it answers, instead of answered provisionally."""
    deadline_seconds: float
    """For so long at most."""


class Part(NamedTuple):
    """The documents of a batch that one version scores."""

    student: Student | None
    places: list[int]
    """In the batch, ascending."""
    threshold: float | None = None
    """Of the contract; None: the version may answer nothing by itself."""


def parts_of(
    documents: Sequence[Document],
    champion: Student | None,
    canary: Student | None,
    challenger: Challenger | None,
) -> list[tuple[Student | None, list[int]]]:
    """Which version answers which of the batch's documents: a canary those whose keys fall into its share.

    The key is the record's or, where it has none, the document's identifier, so that one key has one version.
    """
    if challenger is None or challenger.mode != "canary" or canary is None or canary.version != challenger.version:
        return [(champion, list(range(len(documents))))]
    keys = (document.record.key or document.id.encode("utf-8", "surrogatepass") for document in documents)
    chosen = [bytes_uniform(key, purpose="canary") < challenger.share for key in keys]
    groups = (
        (champion, [place for place, is_chosen in enumerate(chosen) if not is_chosen]),
        (canary, [place for place, is_chosen in enumerate(chosen) if is_chosen]),
    )
    return [(student, places) for student, places in groups if places]


def predict(
    documents: Sequence[Document],
    parts: Sequence[Part],
    *,
    gate: Gate,
    opening: Opening,
    contract: Contract | None,
    scores: Score = alone,
    chosen: NDArray[np.bool_] | None = None,
) -> Predictions:
    """One prediction a document, in their order; every part is scored by its own version, each coin tossed once.

    Those `chosen`, (n,), for a seed set are asked about for certain, as long as there is no student.
    """
    places = Places.of([document.record.coordinates for document in documents])
    count = len(documents)
    answerer, standing = np.zeros(count, dtype=np.uint8), np.zeros(count, dtype=np.uint8)
    found: _Scored | None = None
    for number, part in enumerate(parts):
        is_whole = len(part.places) == count
        members = documents if is_whole else [documents[place] for place in part.places]
        picked = None if chosen is None else chosen[part.places]
        scored = _score(members, part.student, gate, opening, scores, picked)
        standings = _judge(scored, part, opening, contract)
        if is_whole:
            found, standing = scored, standings
            break
        found = found or _Scored._make(np.empty(count, dtype=column.dtype) for column in scored)
        for column, values in zip(found, scored, strict=True):
            column[part.places] = values
        answerer[part.places], standing[part.places] = number, standings
    if found is None:
        msg = "every document of a batch is in a part"
        raise AssertionError(msg)
    return Predictions(
        ids=[document.id for document in documents],
        places=places,
        seed=gate.seed,
        answerers=tuple(_answerer(part.student, part.threshold) for part in parts),
        answerer=answerer,
        **found._asdict(),
        standings=(None,) if contract is None else _STANDINGS,
        standing=standing,
    )


def _answerer(student: Student | None, threshold: float | None = None) -> Answerer:
    return Answerer(None) if student is None else Answerer(student.version, tuple(student.labels), threshold)


_STANDINGS = (Standing.FINAL, Standing.HELD, Standing.PROVISIONAL, Standing.UNASSURED)


def _judge(scored: _Scored, part: Part, opening: Opening, contract: Contract | None) -> NDArray[np.uint8]:
    """How each prediction stands, by its place in `_STANDINGS`; who must go to the teacher is accepted for certain."""
    if contract is None:
        return np.zeros(len(scored.finite), dtype=np.uint8)
    is_sure = np.zeros(len(scored.finite), dtype=np.bool_)
    if part.threshold is not None:
        is_sure = scored.finite & (scored.confidences.astype(np.float64) >= part.threshold)
    waiting = Standing.UNASSURED
    if opening != CLOSED:
        scored.propensities[~is_sure] = 1.0
        scored.accepted[~is_sure] = True
        waiting = Standing.HELD if contract.holds else Standing.PROVISIONAL
    return np.where(is_sure, _STANDINGS.index(Standing.FINAL), _STANDINGS.index(waiting)).astype(np.uint8)


def shadow(documents: Sequence[Document], challenger: Student, predictions: Predictions, gate: Gate) -> Predictions:
    """What a version that does not answer would have said, beside the draws that were made for the one that does."""
    scored = _score(documents, challenger, gate, CLOSED)
    return predictions._replace(
        answerers=(_answerer(challenger),),
        answerer=np.zeros(predictions.documents, dtype=np.uint8),
        finite=scored.finite,
        labels=scored.labels,
        confidences=scored.confidences,
        uncertainties=scored.uncertainties,
    )


def query_of(
    document: Document,
    prediction: Prediction,
    shadowed: Prediction | None,
    *,
    contract: Contract | None,
    now: float,
) -> Query:
    """An accepted document's query; `now` (Unix time) begins the wait of one that is held."""
    awaited = prediction.standing in (Standing.HELD, Standing.PROVISIONAL)
    is_held = contract is not None and prediction.standing == Standing.HELD
    return Query(
        coordinates=document.record.coordinates,
        document_id=document.id,
        text=document.text,
        predicted=prediction.label,
        confidence=prediction.confidence,
        uncertainty=prediction.uncertainty,
        propensity=prediction.propensity,
        version=prediction.version,
        seed=prediction.seed,
        standing=prediction.standing if awaited else None,
        threshold=prediction.threshold,
        held_until=now + contract.deadline_seconds if is_held and contract is not None else None,
        key=document.record.key if awaited else None,
        shadow_version=shadowed.version if shadowed else None,
        shadow_predicted=shadowed.label if shadowed else None,
        shadow_confidence=shadowed.confidence if shadowed else None,
        traceparent=traceparent_of(document.record.headers),
    )


def answer(query: Query, label: Label | None) -> tuple[Prediction, Standing]:
    """What follows for an awaited query, and how it stands then: the teacher's label, or that there is none (yet).

    `label` is None where the deadline of a held query has passed. The decision is recorded as it was made.
    """
    by_teacher = label is not None and label.outcome is Outcome.LABELLED
    if label is None:
        standing = Standing.PROVISIONAL
    elif query.standing == Standing.HELD:
        standing = Standing.FINAL
    else:
        standing = Standing.SETTLED
    missing = Reason.NO_STUDENT if query.version is None else Reason.NON_FINITE
    served = label.label if label is not None and by_teacher else query.predicted
    prediction = Prediction(
        id=query.document_id,
        label=served,
        confidence=query.confidence,
        uncertainty=query.uncertainty,
        propensity=query.propensity,
        accepted=True,
        version=query.version,
        seed=query.seed,
        topic=query.coordinates.topic,
        partition=query.coordinates.partition,
        offset=query.coordinates.offset,
        reason=missing if served is None else None,
        standing=standing,
        threshold=query.threshold,
        teacher=label.teacher if label is not None and by_teacher else None,
        predicted=query.predicted if by_teacher else None,
        outcome=label.outcome if label is not None and not by_teacher else None,
    )
    return prediction, standing


class _Scored(NamedTuple):
    """What was computed of n documents; arrays of shape (n,)."""

    finite: NDArray[np.bool_]
    """Whether there is an answer."""
    labels: NDArray[np.int32]
    confidences: NDArray[np.float32]
    uncertainties: NDArray[np.float32]
    propensities: NDArray[np.float32]
    accepted: NDArray[np.bool_]


def _score(
    documents: Sequence[Document],
    student: Student | None,
    gate: Gate,
    opening: Opening,
    scores: Score = alone,
    chosen: NDArray[np.bool_] | None = None,
) -> _Scored:
    coordinates = [document.record.coordinates for document in documents]
    count = len(documents)
    if student is None:
        draws = gate.draw(opening, coordinates, chosen=chosen)
        return _Scored(
            finite=np.zeros(count, dtype=np.bool_),
            labels=np.zeros(count, dtype=np.int32),
            confidences=np.zeros(count, dtype=np.float32),
            uncertainties=np.ones(count, dtype=np.float32),
            propensities=draws.propensities,
            accepted=draws.accepted,
        )
    logits, disagreement = scores(student, [document.text for document in documents])
    decisions = gate.decide(
        logits,
        temperature=student.temperature,
        opening=opening,
        coordinates=coordinates,
        labels=student.labels,
        disagreement=disagreement,
    )
    return _Scored(
        finite=decisions.finite,
        labels=decisions.labels,
        confidences=decisions.confidences,
        uncertainties=decisions.uncertainties,
        propensities=decisions.propensities,
        accepted=decisions.accepted,
    )
