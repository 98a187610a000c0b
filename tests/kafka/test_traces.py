"""A trace that comes with a document goes on to its prediction, its query and its label, across the processes."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest

from askance.codec import decode_query, decode_settled
from askance.tracing import headers_of, traceparent_of
from tests.collector import collector
from tests.kafka.fleet import PATIENCE_SECONDS, Fleet
from tests.kafka.readback import until
from tests.kafka.stream import LABELS, is_poison, label_of, record, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from aiokafka.structs import ConsumerRecord

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

DOCUMENTS = 200


def trace_of(number: int) -> str | None:
    return traceparent_of(record(number).headers)


async def test_a_trace_goes_from_the_document_to_prediction_query_and_label(
    servers: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [number for number in range(DOCUMENTS) if not is_poison(number)]
    replay = tmp_path / "teacher.jsonl"
    lines = [json.dumps({"id": f"d{n}", "text": text_of(n), "label": label_of(text_of(n))}) for n in numbers]
    replay.write_text("\n".join(lines) + "\n", encoding="utf-8")
    teacher = {"kind": "replay", "replay_path": str(replay), "labels": list(LABELS), "reuse": False}
    with collector() as collected:
        for name, value in collected.environment.items():
            monkeypatch.setenv(name, value)
        fleet = Fleet(
            servers, tmp_path, delivery="exactly_once", state=state, budget=["--share", "1.0"],
            # A span has links to 128 traces at most.
            sections={"teacher": teacher, "batch": 100},
        )  # fmt: skip
        async with fleet:
            kafka = fleet.config.kafka
            await fleet.feed(DOCUMENTS)
            fleet.start(1)
            fleet.start(2, worker="teach")
            found: dict[str, list[ConsumerRecord]] = {}

            async def complete() -> bool:
                for topic in (kafka.predictions, kafka.queries, kafka.labels):
                    found[topic] = await fleet.read(topic)
                return len(found[kafka.predictions]) == len(numbers) and len(found[kafka.labels]) == len(
                    found[kafka.queries]
                )

            await until(
                complete, lambda: f"{ {topic: len(some) for topic, some in found.items()} }\n{fleet.log[-4000:]}"
            )
            # What is left to export is exported on the way out.
            for number in (1, 2):
                fleet.signal(number, signal.SIGTERM)
            codes = [await asyncio.to_thread(fleet.workers.pop(n).wait, PATIENCE_SECONDS) for n in (1, 2)]

    assert codes == [0, 0], fleet.log[-4000:]
    queries = {query.document_id: query for query in (decode_query(one.value) for one in found[kafka.queries])}
    settled = {one.query.document_id: one.query for one in (decode_settled(r.value) for r in found[kafka.labels])}
    assert len(queries) == len(settled) > len(numbers) / 2
    traced = 0
    for topic in (kafka.predictions, kafka.queries, kafka.labels):
        for one in found[topic]:
            value = json.loads(one.value)
            name = value.get("id") or value.get("document_id") or value["query"]["document_id"]
            number = int(name.removeprefix("d"))
            assert traceparent_of(one.headers) == trace_of(number), (topic, name)
            traced += trace_of(number) is not None
            if topic == kafka.labels:
                assert one.headers == headers_of(trace_of(number))
    assert traced > len(numbers)
    for name, query in (queries | settled).items():
        assert query.traceparent == trace_of(int(name.removeprefix("d")))

    # Each call of the other process is within its document's trace.
    calls = collected.named("askance.call")
    own = {trace.split("-")[1]: trace.split("-")[2] for name in queries if (trace := trace_of(int(name[1:])))}
    assert len(calls) == len(queries)
    assert {call.trace: call.parent for call in calls if call.parent} == own
    batches = collected.named("askance.batch")
    linked = {trace for batch in batches for trace in (*batch.links, *([batch.trace] if batch.parent else []))}
    assert set(own) <= linked
    for batch in batches:
        assert sorted(span.name for span in collected.spans if span.parent == batch.span) == [
            "deliver",
            "fetch",
            "score",
        ]
    assert {span.service for span in collected.spans} == {"askance"}
    assert not [span for span in collected.spans if span.failed]
