"""The train worker: when it trains, what it promotes, and that a failing or stopped training harms nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from askance.errors import RegistryUnreachableError, TrainingError
from askance.manifest import FeaturizerConfig, Manifest, Verdict
from askance.records import LabelCounts
from askance.rules.retraining import RetrainingSchedule
from askance.telemetry import Telemetry
from askance.workers.train import TrainWorker


def manifest(version: str, *, promoted: bool, labels: int) -> Manifest:
    return Manifest(
        version=version,
        created_at="2026-01-01T00:00:00Z",
        student="logistic",
        labels=("a", "b"),
        temperature=1.0,
        featurizer=FeaturizerConfig(),
        featurizer_digest="",
        parent=None,
        trained_on=labels,
        held_out=0,
        training_digest="",
        parity_error=0.0,
        agreement=None,
        verdict=Verdict(promoted=promoted, why="because"),
        files={},
    )


class World:
    """A ledger, a trainer and a registry in one: labels come as scripted, a training takes all there are."""

    def __init__(self, label_counts: list[int], *, on_train: Callable[[int], Manifest]) -> None:
        self._counts = label_counts
        self._on_train = on_train
        self.seen = 0
        self.trained: list[int] = []
        self.promoted: list[str] = []
        self.waiting: str | None = None
        self.telemetry = Telemetry()
        self.stop, self.drain = asyncio.Event(), asyncio.Event()

    def counts(self) -> LabelCounts:
        if self._counts:
            self.seen = self._counts.pop(0)
        if not self._counts:
            self.drain.set()
        return LabelCounts(labelled=self.seen)

    async def train(self) -> Manifest:
        self.trained.append(self.seen)
        return self._on_train(self.seen)

    def unpromoted(self) -> str | None:
        return self.waiting

    def promote(self, version: str) -> None:
        self.promoted.append(version)

    def pass_over(self) -> None:
        self.promoted.append("nothing else")

    async def run(self, augment: Callable[[Manifest], Awaitable[Manifest]] | None = None) -> None:
        schedule = RetrainingSchedule(first_at=10, growth=2.0, every=None, every_seconds=None, labels=0, now=0.0)
        worker = TrainWorker(
            ledger=self,  # type: ignore[arg-type]
            trainer=self,
            registry=self,  # type: ignore[arg-type]
            schedule=schedule,
            telemetry=self.telemetry,
            clock=lambda: 0.0,
            augment=augment,
        )
        await asyncio.wait_for(worker.run(stop=self.stop, drain=self.drain), 10)


def test_it_trains_by_the_schedule_promotes_what_earned_it_and_ends_with_a_last_training() -> None:
    def on_train(labels: int) -> Manifest:
        return manifest(f"v{labels}", promoted=labels != 20, labels=labels)

    world = World([0, 9, 10, 19, 20, 39], on_train=on_train)
    asyncio.run(world.run())
    assert world.trained == [10, 20, 39]
    assert world.promoted == ["v10", "v39"]
    assert world.telemetry.value("askance_trainings_total", outcome="promoted") == 2
    assert world.telemetry.value("askance_trainings_total", outcome="kept") == 1


def test_what_augmentation_makes_better_is_promoted_and_its_other_versions_never() -> None:
    async def augment(version: Manifest) -> Manifest:
        return manifest(f"{version.version}-better", promoted=True, labels=version.trained_on)

    world = World([10], on_train=lambda labels: manifest("v1", promoted=False, labels=labels))
    asyncio.run(world.run(augment))
    assert world.promoted == ["v1-better", "nothing else"]


def test_labels_that_came_while_training_are_not_trained_on_twice() -> None:
    world = World([10, 12], on_train=lambda _: manifest("v1", promoted=True, labels=12))
    asyncio.run(world.run())
    assert world.trained == [10]


def test_a_failed_training_is_counted_and_not_repeated_with_the_same_labels() -> None:
    def on_train(labels: int) -> Manifest:
        msg = "only one class"
        raise TrainingError(msg)

    world = World([10, 10, 10, 10], on_train=on_train)
    asyncio.run(world.run())
    assert world.trained == [10]
    assert world.promoted == []
    assert world.telemetry.value("askance_trainings_total", outcome="failed") == 1


def test_stop_gives_up_the_training_under_way() -> None:
    world = World([10], on_train=lambda labels: manifest("v", promoted=True, labels=labels))
    cancelled = asyncio.Event()

    async def endless() -> Manifest:
        world.stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    world.train = endless  # type: ignore[method-assign]
    asyncio.run(world.run())
    assert cancelled.is_set()
    assert world.promoted == []


def test_a_version_that_a_crash_left_unpromoted_is_promoted_first() -> None:
    world = World([0], on_train=lambda labels: manifest("v", promoted=True, labels=labels))
    world.waiting = "v7"
    asyncio.run(world.run())
    assert world.promoted == ["v7"]


def test_a_version_waits_while_the_registry_is_away_and_is_promoted_when_it_is_back() -> None:
    world = World([10, 10, 10], on_train=lambda labels: manifest("v1", promoted=True, labels=labels))
    promote, tries = world.promote, 0

    def away_twice(version: str) -> None:
        nonlocal tries
        world.waiting = version
        tries += 1
        if tries <= 2:
            msg = "away"
            raise RegistryUnreachableError(msg)
        promote(version)

    world.promote = away_twice  # type: ignore[method-assign]
    asyncio.run(world.run())
    assert (world.trained, world.promoted) == ([10], ["v1"])


def test_what_is_no_training_error_is_not_swallowed() -> None:
    def on_train(labels: int) -> Manifest:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(World([10], on_train=on_train).run())
