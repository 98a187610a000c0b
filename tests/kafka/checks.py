"""What must hold of a stream once it is done, read back from the broker."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from deploy.kafka.broker import DEFAULT_VERSION, BrokerMissingError, jars
from tests.kafka.fleet import COMMAND, environment
from tests.kafka.stream import is_poison, record

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from tests.kafka.fleet import Fleet

Place = tuple[int, int]
"""(partition, offset) of a document."""


async def check(fleet: Fleet) -> None:
    """Every promise of the stream's delivery mode; the workers have ended."""
    kafka = fleet.config.kafka
    documents = await fleet.read(kafka.documents[0])
    predictions = await fleet.read(kafka.predictions)
    queries = await fleet.read(kafka.queries)
    dead = await fleet.read(kafka.dead_letters)
    given = {(each.partition, each.offset): each for each in documents}
    assert len(given) == fleet.fed
    assert {_content(each) for each in documents} == {tuple(record(number)) for number in range(fleet.fed)}

    answered = _by_document(predictions)
    asked = _by_document(queries)
    letters: defaultdict[Place, list[ConsumerRecord]] = defaultdict(list)
    for each in dead:
        letters[_origin(each)].append(each)

    poison = sum(is_poison(number) for number in range(fleet.fed))
    assert len(letters) == poison
    assert len(answered) == fleet.fed - poison
    assert answered.keys() | letters.keys() == given.keys(), "something was lost"
    for place, each in ((place, each) for place, several in letters.items() for each in several):
        assert (each.key, each.value) == (given[place].key, given[place].value)
        assert each.headers[: len(given[place].headers)] == given[place].headers
    for place, each in ((place, each) for place, several in answered.items() for each in several):
        assert (each.key, each.headers) == (given[place].key, given[place].headers)
        assert each.timestamp == given[place].timestamp

    accepted = {
        place for place, several in answered.items() if any(json.loads(each.value)["accepted"] for each in several)
    }
    if kafka.delivery == "exactly_once":
        assert _repeated(answered) == {}
        assert _repeated(letters) == {}
        assert _repeated(asked) == {}
        assert asked.keys() == accepted
        for place, [query] in asked.items():
            [prediction] = answered[place]
            _is_of(json.loads(query.value), json.loads(prediction.value))
    else:
        assert accepted <= asked.keys()
        for several in answered.values():
            _duplicates_agree([json.loads(each.value) for each in several])
    assert accepted, "nobody was asked: nothing is proven of queries"

    offsets_never_go_back(await fleet.commits())
    await asyncio.to_thread(_replays, fleet, predictions)
    await asyncio.to_thread(_counted_by_another, fleet, len(predictions), len(queries), len(dead))


def offsets_never_go_back(commits: list[Any]) -> None:
    """Of each partition, in the order in which the broker took the commits."""
    last: dict[tuple[str, int], int] = {}
    for topic, partition, offset in commits:
        before = last.get((topic, partition), 0)
        assert offset >= before, f"{topic}/{partition} went back from {before} to {offset}"
        last[topic, partition] = offset
    assert last


def _duplicates_agree(several: list[dict[str, Any]]) -> None:
    """One coin whatever happens; under one version, with a budget that has no memory, the very same prediction."""
    assert len({(each["id"], each["seed"]) for each in several}) == 1
    by_version: dict[str, dict[str, Any]] = {}
    for each in several:
        assert by_version.setdefault(each["version"], each) == each


def _is_of(query: dict[str, Any], prediction: dict[str, Any]) -> None:
    """A query carries the prediction that was made with it."""
    assert query["coordinates"] == [prediction["topic"], prediction["partition"], prediction["offset"]]
    for field in ("uncertainty", "propensity", "version", "seed", "confidence"):
        assert query[field] == prediction[field]
    assert (query["document_id"], query["predicted"]) == (prediction["id"], prediction["label"])


def _content(each: ConsumerRecord) -> tuple[Any, ...]:
    return (each.key, each.value, each.headers)


def _by_document(records: list[ConsumerRecord]) -> dict[Place, list[ConsumerRecord]]:
    found: defaultdict[Place, list[ConsumerRecord]] = defaultdict(list)
    for each in records:
        value = json.loads(each.value)
        # A query names its document's coordinates as one field, a prediction as three.
        _, *place = value.get("coordinates") or (value["topic"], value["partition"], value["offset"])
        found[place[0], place[1]].append(each)
    return dict(found)


def _origin(each: ConsumerRecord) -> Place:
    headers = dict(each.headers)
    return int(headers["askance-partition"]), int(headers["askance-offset"])


def _repeated(found: dict[Place, list[ConsumerRecord]]) -> dict[Place, int]:
    return {place: len(several) for place, several in found.items() if len(several) != 1}


def _replays(fleet: Fleet, predictions: list[ConsumerRecord]) -> None:
    path = fleet.folder / "predictions.jsonl"
    path.write_bytes(b"".join(each.value + b"\n" for each in predictions))
    done = subprocess.run(
        [*COMMAND, "replay", str(path)], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _counted_by_another(fleet: Fleet, predictions: int, queries: int, dead: int) -> None:
    """Kafka's own console consumer, reading what is committed, sees as many."""
    try:
        classpath = jars(DEFAULT_VERSION)
    except BrokerMissingError:  # a broker of somebody else's, and no Java here
        return
    kafka = fleet.config.kafka
    done = subprocess.run(
        ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{classpath}/*",
         "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", kafka.bootstrap.servers or "",
         "--include", f"{fleet.name}[.](predictions|queries|dead-letters)", "--from-beginning",
         "--isolation-level", "read_committed", "--timeout-ms", "10000"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert f"Processed a total of {predictions + queries + dead} messages".encode() in done.stderr, done.stderr[-1000:]
    seen = Counter(
        b"prediction" if b'"accepted":' in line else b"query"
        for line in done.stdout.splitlines()
        if b'"propensity":' in line
    )
    assert seen == Counter({b"prediction": predictions, b"query": queries})
