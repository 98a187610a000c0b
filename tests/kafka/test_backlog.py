"""What the group of `teach` says of its lanes: never less than before, and what `classify` learns from it."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from askance.calls import Order, Settlement, Spend
from askance.codec import encode_query
from askance.ledger.view import ViewLedger
from askance.records import Answer, Coordinates, Label, Outcome, Query
from askance.stream.kafka import queries
from askance.stream.kafka.backlog import TeacherBacklog
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.queries import group_of_teach
from tests.kafka.checks import offsets_never_go_back
from tests.kafka.fleet import Fleet, commits_of
from tests.kafka.readback import until
from tests.kafka.test_fencing import PARTITIONS, filled
from tests.kafka.test_shares import patient, teaching

if TYPE_CHECKING:
    from pathlib import Path

    from askance.config import KafkaConfig

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

QUERIES = 40


def query(number: int) -> Query:
    return Query(Coordinates("t", 0, number), f"d{number}", f"text {number}", None, None, 1.0, 1.0, None, 0)


def answer(ledger: ViewLedger, most: int) -> int:
    """Label so many queries of the owned lanes; returns how many there were."""
    calls = ledger.reserve(Order(calls=most, now=1.0), lambda _: Spend(1)).calls
    for call in calls:
        [asked] = call.queries
        label = Label(asked.coordinates, Outcome.LABELLED, "b", "test", Answer("b"), 0.0)
        ledger.settle([Settlement(call.number, (label,))])
    return len(calls)


async def put(config: KafkaConfig, count: int) -> None:
    """Queries on lane 0, each in a transaction of its own, which takes an offset too."""
    async with producer(config, "classify") as client:
        for number in range(count):
            async with client.transaction():
                outgoing = [Outgoing(None, encode_query(query(number)), (), None)]
                await asyncio.gather(*await send(client, config.queries, 0, outgoing))


async def until_waiting(backlog: TeacherBacklog, count: int) -> None:
    found = -1

    async def so_many() -> bool:
        nonlocal found
        found = await backlog.waiting()
        return found == count

    await until(so_many, lambda: f"{found} queries wait, not {count}")


async def test_the_broker_tells_how_many_queries_wait(servers: str, tmp_path: Path) -> None:
    config = patient(await filled(servers, "exactly_once"), 10_000)
    backlog = TeacherBacklog(config)
    assert await backlog.waiting() == 0
    await put(config, QUERIES)
    # No `teach` ever ran; the ends of transactions count too, once the broker has written the last one.
    await until_waiting(backlog, 2 * QUERIES)
    with closing(ViewLedger(tmp_path / "ledger.db")) as ledger:
        async with teaching(config, ledger):
            # What is read is not yet done.
            await until_waiting(backlog, QUERIES)
            assert answer(ledger, 15) == 15
            await until_waiting(backlog, QUERIES - 15)
            assert answer(ledger, QUERIES) == QUERIES - 15
            await until_waiting(backlog, 0)
    await backlog.aclose()
    offsets_never_go_back(await commits_of(servers, group_of_teach(config)))


async def test_a_ledger_that_has_read_less_moves_no_offset_back(
    servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes to a lane with a label to publish long before it has read what the lane's former owner had."""
    config = patient(await filled(servers, "exactly_once"), 10_000)
    await put(config, QUERIES)
    backlog = TeacherBacklog(config)
    with closing(ViewLedger(tmp_path / "former.db")) as ledger:
        async with teaching(config, ledger):
            await until_waiting(backlog, QUERIES)
            assert answer(ledger, QUERIES - 1) == QUERIES - 1
            await until_waiting(backlog, 1)
    monkeypatch.setattr(queries, "_MOST_RECORDS", 1)
    with closing(ViewLedger(tmp_path / "heir.db")) as ledger:
        ledger.lanes, ledger.owned = PARTITIONS, frozenset({0})
        ledger.ingest([query(QUERIES - 1)], [], {(config.queries, 0): 2})
        assert answer(ledger, 1) == 1
        ledger.owned = frozenset()
        async with teaching(config, ledger):
            await until_waiting(backlog, 0)
    await backlog.aclose()
    offsets_never_go_back(await commits_of(servers, group_of_teach(config)))


async def test_the_gate_of_a_classify_by_itself_closes_and_opens(servers: str, state: Path, tmp_path: Path) -> None:
    async def accepted(first: int, last: int) -> int:
        found = [json.loads(each.value) for each in await fleet.read(fleet.config.kafka.predictions)]
        ours = [each for each in found if first <= int(each["id"][1:]) < last]
        assert [each["propensity"] for each in ours if not each["accepted"]] == [0.0] * sum(
            not each["accepted"] for each in ours
        )
        return sum(each["accepted"] for each in ours)

    async with Fleet(
        servers, tmp_path, delivery="exactly_once", state=state,
        sections={"budget": {"share": 1.0, "max_pending": 200}, "gate": {"floor": 1.0}},
    ) as fleet:  # fmt: skip
        config = patient(fleet.config.kafka, 10_000)
        fleet.start(1)
        await fleet.feed(600)
        await fleet.until_done(600)
        assert await accepted(0, 600) >= 200
        # More than it takes to look again.
        await asyncio.sleep(5.0)
        await fleet.feed(600)
        await fleet.until_done(1200)
        assert await accepted(600, 1200) == 0
        backlog = TeacherBacklog(config)
        with closing(ViewLedger(tmp_path / "ledger.db")) as ledger:
            async with teaching(config, ledger):

                async def all_read() -> bool:
                    answer(ledger, 1000)
                    return await backlog.waiting() == 0

                await until(all_read, lambda: "the queries were not read")
        await backlog.aclose()
        await asyncio.sleep(5.0)
        await fleet.feed(600)
        await fleet.until_done(1800)
        assert await accepted(1200, 1800) > 0
        await fleet.stop(1)
