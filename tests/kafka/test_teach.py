"""`teach` and `train` on topics: killed, doubled and bereft of their ledgers, every query still ends exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import time
import uuid
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml

from askance.codec import decode_settled, encode_query
from askance.config import Config
from askance.health import Health
from askance.ledger.view import ViewLedger
from askance.records import Coordinates, Outcome, Query
from askance.stream.kafka.labels import LabelView
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.queries import group_of_teach
from askance.stream.kafka.topics import create_topics
from askance.telemetry import Telemetry
from tests.kafka.checks import offsets_never_go_back
from tests.kafka.fleet import COMMAND, commits_of, environment
from tests.kafka.readback import read, until
from tests.kafka.stream import LABELS, label_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from askance.config import KafkaConfig
    from askance.records import Settled

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

LANES = 3
QUERIES = 1200


def query(number: int) -> Query:
    """Of the lane that its document's partition is."""
    where = Coordinates("t", number % LANES, number)
    return Query(where, f"d{number}", text_of(number), None, None, 1.0, 1.0, None, 0)


class Teachers:
    """Processes of `teach`, each with a state folder of its own, in one group."""

    def __init__(self, servers: str, folder: Path, teacher: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        name = f"teach-{uuid.uuid4().hex[:8]}"
        documents = folder / "documents.jsonl"
        lines = [json.dumps({"id": f"d{n}", "text": text_of(n), "label": label_of(text_of(n))}) for n in range(QUERIES)]
        documents.write_text("\n".join(lines) + "\n", encoding="utf-8")
        settings = {
            "kafka": {
                "bootstrap": {"servers": servers},
                "group": {"id": name},
                "session": {"timeout": {"ms": 3000}},
                "queries": f"{name}.queries",
                "labels": f"{name}.labels",
                "tallies": f"{name}.tallies",
                "predictions": f"{name}.predictions",
                "dead_letters": f"{name}.dead",
            },
            "teacher": teacher
            or {
                "kind": "replay",
                "replay_path": str(documents),
                "labels": list(LABELS),
                "latency_ms": 40,
                "concurrency": 8,
            },
        }
        (folder / "askance.yaml").write_text(yaml.safe_dump(settings))
        self.kafka: KafkaConfig = Config.model_validate(settings).kafka
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    async def ask(self, count: int = QUERIES) -> None:
        """Make the topics and put so many queries there."""
        await create_topics(self.kafka, partitions=LANES, replication=1, retention_ms=-1, documents=False)
        client = producer(self.kafka, None)
        await client.start()
        try:
            for lane in range(LANES):
                outgoing = [Outgoing(None, encode_query(query(n)), (), None) for n in range(lane, count, LANES)]
                await asyncio.gather(*await send(client, self.kafka.queries, lane, outgoing))
        finally:
            await client.stop()

    def start(self, name: str) -> None:
        with (self._folder / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*COMMAND, "teach", "--state", name], cwd=self._folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment(),
            )  # fmt: skip

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def forget(self, name: str) -> None:
        """Take a dead one's ledger away."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name in list(self.processes):
            self.kill(name)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-4000:]

    async def labels(self) -> list[Settled]:
        return [decode_settled(record.value) for record in await read(self.kafka.bootstrap.servers, self.kafka.labels)]

    async def until_labelled(self, count: int = QUERIES) -> list[Settled]:
        found: list[Settled] = []

        async def enough() -> bool:
            nonlocal found
            assert not [name for name, process in self.processes.items() if process.poll() is not None], self.log
            found = await self.labels()
            return len(found) >= count

        await until(enough, lambda: f"{len(found)} of {count} queries have ended\n{self.log}")
        return found


def assert_each_ended_once(labels: Sequence[Settled]) -> None:
    ended = Counter(each.query.coordinates for each in labels)
    assert len(ended) == QUERIES
    assert [coordinates for coordinates, times in ended.items() if times != 1] == []
    for each in labels:
        assert each.label.outcome in (Outcome.LABELLED, Outcome.LOST)
        if each.label.outcome is Outcome.LABELLED:
            assert each.label.label == label_of(each.query.text)


async def test_killed_again_and_again_every_query_ends_once(servers: str, tmp_path: Path) -> None:
    """Two workers, ten kills at moments drawn by a seed; a query that was being asked is lost, not asked again."""
    moments = random.Random(7)
    with Teachers(servers, tmp_path) as teachers:
        await teachers.ask()
        for name in ("one", "two"):
            teachers.start(name)
        for number in range(10):
            await asyncio.sleep(moments.uniform(0.3, 2.5))
            name = ("one", "two")[number % 2]
            teachers.kill(name)
            teachers.start(name)
        labels = await teachers.until_labelled()
        await asyncio.sleep(1.0)
        assert_each_ended_once(await teachers.labels())
    offsets_never_go_back(await commits_of(servers, group_of_teach(teachers.kafka)))
    assert sum(each.label.outcome is Outcome.LABELLED for each in labels) > QUERIES / 2


async def test_a_ledger_that_is_lost_is_rebuilt_from_the_topics(servers: str, tmp_path: Path) -> None:
    with Teachers(servers, tmp_path) as teachers:
        await teachers.ask()
        teachers.start("one")
        before = len(await teachers.until_labelled(200))
        teachers.kill("one")
        assert before < QUERIES
        teachers.forget("one")
        teachers.start("one")
        await teachers.until_labelled()
        await asyncio.sleep(1.0)
        assert_each_ended_once(await teachers.labels())

    # What `train` keeps is rebuilt in the same way, row for row.
    views = [await followed(teachers.kafka, tmp_path / f"{name}.db") for name in ("kept", "rebuilt")]
    assert views[0] == views[1]
    assert len(views[0]) > 200


async def followed(kafka: KafkaConfig, path: Path) -> set[tuple[Coordinates, str, str]]:
    """The labelled documents of a ledger that follows the labels topic from nothing to its end."""
    with closing(ViewLedger(path)) as ledger:
        view = LabelView(kafka, ledger, telemetry=Telemetry(), health=Health(time.monotonic), clock=time.monotonic)
        following = asyncio.create_task(view.run())

        async def all_there() -> bool:
            return ledger.counts().answered >= QUERIES

        await until(all_there, lambda: f"{ledger.counts()}")
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        return {(row.coordinates, row.text, row.label) for row in ledger.labelled()}
