"""What the ledger says of the spend and of the audits: reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from askance.calls import Audit, SpendRow
from askance.records import HUMAN, Outcome

if TYPE_CHECKING:
    import sqlite3

_BY_CALL = (
    "SELECT {key}, sum(charges.calls), sum(calls.documents), sum(charges.prompt_tokens),"
    " sum(charges.completion_tokens), sum(charges.nanos)"
    " FROM charges JOIN calls ON calls.number = charges.call GROUP BY 1 ORDER BY 1"
)
# A call about several documents is divided evenly among them. A document that was asked in several calls was labelled
# by the last; the part of a call that labelled no document is a row of its own, as is what the teacher wrote.
_BY_DOCUMENT = """
WITH parts AS (
    SELECT labels.query AS query, labels.label AS label, labels.outcome AS outcome, charges.calls AS calls,
        charges.prompt_tokens AS prompt, charges.completion_tokens AS completion, charges.nanos AS nanos,
        1.0 / calls.documents AS part, calls.purpose AS purpose
    FROM charges JOIN calls ON calls.number = charges.call JOIN labels ON labels.call = calls.number
    UNION ALL
    SELECT NULL, NULL, NULL, charges.calls, charges.prompt_tokens, charges.completion_tokens, charges.nanos,
        1.0 - (SELECT count(*) FROM labels WHERE labels.call = calls.number) * 1.0 / calls.documents,
        calls.purpose
    FROM charges JOIN calls ON calls.number = charges.call
)
SELECT CASE WHEN query IS NOT NULL THEN {key} WHEN purpose = 'label' THEN '(asked again)'
        ELSE '(' || purpose || ')' END,
    sum(parts.calls * part), count(query),
    sum(prompt * part), sum(completion * part), sum(nanos * part)
FROM parts LEFT JOIN queries ON queries.number = query
WHERE part > 1e-9 GROUP BY 1 ORDER BY 6 DESC, 1
"""
_REPORTS = {
    "day": _BY_CALL.format(key="calls.day"),
    "teacher": _BY_CALL.format(key="charges.teacher"),
    "label": _BY_DOCUMENT.format(key="coalesce(label, '(' || outcome || ')')"),
    "version": _BY_DOCUMENT.format(key="coalesce(queries.version, '(no student)')"),
}


def spend(connection: sqlite3.Connection, by: str) -> list[SpendRow]:
    """What was spent by `day`, `teacher`, `label` or `version`; raises `ValueError` for anything else."""
    if by not in _REPORTS:
        msg = f"the spend is known by {', '.join(_REPORTS)}, not by {by!r}"
        raise ValueError(msg)
    return [SpendRow(str(key), *(round(value) for value in rest)) for key, *rest in connection.execute(_REPORTS[by])]


def audits(connection: sqlite3.Connection) -> list[Audit]:
    """Every label that was asked for again, with both answers."""
    rows = connection.execute(
        "SELECT labels.label, audits.label, labels.confidence, labels.confidence_source, labels.teacher,"
        " labels.likeness"
        " FROM audits JOIN labels ON labels.query = audits.query"
        " WHERE audits.status = 'answered' AND labels.outcome = ? ORDER BY audits.query",
        (Outcome.LABELLED,),
    )
    return [Audit(*row) for row in rows]


def evidence(connection: sqlite3.Connection, teacher: str) -> list[Audit]:
    """Every answer of a cascade's first teacher that the second was asked for too: `first` and `again`."""
    rows = connection.execute(
        "SELECT escalations.label, labels.label, escalations.confidence, escalations.confidence_source"
        " FROM escalations JOIN labels ON labels.query = escalations.query"
        " WHERE escalations.teacher = ?1 AND labels.outcome = ?2 AND escalations.label IS NOT NULL"
        " UNION ALL SELECT labels.label, audits.label, labels.confidence, labels.confidence_source"
        " FROM audits JOIN labels ON labels.query = audits.query"
        " WHERE labels.teacher = ?1 AND labels.outcome = ?2 AND audits.status = 'answered' AND labels.twin IS NULL",
        (teacher, Outcome.LABELLED),
    )
    return [Audit(first, again, confidence, source, teacher) for first, again, confidence, source in rows]


def unpaid(connection: sqlite3.Connection) -> dict[str, int]:
    """How many labels cost nothing, by why: `same text`, `near-duplicate`, `human`."""
    rows = connection.execute(
        "SELECT CASE WHEN twin IS NULL THEN teacher WHEN likeness IS NULL THEN 'same text' ELSE 'near-duplicate' END,"
        " count(*) FROM labels WHERE twin IS NOT NULL OR (teacher = ? AND call IS NULL) GROUP BY 1 ORDER BY 2 DESC",
        (HUMAN,),
    )
    return dict(rows.fetchall())
