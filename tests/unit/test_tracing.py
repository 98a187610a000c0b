"""Spans and the trace context: off unless asked for, and never in the way."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from askance import tracing
from askance.calls import Attempt, Fault
from askance.errors import StreamError
from askance.ledger import SqliteLedger
from askance.records import Record
from askance.rules.budget import Unlimited
from askance.student.slot import Slot
from askance.telemetry import Telemetry
from askance.tracing import Tracer, headers_of, traceparent_of
from tests.doubles import MemoryLedger, ScriptedTeacher, query
from tests.unit.test_classify_worker import ListSink, ListSource, StubStudent, record, run, worker
from tests.unit.test_teach_worker import Bench

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
OTHER = f"00-{'c' * 32}-{'d' * 16}-01"


@pytest.fixture
def memory() -> InMemorySpanExporter:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture
def tracer(memory: InMemorySpanExporter) -> Tracer:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return Tracer(provider)


def named(memory: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in memory.get_finished_spans() if span.name == name]


def traced(offset: int, *values: str) -> Record:
    return Record(
        record(offset).coordinates, record(offset).value, None, tuple(("traceparent", v.encode()) for v in values)
    )


# The context


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"twice",
        b"\xff\xfe",
        f"ff-{'a' * 32}-{'b' * 16}-01".encode(),
        f"00-{'0' * 32}-{'b' * 16}-01".encode(),
        f"00-{'a' * 32}-{'0' * 16}-01".encode(),
        f"00-{'A' * 32}-{'b' * 16}-01".encode(),
        f"{PARENT}\n".encode(),
    ],
)
def test_what_is_no_trace_context_is_none(value: bytes) -> None:
    assert traceparent_of([("traceparent", value), ("other", PARENT.encode())]) is None
    assert traceparent_of([("traceparent", value), ("traceparent", PARENT.encode())]) == PARENT


def test_an_accepted_documents_query_carries_its_trace_and_the_ledger_keeps_it(tmp_path: Path) -> None:
    sink, _ = run([[traced(0, PARENT), record(1)]], StubStudent("v1"), budget=Unlimited(floor=1.0))
    queries = [query for _, query in sink.deliveries[0].queries]
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit(queries, (), None)
    with ledger._reading() as connection:
        kept = connection.execute("SELECT traceparent FROM queries ORDER BY number").fetchall()
    ledger.close()

    assert [one.traceparent for one in queries] == [PARENT, None]
    assert kept == [(PARENT,), (None,)]
    assert headers_of(PARENT) == (("traceparent", PARENT.encode()),)
    assert headers_of(None) == ()


# Spans


def test_a_batch_is_a_span_with_its_three_parts(tracer: Tracer, memory: InMemorySpanExporter) -> None:
    run(
        [[traced(0, PARENT), record(1), traced(2, OTHER)], [traced(3, PARENT)], [traced(4, PARENT), record(5)]],
        StubStudent("v1"),
        tracer=tracer,
    )

    first, second, third = sorted(named(memory, "askance.batch"), key=lambda span: span.start_time or 0)
    assert first.parent is None
    assert [f"{link.context.trace_id:032x}" for link in first.links] == ["a" * 32, "c" * 32]
    assert first.attributes == {"askance.records": 3}
    assert third.parent is None
    assert len(third.links) == 1
    # One record alone: its trace goes on.
    assert second.parent is not None
    assert f"{second.parent.trace_id:032x}/{second.parent.span_id:016x}" == f"{'a' * 32}/{'b' * 16}"
    for batch in (first, second, third):
        parts = [span for span in memory.get_finished_spans() if span.parent and span.parent == batch.context]
        assert [span.name for span in parts] == ["fetch", "score", "deliver"]
        assert all(span.status.is_ok or span.status.is_unset for span in (batch, *parts))


def test_a_delivery_that_fails_ends_its_spans_as_failed(tracer: Tracer, memory: InMemorySpanExporter) -> None:
    class Broken(ListSink):
        async def deliver(self, delivery: object) -> Sequence[object]:
            raise StreamError("the disk is full")

    slot = Slot()
    slot.put(StubStudent("v1"))
    with pytest.raises(StreamError):
        asyncio.run(worker(ListSource([[record(0)]]), Broken(), slot, Telemetry(), tracer=tracer).run(asyncio.Event()))

    failed = {span.name: span.status.description for span in memory.get_finished_spans() if not span.status.is_unset}
    assert failed == dict.fromkeys(("deliver", "askance.batch"), "StreamError: the disk is full")


@pytest.mark.asyncio
async def test_a_call_goes_on_with_the_trace_of_its_document(tracer: Tracer, memory: InMemorySpanExporter) -> None:
    queries = [msgspec.structs.replace(query(n), traceparent=parent) for n, parent in enumerate((PARENT, OTHER, None))]
    await Bench(MemoryLedger(queries), ScriptedTeacher(), tracer=tracer).drained()

    calls = named(memory, "askance.call")
    assert sorted("" if span.parent is None else f"{span.parent.trace_id:032x}" for span in calls) == [
        "",
        "a" * 32,
        "c" * 32,
    ]
    assert {span.attributes["askance.teacher"] for span in calls if span.attributes} == {"scripted"}
    assert {span.parent.span_id for span in named(memory, "ask") if span.parent} == {
        span.context.span_id for span in calls if span.context
    }


@pytest.mark.asyncio
async def test_a_call_without_an_answer_has_failed(tracer: Tracer, memory: InMemorySpanExporter) -> None:
    faults = iter([Attempt(fault=Fault.REJECTED, error="no")])

    class Refusing(ScriptedTeacher):
        async def ask(self, queries: object) -> Attempt:
            return next(faults)

    await Bench(MemoryLedger([query(0)]), Refusing(), tracer=tracer).drained()

    [call] = named(memory, "askance.call")
    assert call.status.description == "rejected"


# When there are any


def test_without_being_asked_for_nothing_is_made(tracer: Tracer) -> None:
    assert tracing.from_environment({"OTEL_SERVICE_NAME": "x"}) is tracing.OFF
    span = tracing.OFF.begin("x", (1 / 0 for _ in range(1)))  # type: ignore[misc]
    span.was("y", 0)
    with span.part("z"):
        pass
    span.end("failed")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is zipkin"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "the protocol grpc"),
    ],
)
def test_what_cannot_be_had_is_warned_of(
    environment: dict[str, str], says: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("askance"), "propagate", True)
    assert tracing.from_environment(environment) is tracing.OFF
    assert says in caplog.text


def test_without_the_extra_the_work_goes_on_and_the_extra_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("askance"), "propagate", True)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracing.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}) is tracing.OFF
    assert "pip install 'askance[otel]'" in caplog.text


def test_a_collector_that_is_away_does_not_keep_the_process() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    answers = threading.Event()

    class Hanging(TracerProvider):
        def shutdown(self) -> None:
            answers.wait()

    Tracer(Hanging(shutdown_on_exit=False)).close(within_seconds=0.0)
    # It would have hung for ever.
    answers.set()


def test_the_console_gets_them_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    tracer = tracing.from_environment({"OTEL_TRACES_EXPORTER": "console"})
    tracer.begin("askance.batch", [PARENT], records=1).end()
    tracer.close()
    told = json.loads(capfd.readouterr().err)
    assert (told["name"], told["parent_id"]) == ("askance.batch", f"0x{'b' * 16}")
    assert told["resource"]["attributes"]["service.name"] == "askance"
