"""Predictions proved, documents classified again and dead letters put back, on a real broker."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from askance.records import Coordinates, DeadLetter, Reason, Record
from askance.registry import DirectoryRegistry
from askance.stream.kafka import letters as letters_module
from askance.stream.kafka.letters import LetterReplay, dead, letters, put_back
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.ranges import Bound, TopicRange
from tests.kafka.fleet import COMMAND, PARTITIONS, Fleet, environment
from tests.kafka.readback import read, until
from tests.kafka.stream import is_poison, record

if TYPE_CHECKING:
    from pathlib import Path

    from askance.records import KeptLetter

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]
DOCUMENTS = 1200


def askance(fleet: Fleet, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=fleet.folder, capture_output=True, text=True, check=False, timeout=240,
        env=environment(),
    )  # fmt: skip


async def asked(fleet: Fleet, *words: str) -> Any:
    done = await asyncio.to_thread(askance, fleet, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def classified(fleet: Fleet, count: int) -> None:
    fleet.start(1)
    await fleet.feed(count)
    await fleet.until_done(count)
    await fleet.stop(1)


async def test_a_topic_of_predictions_is_proved_and_tampering_is_found(
    servers: str, state: Path, tmp_path: Path
) -> None:
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state) as fleet:
        await classified(fleet, DOCUMENTS)
        topic = fleet.config.kafka.predictions
        good = sum(not is_poison(number) for number in range(DOCUMENTS))
        done = await asyncio.to_thread(askance, fleet, "replay", "--topic", topic)
        assert done.returncode == 0, done.stderr
        assert f"{good:,} decisions checked" in done.stdout
        assert "0 differ" in done.stdout

        part = await asyncio.to_thread(askance, fleet, "replay", "--topic", topic, "--from", "10", "--to", "30")
        assert part.returncode == 0
        # A transaction's marker may stand among them.
        assert 0 < int(part.stdout.split()[0]) <= 20 * PARTITIONS

        [first, *_] = await read(servers, topic)
        changed = json.loads(first.value)
        changed["accepted"] = not changed["accepted"]
        async with producer(fleet.config.kafka, None) as client:
            await asyncio.gather(
                *await send(client, topic, 2, [Outgoing(None, json.dumps(changed).encode(), (), None)])
            )
        done = await asyncio.to_thread(askance, fleet, "replay", "--topic", topic)
        assert done.returncode == 1
        assert "1 differ" in done.stdout
        assert f"{topic}/2/" in done.stdout


async def test_documents_are_classified_again(servers: str, state: Path, tmp_path: Path) -> None:
    """The same version with a budget without memory says the same; another one is told apart by every prediction."""
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state, budget=["--m-raru"]) as fleet:
        await classified(fleet, DOCUMENTS)
        kafka = fleet.config.kafka
        good = sum(not is_poison(number) for number in range(DOCUMENTS))
        first, _, third = [
            manifest.version for manifest in DirectoryRegistry(tmp_path / "state" / "registry").versions()
        ]
        before = await fleet.commits()

        same = await asked(fleet, "replay", "--version", first, "--m-raru")
        assert same["total"] == {"documents": good, "label_changes": 0, "newly_accepted": 0, "no_longer_accepted": 0}
        assert same["without_record"] == same["repeated"] == 0

        into = f"{fleet.name}.again"
        other = await asked(fleet, "replay", "--version", third, "--into", into, "--m-raru")
        recorded = {_place(each): json.loads(each.value) for each in await fleet.read(kafka.predictions)}
        anew = {_place(each): json.loads(each.value) for each in await fleet.read(into)}
        assert recorded.keys() == anew.keys()
        pairs = [(recorded[place], anew[place]) for place in recorded]
        assert {new["version"] for _, new in pairs} == {third}
        assert (
            other["total"]
            == other["by_version"][first]
            == {
                "documents": good,
                "label_changes": sum(old["label"] != new["label"] for old, new in pairs),
                "newly_accepted": sum(new["accepted"] and not old["accepted"] for old, new in pairs),
                "no_longer_accepted": sum(old["accepted"] and not new["accepted"] for old, new in pairs),
            }
        )
        assert other["total"]["newly_accepted"] + other["total"]["no_longer_accepted"]
        changes = Counter((old["label"], new["label"]) for old, new in pairs if old["label"] != new["label"])
        assert {(each["recorded"], each["new"]): each["documents"] for each in other["label_changes"]} == changes
        for each in await fleet.read(into):
            assert each.headers[-1] == ("askance-replay", third.encode())
        # What was made anew is proved like anything else.
        done = await asyncio.to_thread(askance, fleet, "replay", "--topic", into)
        assert done.returncode == 0, done.stdout

        # Another policy: nobody is accepted by a gate that is all but shut.
        shut = await asked(fleet, "replay", "--version", first, "--share", "0.001", "--set", "gate.floor=0")
        assert shut["total"]["label_changes"] == shut["total"]["newly_accepted"] == 0
        assert shut["total"]["no_longer_accepted"] > 0
        # Nothing of the stream has moved.
        assert await fleet.commits() == before
        assert len(await fleet.read(kafka.predictions)) == good


async def test_a_stretch_by_time_is_the_stretch_by_offsets(servers: str, state: Path, tmp_path: Path) -> None:
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state) as fleet:
        config, topic = fleet.config.kafka, fleet.config.kafka.documents[0]
        async with producer(config, None) as client:
            for partition in range(PARTITIONS):
                records = [Outgoing(None, b"x", (), 1_700_000_000_000 + 10 * n + partition) for n in range(100)]
                await asyncio.gather(*await send(client, topic, partition, records))
        begin, end = Bound(timestamp_ms=1_700_000_000_000 + 300), Bound(timestamp_ms=1_700_000_000_000 + 700)
        async with TopicRange(config, [topic], begin, end) as stretch:
            found = []
            while (some := await stretch.fetch(max_records=7, max_wait_seconds=0.0)) is not None:
                found += some
            assert stretch.spans[TopicPartition(topic, 0)] == (30, 70)
        times = [each.timestamp_ms for each in found]
        assert times == sorted(times)
        assert set(times) == {1_700_000_000_000 + 10 * n + p for n in range(100) for p in range(PARTITIONS)
                              if 300 <= 10 * n + p < 700}  # fmt: skip
        async with TopicRange(config, [topic], Bound(timestamp_ms=2_000_000_000_000), Bound()) as stretch:
            assert await stretch.fetch(max_records=7, max_wait_seconds=0.0) is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["replay", "--into", "X.predictions"], "name another one"),
        (["replay", "--topic", "X.queries", "--version", "v0001-00000000"], "none of kafka.documents"),
        (["replay", "--topic", "X.predictions", "--from", "yesterday"], "no place in a topic"),
        (["replay"], "name a predictions file"),
    ],
)
async def test_what_cannot_be_replayed_is_refused(
    servers: str, state: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    fleet = Fleet(servers, tmp_path, delivery="exactly_once", state=state)
    done = await asyncio.to_thread(askance, fleet, *(word.replace("X", fleet.name) for word in words))
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.splitlines()) == 1


def _place(each: Any) -> tuple[int, int]:
    value = json.loads(each.value)
    return value["partition"], value["offset"]


async def test_dead_letters_go_back_once_with_everything_they_had(servers: str, state: Path, tmp_path: Path) -> None:
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state) as fleet:
        await classified(fleet, 2400)
        kafka = fleet.config.kafka
        poison = [number for number in range(2400) if is_poison(number)]
        listing = await asked(fleet, "dead-letters", "list", "--limit", "5")
        assert (listing["letters"], listing["replayed"], len(listing["shown"])) == (len(poison), 0, 5)
        too_large = listing["by_reason"]["too_large"]

        assert (await asked(fleet, "dead-letters", "replay", "--dry-run"))["replayed"] == 0
        assert (await asked(fleet, "dead-letters", "replay", "--reason", "too_large"))["replayed"] == too_large
        assert (await asked(fleet, "dead-letters", "replay"))["replayed"] == len(poison) - too_large
        assert (await asked(fleet, "dead-letters", "replay"))["replayed"] == 0
        assert (await asked(fleet, "dead-letters", "list"))["replayed"] == len(poison)

        documents = await fleet.read(kafka.documents[0])
        back = [each for each in documents if each.headers[-2:-1] and each.headers[-2][0] == "askance-replayed-from"]
        assert len(documents) == 2400 + len(poison) == 2400 + len(back)
        given = Counter((n % PARTITIONS, *record(n)) for n in poison)
        # Of a record that had neither key nor value, Kafka's client can only keep an empty value.
        given = Counter({(p, k, b"" if k is v is None else v, h): count for (p, k, v, h), count in given.items()})
        assert Counter((each.partition, each.key, each.value, each.headers[:-2]) for each in back) == given
        assert {each.headers[-1] for each in back} == {("askance-replays", b"1")}
        assert len({each.headers[-2][1] for each in back}) == len(back)

        # They die again, unless the settings have changed, and say that they had been replayed.
        fleet.start(1)
        await fleet.until_done(len(documents))
        await fleet.stop(1)
        listing = await asked(fleet, "dead-letters", "list", "--limit", "1000")
        assert listing["letters"] == 2 * len(poison)
        assert Counter(each["replays"] for each in listing["shown"]) == {0: len(poison), 1: len(poison)}


async def test_a_replay_that_is_overtaken_moves_nothing(servers: str, state: Path, tmp_path: Path) -> None:
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state) as fleet:
        await classified(fleet, DOCUMENTS)
        kafka = fleet.config.kafka
        found: list[KeptLetter] = [each async for some in letters(kafka, Bound(offset=0), Bound()) for each in some]
        first, second = LetterReplay(kafka, None), LetterReplay(kafka, None)
        await first.__aenter__()
        try:
            await first.replay(found[:3])
            assert len(await put_back(kafka, Bound(offset=0))) == 3
            # The first one is in the middle of a transaction when another one begins.
            client = first._producer
            assert client is not None
            await client.begin_transaction()
            outgoing = letters_module._outgoing(found[3])
            await asyncio.gather(*await send(client, kafka.documents[0], 0, [outgoing]))
            async with second:
                assert len(await put_back(kafka, Bound(offset=0))) == 3
                await second.replay(found[3:])
                with pytest.raises(KafkaError):
                    await client.commit_transaction()
        finally:
            await first.__aexit__()
        documents = await fleet.read(kafka.documents[0])
        assert len(documents) == DOCUMENTS + len(found)


def begun(fleet: Fleet) -> subprocess.Popen[bytes]:
    command = [*COMMAND, "dead-letters", "replay"]
    return subprocess.Popen(command, cwd=fleet.folder, env=environment(), stdout=subprocess.DEVNULL)


async def test_a_replay_that_is_killed_again_and_again_puts_everything_back_once(
    servers: str, state: Path, tmp_path: Path
) -> None:
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state) as fleet:
        kafka, many = fleet.config.kafka, 6000
        async with producer(kafka, None) as client:
            for partition in range(PARTITIONS):
                some = [_letter(kafka.documents[0], n) for n in range(partition, many, PARTITIONS)]
                await asyncio.gather(*await send(client, kafka.dead_letters, partition, some))
        for _ in range(3):
            before = len(await fleet.read(kafka.documents[0]))
            process = begun(fleet)
            try:

                async def moved(before: int = before) -> bool:
                    return len(await fleet.read(kafka.documents[0])) > before

                await until(moved, lambda: "nothing is put back")
            finally:
                process.send_signal(signal.SIGKILL)
                await asyncio.to_thread(process.wait)
        left = (await asked(fleet, "dead-letters", "replay"))["replayed"]
        assert left < many
        documents = await fleet.read(kafka.documents[0])
        assert Counter(each.value for each in documents) == Counter(b"%d" % n for n in range(many))
        assert (await asked(fleet, "dead-letters", "list"))["replayed"] == many


def _letter(topic: str, number: int) -> Outgoing:
    value = b"%d" % number
    where = Coordinates(topic, number % PARTITIONS, number)
    return dead(DeadLetter(Record(where, value), Reason.INVALID_JSON, "no JSON"))


async def test_a_letter_from_elsewhere_is_not_put_anywhere(servers: str, state: Path, tmp_path: Path) -> None:
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state) as fleet:
        kafka = fleet.config.kafka
        headers = [("askance-topic", b"__consumer_offsets"), ("askance-partition", b"0"), ("askance-offset", b"0")]
        headers += [("askance-reason", b"invalid_json"), ("askance-detail", b"")]
        async with producer(kafka, None) as client:
            await asyncio.gather(*await send(client, kafka.dead_letters, 0, [Outgoing(None, b"x", headers, None)]))
        done = await asyncio.to_thread(askance, fleet, "dead-letters", "replay")
        assert done.returncode == 2
        assert "__consumer_offsets" in done.stderr
        assert re.search("--into", done.stderr)
