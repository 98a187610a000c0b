"""Several topics of documents on one worker: each record keeps its own topic's coordinates, and tosses its own coin."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from askance.config import Config
from askance.doctor import State, examine
from askance.rules.replay import replay
from askance.stream.kafka.topics import create_topics
from tests.kafka.fleet import Fleet
from tests.kafka.readback import read
from tests.kafka.test_faults import produce

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.asyncio
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_documents_of_two_topics(servers: str, state: Path, tmp_path: Path, delivery: str) -> None:
    names = [f"{tmp_path.name}-{topic}".replace("_", "-") for topic in ("tickets", "mails")]
    fleet = Fleet(servers, tmp_path, delivery=delivery, state=state, documents=names, budget=["--share", "0.3"])
    async with fleet:
        for topic in names:
            values = [json.dumps({"text": f"red {topic} {number}"}).encode() for number in range(400)]
            await produce(fleet.config.kafka, topic, *values)
        fleet.start(1)
        await fleet.until_done(800)
        await fleet.stop(1)
    predictions = [record.value for record in await read(servers, fleet.config.kafka.predictions)]
    places = {(found["topic"], found["partition"], found["offset"]) for found in map(json.loads, predictions)}
    accepted = sum(found["accepted"] for found in map(json.loads, predictions))

    assert places == {(topic, 0, offset) for topic in names for offset in range(400)}
    assert len(predictions) == 800
    assert replay(predictions).is_proven
    assert len(await read(servers, fleet.config.kafka.queries)) == accepted > 0


@pytest.mark.asyncio
async def test_the_doctor_finds_the_topics_that_are_missing(servers: str, tmp_path: Path) -> None:
    names = {
        name: f"{tmp_path.name}-{name}".replace("_", "-") for name in ("predictions", "queries", "labels", "tallies")
    }
    kafka = {"bootstrap": {"servers": servers}, "documents": [f"{tmp_path.name}-in".replace("_", "-")], **names}
    kafka["dead_letters"] = f"{tmp_path.name}-dead".replace("_", "-")
    config = Config.model_validate({"state": tmp_path, "kafka": kafka})

    def found() -> list[tuple[str, State]]:
        findings = examine(config, ask=False, unix_time=time.time)
        parts = ("broker", "broker's clock", "topic", "topics", "rights")
        return [(each.part, each.state) for each in findings if each.part in parts]

    assert await asyncio.to_thread(found) == [
        ("broker", State.WELL),
        ("broker's clock", State.WELL),
        *[("topic", State.ILL)] * 6,
    ]
    await create_topics(config.kafka, partitions=2, replication=1, retention_ms=60_000, documents=True)
    assert await asyncio.to_thread(found) == [
        ("broker", State.WELL),
        ("broker's clock", State.WELL),
        ("topics", State.WELL),
        ("rights", State.WELL),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize(("off", "state", "says"), [
    (0.0, State.WELL, "within 5 seconds of the broker"),
    (60.0, State.DOUBTFUL, "60 s ahead of the broker"),
    (-60.0, State.DOUBTFUL, "60 s behind the broker"),
])  # fmt: skip
async def test_the_doctor_compares_this_clock_with_the_brokers(
    servers: str, tmp_path: Path, off: float, state: State, says: str
) -> None:
    kafka = {"bootstrap": {"servers": servers}, "documents": ["none-such"]}
    config = Config.model_validate({"state": tmp_path, "kafka": kafka})
    findings = await asyncio.to_thread(lambda: [*examine(config, ask=False, unix_time=lambda: time.time() + off)])
    assert [(each.state, each.found) for each in findings if each.part == "broker's clock"] == [(state, says)]
