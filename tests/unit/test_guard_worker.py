"""The guard worker: it takes a bad live version back once, keeps a good one, and tells each drift once."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from askance.errors import RegistryError
from askance.manifest import Estimate, FeaturizerConfig, Manifest, Verdict
from askance.telemetry import Telemetry
from askance.workers.guard import GuardWorker, Limits, look_after
from tests.simulated import stream
from tests.unit.test_window import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from askance.records import Judged, Tally

LIMITS = Limits(tolerance=0.02, jump=0.3, documents=1024, drift=0.1, miss=0.01)
GOOD = stream(classes=5, rate=0.1, documents=8_000, signal=4.0)
BAD = stream(classes=5, rate=0.1, documents=8_000, signal=2.2, seed=1)


class World:
    """A ledger and a registry in one: v1 came before v2, which is live."""

    def __init__(
        self,
        tallies: Sequence[Tally],
        judged: Sequence[Judged],
        *,
        former: bool = True,
        difference: Estimate | None = None,
        labels: tuple[str, ...] = ("a", "b"),
    ) -> None:
        self._tallies = tallies
        self._judged = judged
        self._former = former
        self._difference = difference
        self._labels = labels
        self.live = "v2"
        self.rolled_back: list[str | None] = []
        self.said: dict[int, str] = {}

    block = 512
    """As `run` counts them."""

    def texts(self, topic: str, partition: int, offsets: range) -> Mapping[int, str]:
        assert (topic, partition) == ("t", 0)
        return {offset: text for offset, text in self.said.items() if offset in offsets}

    def tallies(self) -> Sequence[Tally]:
        return self._tallies

    def judged(self, *, since: int, newest: int, versions: Sequence[str]) -> Sequence[Judged]:
        rows = [row for row in self._judged if row.coordinates.offset >= since and row.version in versions]
        return rows[-newest:]

    def current(self) -> str:
        return self.live

    def manifest(self, version: str) -> Manifest:
        return Manifest(
            version=version,
            created_at="2026-01-01T00:00:00Z",
            student="logistic",
            labels=self._labels if version == "v2" else ("a", "b"),
            temperature=1.0,
            featurizer=FeaturizerConfig(),
            featurizer_digest="",
            parent="v1",
            trained_on=100,
            held_out=20,
            training_digest="",
            parity_error=0.0,
            agreement=Estimate(value=0.85, low=0.82, high=0.88, documents=300, effective=200.0),
            verdict=Verdict(promoted=True, why="because", difference=self._difference),
            files={},
            label_set=1 if self._labels == ("a", "b") else 2,
        )

    def rollback(self, *, of: str | None = None) -> str:
        self.rolled_back.append(of)
        if not self._former:
            raise RegistryError("nothing to roll back to")
        self.live = "v1"
        return self.live


def guard(world: World, limits: Limits = LIMITS) -> tuple[GuardWorker, Telemetry]:
    telemetry = Telemetry()
    return GuardWorker(ledger=world, registry=world, limits=limits, telemetry=telemetry), telemetry  # type: ignore[arg-type]


def test_a_bad_version_is_taken_back_once_and_only_if_it_is_still_live(caplog: pytest.LogCaptureFixture) -> None:
    world = World(*run(BAD, 0, version="v2"))
    worker, telemetry = guard(world)
    with caplog.at_level(logging.WARNING):
        worker.look()
        worker.look()
    assert world.rolled_back == ["v2"]
    assert telemetry.value("askance_rollbacks_total") == 1
    assert "version v2 is taken back, v1 is live again: live agreement is" in caplog.text


def test_a_good_version_stays() -> None:
    world = World(*run(GOOD, 0, version="v2"))
    guard(world)[0].look()
    assert world.rolled_back == []


def test_where_there_is_nothing_to_go_back_to_it_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(*run(BAD, 0, version="v2"), former=False)
    worker, telemetry = guard(world)
    with caplog.at_level(logging.WARNING):
        worker.look()
        worker.look()
    assert len(world.rolled_back) == 1
    assert telemetry.value("askance_rollbacks_total") == 0
    assert caplog.text.count("nothing is there to go back to") == 1


def test_a_jump_is_measured_against_the_parent() -> None:
    tallies, judged = run(GOOD, 0, version="v2")
    former = [msgspec.structs.replace(tally, version="v1", predicted={"0": tally.documents}) for tally in tallies]
    world = World([*former, *tallies], judged)
    guard(world)[0].look()
    assert world.rolled_back == ["v2"]
    better = World([*former, *tallies], judged, difference=Estimate(0.05, 0.02, 0.08, 300, 200.0))
    guard(better)[0].look()
    assert better.rolled_back == []


def test_a_version_with_a_new_class_is_meant_to_answer_differently() -> None:
    tallies, judged = run(GOOD, 0, version="v2")
    former = [msgspec.structs.replace(tally, version="v1", predicted={"0": tally.documents}) for tally in tallies]
    world = World([*former, *tallies], judged, labels=("a", "b", "c"))
    guard(world)[0].look()
    assert world.rolled_back == []


def test_drift_is_told_once() -> None:
    tallies, judged = run(GOOD, 0, version="v2")
    shifted = [
        msgspec.structs.replace(tally, predicted={"0": tally.documents}, first_offset=tally.first_offset + 8000)
        for tally in tallies
    ]
    world = World([*tallies, *shifted], judged)
    worker, telemetry = guard(world)
    worker.look()
    found = telemetry.value("askance_drift_alarms_total", kind="predictions")
    worker.look()
    assert found >= 1
    assert telemetry.value("askance_drift_alarms_total", kind="predictions") == found


def test_a_class_that_comes_to_mean_something_else_is_told_with_its_evidence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tallies, judged = run(GOOD, 0, version="v2")
    exchanged = {"0": "1", "1": "0"}
    swapped = [
        msgspec.structs.replace(row, label=exchanged.get(row.label or "", row.label))
        if row.coordinates.offset >= 3584
        else row
        for row in judged
    ]
    limits = LIMITS._replace(documents=3584)
    world = World(tallies, judged)
    worker, telemetry = guard(world, limits)
    worker.look()
    assert telemetry.value("askance_drift_alarms_total", kind="agreement") == 0
    world = World(tallies, swapped)
    worker, telemetry = guard(world, limits)
    with caplog.at_level(logging.WARNING):
        worker.look()
    assert telemetry.value("askance_drift_alarms_total", kind="agreement") >= 1
    assert telemetry.value("askance_drift_alarms_total", kind="predictions") == 0
    assert "drift of the agreement after" in caplog.text


def test_other_words_are_told_and_labels_to_come_are_waited_for() -> None:
    limits = LIMITS._replace(documents=3072)
    tallies, judged = run(stream(classes=5, rate=0.1, documents=24_000, signal=4.0), 0, version="v2")
    waiting = [msgspec.structs.replace(row, status="pending", label=None) for row in judged]
    # The third window has other words.
    said = {row.coordinates.offset: "four" if row.coordinates.offset >= 2 * 3072 else "one two" for row in judged}

    def told(worker: GuardWorker, telemetry: Telemetry) -> float:
        worker.look()
        return telemetry.value("askance_drift_alarms_total", kind="vocabulary")

    world = World(tallies[:20], waiting)
    world.said = said
    watched = guard(world, limits)
    assert told(*watched) == 0
    world._judged = judged
    assert told(*watched) == 1
    assert told(*watched) == 1
    # Labels that never come are not waited for for ever.
    world = World(tallies, waiting)
    world.said = said
    assert told(*guard(world, limits)) == 1


def test_of_a_long_life_only_the_newest_queries_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = run(GOOD, 0, version="v2"), run(BAD, 0, version="v2")
    # It was bad once, too long ago to be read any more; what is counted is cut off with it.
    later = [msgspec.structs.replace(tally, first_offset=tally.first_offset + 8192) for tally in good[0]]
    rows = [
        msgspec.structs.replace(row, coordinates=row.coordinates._replace(offset=row.coordinates.offset + 8192))
        for row in good[1]
    ]
    world = World([*bad[0], *later], [*bad[1], *rows])
    guard(world)[0].look()
    assert world.rolled_back == ["v2"]
    monkeypatch.setattr("askance.workers.guard._MOST_ROWS", len(rows) - 100)
    world = World([*bad[0], *later], [*bad[1], *rows])
    guard(world)[0].look()
    assert world.rolled_back == []
    world = World([*later, *bad[0]], [*rows, *bad[1]])
    guard(world)[0].look()
    assert world.rolled_back == ["v2"]


def test_it_ends_when_it_is_told_to() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        stop.set()
        await asyncio.wait_for(look_after([guard(World([], []))[0].look], stop=stop, interval_seconds=1000.0), 5)

    asyncio.run(main())
