"""How a call ended: which of its queries have a label, which are given up, and which are asked again. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from askance.calls import Again, Attempt, Fault, Settlement
from askance.records import ABSTENTION, Answer, Label, Outcome
from askance.rules.retry import OUTAGE_WEIGHT, pause_seconds
from askance.rules.split import text_uniform

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from askance.calls import Call, Charge, Pending
    from askance.records import Coordinates


class Circumstances(NamedTuple):
    """What a call's end is judged by."""

    teacher: str
    labels: Collection[str]
    now: float
    """Unix time."""
    seconds: float
    """How long the call took."""
    uniform: float
    """A draw from [0, 1), for the jitter of a pause."""
    second_chance: bool
    """Whether a query whose reply names no label of the set is asked once more."""
    in_outage: bool
    """Whether the breaker blames failures on the server."""
    audit_share: float = 0.0
    """Part of the labels that is asked for again."""
    renamed: Mapping[str, str] = MappingProxyType({})
    """What former labels, in which an answer may still come, are called now."""


def judge(
    answer: Answer, labels: Collection[str], renamed: Mapping[str, str] = MappingProxyType({})
) -> tuple[Outcome, str | None]:
    """How a query that got this answer ended, and its label when it got one of the set.

    >>> judge(Answer("spam"), {"spam", "ham"})
    (<Outcome.LABELLED: 'labelled'>, 'spam')
    >>> judge(Answer("eggs"), {"spam", "ham"})
    (<Outcome.INVALID: 'invalid'>, None)
    >>> judge(Answer(None, error="timed out"), {"spam", "ham"})
    (<Outcome.FAILED: 'failed'>, None)
    >>> judge(Answer("junk"), {"spam", "ham"}, {"junk": "spam"})
    (<Outcome.LABELLED: 'labelled'>, 'spam')
    """
    if answer.raw is None:
        return Outcome.FAILED, None
    label = renamed.get(answer.raw, answer.raw)
    if answer.error is None and label in labels:
        return Outcome.LABELLED, label
    return Outcome.INVALID, None


def settlement_of(call: Call, attempt: Attempt, at: Circumstances) -> Settlement:
    """What the ledger is told of a call that came to this."""
    if call.is_audit:
        return _audited(call, attempt, at)
    answers = attempt.answers or (None,) * len(call.asked)
    ends = [
        _after_fault(one, attempt, at, alone=len(call.asked) == 1) if answer is None else _after_answer(one, answer, at)
        for one, answer in zip(call.asked, answers, strict=True)
    ]
    error = attempt.error or next((answer.error for answer in answers if answer and answer.error), None)
    labels = tuple(end for end in ends if isinstance(end, Label))
    return Settlement(
        call=call.number,
        labels=labels,
        audits=tuple(
            one.coordinates for one in labels if one.label is not None and is_audited(one.coordinates, at.audit_share)
        ),
        audit_share=at.audit_share,
        again=tuple(end for end in ends if isinstance(end, Again)),
        charges=attempt.charges,
        error=error,
    )


def lost(call: Call, error: str, at: Circumstances) -> Settlement:
    """A call of which nobody knows whether it was answered: never asked again, and counted at its worst."""
    answer = Answer(None, error=error)
    if call.is_audit:
        return Settlement(call=call.number, audited=(None, error), error=error)
    labels = tuple(_label(one, answer, Outcome.LOST, None, at) for one in call.asked)
    return Settlement(call=call.number, labels=labels, error=error)


def turned_away(call: Call, charges: tuple[Charge, ...] | None, error: str, at: Circumstances) -> Settlement:
    """A call that was paid for in part when it turned out that nobody can be asked: its queries are given back."""
    if call.is_audit:
        return Settlement(call=call.number, charges=charges, audited=(None, error), error=error)
    again = tuple(Again(one.query.coordinates, at.now, one.tries, one.bad_replies) for one in call.asked)
    return Settlement(call=call.number, again=again, charges=charges, error=error)


def _audited(call: Call, attempt: Attempt, at: Circumstances) -> Settlement:
    """An audit that fails is not made again: it is a sample, and its label stands."""
    label, error = None, attempt.error
    if attempt.answers and (answer := attempt.answers[0]) is not None:
        label, error = judge(answer, at.labels, at.renamed)[1], answer.error
    return Settlement(call=call.number, charges=attempt.charges, error=error, audited=(label, error))


def is_audited(coordinates: Coordinates, share: float) -> bool:
    """Whether a label belongs to the `share` that is asked for again, whoever gave it."""
    topic, partition, offset = coordinates
    return share > 0.0 and text_uniform(f"{topic}/{partition}/{offset}", purpose="audit") < share


def _after_fault(one: Pending, attempt: Attempt, at: Circumstances, *, alone: bool) -> Label | Again:
    if attempt.fault is Fault.REJECTED and not alone:
        # Another document of the call may be to blame: what has failed is asked by itself.
        return Again(one.query.coordinates, at.now, one.tries + 1.0, one.bad_replies)
    tries = one.tries + (OUTAGE_WEIGHT if at.in_outage else 1.0)
    pause = None if attempt.fault is Fault.REJECTED else pause_seconds(tries, at.uniform, attempt.retry_after_seconds)
    if pause is not None:
        return Again(one.query.coordinates, at.now + pause, tries, one.bad_replies)
    times = "" if attempt.fault is Fault.REJECTED else f" ({tries:g} tries)"
    return _label(one, Answer(None, error=f"{attempt.error}{times}"), Outcome.FAILED, None, at)


def _after_answer(one: Pending, answer: Answer, at: Circumstances) -> Label | Again:
    outcome, label = judge(answer, at.labels, at.renamed)
    if label is None and at.second_chance and one.bad_replies == 0 and answer.raw != ABSTENTION:
        return Again(one.query.coordinates, at.now, one.tries, 1)
    return _label(one, answer, outcome, label, at)


def _label(one: Pending, answer: Answer, outcome: Outcome, label: str | None, at: Circumstances) -> Label:
    return Label(
        coordinates=one.query.coordinates,
        outcome=outcome,
        label=label,
        teacher=answer.teacher or at.teacher,
        answer=answer,
        latency_seconds=at.seconds,
    )
