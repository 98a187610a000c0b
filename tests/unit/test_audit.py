"""The teacher's agreement with itself: which labels are asked for again, and what the two answers say."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from askance.calls import Audit, Order, Settlement, Spend
from askance.cli import main as command_line
from askance.ledger import SqliteLedger
from askance.records import Answer, Label, LabelCounts, Outcome
from askance.rules.audit import agreement, by_class, by_teacher, calibration
from askance.telemetry import Telemetry
from askance.workers.teach import TeachWorker
from tests.doubles import ScriptedTeacher, query

if TYPE_CHECKING:
    from pathlib import Path


def test_agreement_overall_and_per_class() -> None:
    audits = [Audit("a", "a", None, None)] * 9 + [Audit("a", "b", None, None)] + [Audit("b", "a", None, None)] * 2
    found = agreement(audits)
    assert (found.audits, found.agreed, found.value) == (12, 9, 0.75)
    assert found.low < 0.75 < found.high
    assert {label: one.value for label, one in by_class(audits).items()} == {"a": 0.9, "b": 0.0}


def test_the_teachers_of_a_cascade_are_told_apart(tmp_path: Path) -> None:
    audits = [Audit("a", "a", None, None, "dear")] * 3 + [Audit("a", "b", None, None, "cheap")]
    assert {name: (one.audits, one.agreed) for name, one in by_teacher(audits).items()} == {
        "cheap": (1, 0),
        "dear": (3, 3),
    }
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(n) for n in range(4)], (), None)
    order = Order(calls=9, now=0.0, teacher="cheap, then dear")
    for n, call in enumerate(ledger.reserve(order, lambda _: Spend(1)).calls):
        coordinates = query(n).coordinates
        label = Label(coordinates, Outcome.LABELLED, "a", "dear" if n else "cheap", Answer("a"), 0.0)
        ledger.settle([Settlement(call.number, (label,), audits=(coordinates,))])
    for call in ledger.reserve(order, lambda _: Spend(1)).calls:
        ledger.settle([Settlement(call.number, audited=("a" if call.queries[0].coordinates.offset else "b", None))])
    ledger.close()
    lines = CliRunner().invoke(command_line.app, ["audit", "--state", str(tmp_path)]).output.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["labels", "of", "audits"],
        ["cheap", "1", "0.0%"],
        ["dear", "3", "100.0%"],
    ]


def test_the_calibration_table_keeps_sources_apart_and_unknown_out() -> None:
    audits = [
        *[Audit("a", "a", 1.0, "log_probability")] * 3,
        Audit("a", "b", 0.99, "log_probability"),
        Audit("a", "a", 0.2, "stated"),
        Audit("a", "b", 0.96, "stated"),
        *[Audit("a", "b", None, None)] * 5,
    ]
    assert [
        (row.source, row.low, row.high, row.agreement.audits, row.agreement.value) for row in calibration(audits)
    ] == [
        ("log_probability", 0.99, 1.0, 4, 0.75),
        ("stated", 0.0, 0.5, 1, 1.0),
        ("stated", 0.95, 0.99, 1, 0.0),
    ]


def test_a_share_of_the_labels_is_asked_for_again_and_the_first_answer_stands(tmp_path: Path) -> None:
    answered: dict[str, int] = {}

    def behaviour(asked):
        answered[asked.document_id] = answered.get(asked.document_id, 0) + 1
        # Of the second answers every other one differs; one document has no label at all.
        if asked.coordinates.offset == 0:
            return Answer("maybe")
        second = answered[asked.document_id] == 2 and asked.coordinates.offset % 2
        return Answer("no" if second else "yes", confidence=0.8, confidence_source="log_probability")

    async def run(share: float) -> None:
        ledger = SqliteLedger(tmp_path / "ledger.db")
        worker = TeachWorker(
            ledger=ledger,
            teacher=ScriptedTeacher(behaviour, documents_per_call=3),
            labels=("yes", "no"),
            telemetry=Telemetry(),
            audit_share=share,
        )
        drain = asyncio.Event()
        drain.set()
        async with asyncio.timeout(20):
            await worker.run(drain=drain, stop=asyncio.Event())
        ledger.close()

    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(n) for n in range(400)], (), None)
    asyncio.run(run(0.25))
    audits = ledger.audits()
    assert ledger.counts() == LabelCounts(labelled=399, invalid=1)
    assert {row.label for row in ledger.labelled()} == {"yes"}, "an audit changes no label"
    assert len(audits) == pytest.approx(100, abs=35)
    assert sum(answered.values()) == 400 + len(audits)
    assert max(answered.values()) == 2
    assert agreement(audits).value == pytest.approx(0.5, abs=0.15)
    assert ledger.spent().nanos == 100 * sum(answered.values()), "an audit is paid for like any call"
    assert ledger.spent().calls == 400 // 3 + 1 + len(audits), "and asked alone"
    before = sum(answered.values())
    asyncio.run(run(0.25))
    assert sum(answered.values()) == before, "nothing is audited twice"
    ledger.close()
    shown = CliRunner().invoke(command_line.app, ["audit", "--state", str(tmp_path)]).output.splitlines()
    assert shown[1].split()[:2] == ["yes", str(len(audits))]
    assert shown[-1].split()[:3] == ["log_probability", "0.8-0.9", "0.800"]
    found = json.loads(CliRunner().invoke(command_line.app, ["audit", "--state", str(tmp_path), "--json"]).output)
    assert found["agreement"]["audits"] == len(audits)


def test_an_audit_that_a_crash_orphaned_is_lost_and_its_label_stays(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(0)], (), None)
    order = Order(calls=5, now=0.0, teacher="m")
    (first,) = ledger.reserve(order, lambda _: Spend(1)).calls
    label = Label(query(0).coordinates, Outcome.LABELLED, "yes", "m", Answer("yes"), 0.0)
    ledger.settle([Settlement(first.number, (label,), audits=(label.coordinates,))])
    (audit,) = ledger.reserve(order, lambda _: Spend(1)).calls
    assert (audit.is_audit, audit.queries) == (True, (query(0),))
    ledger.release([audit])
    (audit,) = ledger.reserve(order, lambda _: Spend(1)).calls
    assert ledger.abandon_orphans() == 0
    assert ledger.reserve(order, lambda _: Spend(1)).calls == ()
    assert (ledger.counts(), ledger.spent(), ledger.audits()) == (LabelCounts(labelled=1), Spend(2), [])
    ledger.close()
