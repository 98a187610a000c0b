"""`classify` keeps its pace while the teacher hangs, turns everything away, or answers garbage, in the same process.

At reduced scale: a stream is played for some seconds beside a teacher at its worst, and each batch's time is compared
with that beside a teacher that answers. The margin is wide because a busy machine is no clock; a data plane that waited
for the teacher would miss it by orders of magnitude.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from askance.codec import DocumentDecoder
from askance.config import TeacherConfig
from askance.ledger import SqliteLedger
from askance.records import Coordinates, Record
from askance.rules.budget import Unlimited
from askance.rules.gate import Gate
from askance.rules.pace import Pace, Spacing
from askance.student.slot import Slot
from askance.teacher.openai import OpenAITeacher
from askance.telemetry import Telemetry
from askance.workers.classify import ClassifyWorker
from askance.workers.observe import Observer
from askance.workers.teach import TeachWorker
from tests.integration.fake_llm import Behaviour, FakeLLM, answer, status

if TYPE_CHECKING:
    from pathlib import Path

BATCHES, BATCH = 150, 32


class Stream:
    """A source that plays batches 10 ms apart, and a sink that keeps the queries and the time each batch took."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger
        self._fetched: dict[int, float] = {}
        self._next = 0
        self.seconds: list[float] = []

    async def fetch(self, *, max_records, max_wait_seconds):
        if self._next == BATCHES:
            return None
        await asyncio.sleep(0.01)
        first, self._next = self._next * BATCH, self._next + 1
        self._fetched[first] = time.perf_counter()
        return [Record(Coordinates("t", 0, first + n), b"document %d" % (first + n)) for n in range(BATCH)]

    async def deliver(self, delivery):
        await asyncio.to_thread(self._ledger.commit, [query for _, query in delivery.queries], delivery.positions, None)
        first = delivery.predictions[0][0].coordinates.offset
        self.seconds.append(time.perf_counter() - self._fetched.pop(first))
        return delivery.positions


async def play(folder: Path, behaviour: Behaviour) -> np.ndarray:
    """How long each batch took, with the whole loop in one process and one event loop."""
    ledgers = [SqliteLedger(folder / "ledger.db") for _ in range(3)]
    telemetry, stop, drain = Telemetry(), asyncio.Event(), asyncio.Event()
    stream = Stream(ledgers[0])
    observer = Observer(ledger=ledgers[2], slot=Slot(), telemetry=telemetry, clock=time.monotonic, listener=None)
    async with FakeLLM(behaviour) as server:
        config = TeacherConfig(kind="openai", model="m", base_url=server.base_url, concurrency=32, timeout_seconds=600)
        teach = TeachWorker(
            ledger=ledgers[1],
            teacher=OpenAITeacher(config, ("yes", "no"), environment={}),
            labels=("yes", "no"),
            telemetry=telemetry,
            pace=Pace(most=32, spacing=Spacing()),
        )
        classify = ClassifyWorker(
            source=stream,
            sink=stream,
            decoder=DocumentDecoder(document_format="text", text_field="text", id_field="id", max_bytes=1000),
            slot=Slot(),
            gate=Gate(),
            budget=Unlimited(floor=0.05),
            backlog=observer.backlog,
            max_backlog=10_000,
            teacher_state=observer.teacher_state,
            telemetry=telemetry,
            clock=time.monotonic,
            batch=BATCH,
            linger_seconds=0.0,
        )
        teaching = asyncio.create_task(teach.run(drain=drain, stop=stop))
        looking = asyncio.create_task(observer.run())
        async with asyncio.timeout(60):
            await classify.run(stop)
        assert server.requests, "the teacher was never asked"
        assert not teaching.done(), "the teacher's trouble ended its worker"
        looking.cancel()
        teaching.cancel()
        await asyncio.gather(looking, teaching, return_exceptions=True)
    for ledger in ledgers:
        ledger.close()
    assert len(stream.seconds) == BATCHES
    return np.array(stream.seconds)


@pytest.mark.slow
@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(hangs=True), status(429, retry_after="3600"), status(429), Behaviour(body=b"\x00\xff garbage")],
    ids=["hangs", "429 for an hour", "429", "garbage"],
)
def test_classify_keeps_its_pace_whatever_the_teacher_does(tmp_path: Path, behaviour: Behaviour) -> None:
    well = np.percentile(asyncio.run(play(tmp_path / "well", answer("yes", latency_seconds=0.05))), [50, 99])
    ill = np.percentile(asyncio.run(play(tmp_path / "ill", behaviour)), [50, 99])
    print(f"p50 and p99 in ms: beside a good teacher {well * 1e3}, beside a bad one {ill * 1e3}")
    assert ill[0] < 2 * well[0] + 0.02
    assert ill[1] < 2 * well[1] + 0.1
