"""The rollout worker: who is calibrated, what a broken contract takes back, and how trials on the live stream end."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from askance.directions import Calibration, Challenger, Directions
from askance.records import Coordinates, Judged, Tally
from askance.telemetry import Telemetry
from askance.workers.rollout import RolloutWorker, Terms, Trials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from askance.rules.promotion import PromotionRule

TERMS = Terms(target=0.95, miss=0.05, audit_share=0.1, labels=100)


class World:
    """A ledger and a registry in one; `run` streams documents through whatever is told at that moment."""

    def __init__(self, live: str | None = "v1") -> None:
        self.live = live
        self.told = Directions()
        self.waiting: str | None = None
        self.promoted: list[str] = []
        self.rows: list[Judged] = []
        self.counted: list[Tally] = []
        self.surest = {True: 0.75, False: 1.0}
        """By whether the answer is wrong; nobody is less sure than 0.5."""
        self._rng = np.random.default_rng(0)
        self._offset = 0

    def current(self) -> str | None:
        return self.live

    def directions(self) -> Directions:
        return self.told

    def direct(self, change: Callable[[Directions], Directions]) -> Directions:
        self.told = change(self.told)
        return self.told

    def promote(self, version: str) -> None:
        self.live = version
        self.promoted.append(version)

    def unpromoted(self) -> str | None:
        return self.waiting

    def manifest(self, version: str) -> SimpleNamespace:
        assert version in {"v1", "v2", "v3"}
        return SimpleNamespace(label_set=1, labels=("a", "b"), renamed={})

    def tallies(self, *, shadow: bool = False) -> Sequence[Tally]:
        return [tally for tally in self.counted if tally.is_shadow == shadow]

    def judged(self, *, versions: Sequence[str]) -> Sequence[Judged]:
        return [row for row in self.rows if {row.version, row.shadow_version} & {*versions}]

    def run(self, documents: int, *, q: float | None = None, silent: int = 0, **agreement: float) -> None:
        """`agreement` of each version's answers with the teacher; a version below its threshold is always asked."""
        on_trial, threshold = self.told.challenger, None
        versions = [self.live or ""]
        if on_trial is not None:
            versions.append(on_trial.version)
        is_shadow = on_trial is not None and on_trial.mode == "shadow"
        first = self._offset
        counts = dict.fromkeys(versions, 0)
        believed = dict.fromkeys(versions, 0.0)
        for _ in range(documents):
            self._offset += 1
            canary = on_trial is not None and not is_shadow and self._rng.random() < on_trial.share
            version = versions[canary]
            wrong = {one: self._rng.random() >= agreement[one] for one in versions}
            sure = {one: self._rng.uniform(0.5, self.surest[wrong[one]]) for one in versions}
            for one in versions if is_shadow else (version,):
                counts[one] += 1
                believed[one] += sure[one]
            threshold = self.told.threshold(version)
            drawn = q if q is not None else 0.1 if threshold is not None and sure[version] >= threshold else 1.0
            if self._rng.random() >= drawn:
                continue
            row = Judged(Coordinates("t", 0, self._offset), "d", "b" if wrong[version] else "a", version, drawn,
                         sure[version], "labelled", "a", threshold=threshold)  # fmt: skip
            if is_shadow:
                other = versions[1]
                row = msgspec.structs.replace(
                    row,
                    shadow_version=other,
                    shadow_predicted="b" if wrong[other] else "a",
                    shadow_confidence=sure[other],
                )
            self.rows.append(row)
        self.counted += [
            Tally(first, version, number, 0, believed[version], (number,), {"a": number - silent * (place == 1)},
                  is_shadow=is_shadow and place == 1, topic="t")
            for place, (version, number) in enumerate(counts.items())
        ]  # fmt: skip


def rollout(
    world: World,
    mode: str = "direct",
    *,
    terms: Terms | None = None,
    rule: PromotionRule = "unless_worse",
) -> tuple[RolloutWorker, Telemetry]:
    telemetry = Telemetry()
    trials = Trials(mode=mode, documents=1_000, canary_share=0.3, rule=rule)  # type: ignore[arg-type]
    return RolloutWorker(ledger=world, registry=world, trials=trials, terms=terms, telemetry=telemetry), telemetry  # type: ignore[arg-type]


def test_a_version_is_calibrated_once_it_has_the_labels() -> None:
    world = World()
    worker, _ = rollout(world, terms=TERMS)
    world.run(90, v1=0.99)
    worker.look()
    assert world.told.calibrations == {}
    world.run(310, v1=0.99)
    worker.look()
    calibration = world.told.calibrations["v1"]
    assert (calibration.labels, calibration.documents, calibration.queries) == (400, 400, 400)
    assert calibration.threshold == world.told.threshold("v1") < 0.6


def test_a_broken_contract_is_taken_back_and_only_later_labels_bring_it_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    worker, telemetry = rollout(world, terms=TERMS)
    world.run(400, v1=0.99)
    worker.look()
    world.run(1_000, v1=0.99)
    worker.look()
    assert "v1" in world.told.calibrations
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            world.run(500, v1=0.6)
            worker.look()
            if "v1" not in world.told.calibrations:
                break
    assert world.told.threshold("v1") is None
    assert telemetry.value("askance_contracts_broken_total") == 1
    assert "does not keep the contract" in caplog.text
    worker.look()
    assert world.told.threshold("v1") is None, "what it was calibrated with before counts no more"
    world.run(400, v1=0.99)
    worker.look()
    assert world.told.threshold("v1") is not None


def test_without_a_contract_a_direct_rollout_asks_nobody() -> None:
    world = World()
    worker, _ = rollout(world)
    assert worker.begin("v2")
    assert world.live == "v2"
    worker.look()
    assert world.told == Directions()


@pytest.mark.parametrize("live", [None, "v1"])
def test_the_first_version_waits_for_nobody_least_of_all_itself(live: str | None) -> None:
    # A registry without a pointer takes the newest version that was found fit for the live one.
    world = World(live)
    worker, _ = rollout(world, "shadow", terms=TERMS)
    assert worker.begin("v1")
    assert world.promoted == ["v1"]


@pytest.mark.parametrize("mode", ["shadow", "canary"])
def test_a_better_challenger_is_promoted_and_a_worse_one_is_not(mode: str) -> None:
    for agreement, promoted in ((0.95, True), (0.6, False)):
        world = World()
        worker, _ = rollout(world, mode, rule="improves")
        assert not worker.begin("v2")
        assert world.told.challenger == Challenger("v2", mode, 0.3 if mode == "canary" else 0.0)  # type: ignore[arg-type]
        world.run(500, q=0.4, v1=0.8, v2=agreement)
        worker.look()
        assert world.told.challenger is not None, "one look, when the documents are there"
        world.run(4_000, q=0.4, v1=0.8, v2=agreement)
        worker.look()
        assert world.promoted == (["v2"] if promoted else [])
        assert world.told.challenger is None
        [ended] = world.told.rollouts
        assert (ended.version, ended.mode, ended.promoted) == ("v2", mode, promoted)
        assert ended.difference is not None
        assert ended.difference.low <= agreement - 0.8 <= ended.difference.high
        if not promoted:
            assert not worker.begin("v2"), "it has had its trial"
            assert world.told.challenger is None


def test_a_challenger_that_scores_no_numbers_is_dropped_at_once() -> None:
    world = World()
    worker, _ = rollout(world, "shadow")
    worker.begin("v2")
    world.run(50, q=0.5, v1=0.8, v2=0.9, silent=3)
    worker.look()
    assert world.promoted == []
    assert "non-finite scores for 3 of 50" in world.told.rollouts[0].why


def test_trials_are_held_one_at_a_time_and_the_newest_that_waits_is_next() -> None:
    world = World()
    worker, _ = rollout(world, "shadow")
    worker.begin("v2")
    assert not worker.begin("v3")
    world.waiting = "v3"
    assert world.told.challenger is not None
    assert world.told.challenger.version == "v2"
    world.run(4_000, q=0.4, v1=0.8, v2=0.5)
    worker.look()
    assert world.promoted == []
    assert world.told.challenger == Challenger("v3", "shadow")


def test_a_version_that_a_person_promoted_is_on_trial_no_more() -> None:
    world = World()
    worker, _ = rollout(world, "canary")
    worker.begin("v2")
    world.live = "v2"
    worker.look()
    assert world.told.challenger is None
    assert world.told.rollouts[0].promoted


def test_under_a_contract_a_shadow_comes_calibrated_or_not_at_all() -> None:
    world = World()
    worker, _ = rollout(world, "shadow", terms=TERMS)
    world.told = Directions(calibrations={"v1": Calibration(0.8, 0.4, 0.0, 400)})
    worker.begin("v2")
    world.run(2_500, v1=0.95, v2=0.995)
    worker.look()
    assert world.promoted == ["v2"]
    calibration = world.told.calibrations["v2"]
    assert calibration.documents == 0, "it has answered nothing yet"
    assert calibration.served > 0.9
    world = World()
    worker, _ = rollout(world, "shadow", terms=TERMS)
    world.told = Directions(calibrations={"v1": Calibration(0.501, 0.999, 0.0, 400)})
    worker.begin("v2")
    for _ in range(4):
        world.run(1_500, v1=0.98, v2=0.98)
        worker.look()
    assert world.promoted == []
    assert "by itself, v1 99.9%" in world.told.rollouts[0].why


def test_under_a_contract_the_next_version_waits_until_the_live_one_has_had_its_labels() -> None:
    world = World()
    world.surest = {True: 0.5, False: 0.5}
    worker, _ = rollout(world, "shadow", terms=TERMS)
    world.run(50, v1=0.7)
    assert not worker.begin("v2")
    world.waiting = "v2"
    worker.look()
    assert world.live == "v1"
    # v1 is as sure of what is wrong as of the rest, so nothing shows that it may answer: no answer is at stake.
    world.run(150, v1=0.7)
    worker.look()
    assert world.live == "v2"
