"""A query without an answer is tried again, and then ends as one failed label; what is no query is a dead letter."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from askance.codec import encode_query
from askance.records import Outcome
from askance.stream.kafka.produce import Outgoing, producer, send
from tests.integration.fake_llm import FakeLLM, answer, says, status
from tests.kafka.fleet import COMMAND, environment
from tests.kafka.readback import read
from tests.kafka.stream import LABELS, label_of, text_of
from tests.kafka.test_teach import LANES, Teachers, query

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

QUERIES = 90
FAILS, MUMBLES = 0, 1
"""Numbers of the query that the server never answers, and of the one that it answers with none of the labels."""
RUBBISH = b'{"this is": "no query"}'


async def put(teachers: Teachers, lane: int, values: list[bytes]) -> None:
    async with producer(teachers.kafka, None) as client:
        outgoing = [Outgoing(b"key", value, (("header", b"kept"),), None) for value in values]
        await asyncio.gather(*await send(client, teachers.kafka.queries, lane, outgoing))


async def test_a_query_that_fails_for_good_is_one_failed_label(servers: str, tmp_path: Path) -> None:
    async with FakeLLM(lambda text: answer(label_of(text), latency_seconds=0.02)) as server:
        server.script(text_of(FAILS), *[status(500)] * 50)
        server.script(text_of(MUMBLES), *[says('{"label": "none of yours"}')] * 50)
        teacher = {"kind": "openai", "base_url": server.base_url, "model": "fake", "labels": list(LABELS),
                   "audit_share": 0.0, "concurrency": 2}  # fmt: skip
        with Teachers(servers, tmp_path, teacher) as teachers:
            await teachers.ask(QUERIES)
            await put(teachers, 0, [RUBBISH])
            teachers.start("one")
            ended = {each.query.coordinates: each.label for each in await teachers.until_labelled(QUERIES)}
            failed, invalid = (ended[query(number).coordinates] for number in (FAILS, MUMBLES))
            assert (failed.outcome, failed.label) == (Outcome.FAILED, None)
            assert "500" in (failed.answer.error or "")
            assert (invalid.outcome, invalid.label) == (Outcome.INVALID, None)
            assert "none of yours" in (invalid.answer.raw or "")
            asked = {number: server.asked[text_of(number)] for number in (FAILS, MUMBLES)}
            assert asked[FAILS] >= 5
            assert asked[MUMBLES] == 2
            assert Counter(label.outcome for label in ended.values())[Outcome.LABELLED] == QUERIES - 2

            # Only what can be mended is a dead letter: a query put back would be known to have ended.
            [dead] = await read(servers, teachers.kafka.dead_letters)
            assert (dead.key, dead.value, dead.headers[0]) == (b"key", RUBBISH, ("header", b"kept"))
            for number in (FAILS, MUMBLES):
                await put(teachers, number % LANES, [encode_query(query(number))])
                await put(teachers, number % LANES, [encode_query(query(QUERIES + number))])
            labels = await teachers.until_labelled(QUERIES + 2)
            assert set(Counter(each.query.coordinates for each in labels).values()) == {1}
            assert {number: server.asked[text_of(number)] for number in asked} == asked

            # People may answer what the teacher could not.
            export = [*COMMAND, "labels", "export", "--state", "one", "--output", "tasks.json"]
            done = await asyncio.create_subprocess_exec(*export, cwd=tmp_path, env=environment())
            assert await done.wait() == 0
            tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
            assert {task["data"]["text"] for task in tasks} == {text_of(FAILS), text_of(MUMBLES)}
