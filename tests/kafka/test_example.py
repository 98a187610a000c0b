"""The examples, on a real broker: every record is answered, and the gate asks as the kernel says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import askance
from askance.config import KafkaConfig
from tests.kafka.readback import read, until
from tests.kafka.stream import label_of, text_of
from tests.kafka.test_faults import produce

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

DOCUMENTS = 1_200


def example(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def consumed(servers: str, topics: list[str], registry: str) -> None:
    assert await example("consumer").run(servers, *topics, registry, at_most=DOCUMENTS) == DOCUMENTS


async def applied(servers: str, topics: list[str], registry: str) -> None:
    """The application runs until it is told to end, and is told when everything is answered."""
    application = example("faststream_consumer").application(servers, *topics, registry)
    running = asyncio.create_task(application.run())
    try:

        async def complete() -> bool:
            assert not running.done(), running.result()
            return len(await read(servers, topics[1])) >= DOCUMENTS

        await until(complete, lambda: "not every record is answered")
    finally:
        application.exit()
        await running


@pytest.mark.asyncio
@pytest.mark.parametrize("run", [consumed, applied], ids=["aiokafka", "faststream"])
async def test_an_example_answers_every_record_and_asks_about_its_share(
    servers: str, state: Path, tmp_path: Path, run: Callable[[str, list[str], str], Awaitable[None]]
) -> None:
    topics = [f"{tmp_path.name}-{name}".replace("_", "-") for name in ("documents", "answers", "to-ask")]
    config = KafkaConfig.model_validate({"bootstrap": {"servers": servers}})
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1) for topic in topics])
    finally:
        await admin.close()
    await produce(config, topics[0], *(json.dumps({"text": text_of(number)}).encode() for number in range(DOCUMENTS)))
    async with asyncio.timeout(120):
        await run(servers, topics, str(state / "registry"))
    answers: list[dict[str, Any]] = [json.loads(record.value) for record in await read(servers, topics[1])]
    asked = [json.loads(record.value) for record in await read(servers, topics[2])]
    student = askance.Student.load(state / "registry")
    texts = [text_of(number) for number in range(DOCUMENTS)]
    assert [answer["label"] for answer in answers] == student.predict(texts)
    assert {answer["version"] for answer in answers} == {student.version}
    assert np.mean([answer["label"] == label_of(text) for answer, text in zip(answers, texts, strict=True)]) > 0.8
    # 5 %, give or take five standard deviations.
    assert 22 < len(asked) < 98
    propensities = np.array([answer["propensity"] for answer in answers])
    assert all(question["predicted"] in answers for question in asked)
    assert abs(propensities.sum() - len(asked)) < 5 * np.sqrt(propensities.sum())
