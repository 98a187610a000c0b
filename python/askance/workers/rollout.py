"""Brings new versions to life by way of a trial, and keeps the agreement contract: both by live labels.

It decides on the ledger's counts and labels and tells by the registry; the data plane reads that when it gets to it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from askance.directions import Calibration, Challenger, Directions, Rollout
from askance.rules.calibration import alone, calibrate_alone, calibrate_shadow, is_broken
from askance.rules.tally import merged
from askance.rules.trial import judge_canary, judge_shadow, shadowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.directions import RolloutMode
    from askance.manifest import Verdict
    from askance.protocols import Ledger, Registry
    from askance.records import Judged, Tally
    from askance.rules.promotion import PromotionRule
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)
_PATIENCE = 4
"""A shadow that cannot be calibrated better than the live version is given so many times the documents of a trial."""


class Terms(NamedTuple):
    """The settings of `contract` that decide on a version."""

    target: float
    miss: float
    audit_share: float
    labels: int


class Trials(NamedTuple):
    """The settings of `train` that decide how a version goes live."""

    mode: RolloutMode = "direct"
    documents: int = 10_000
    canary_share: float = 0.1
    rule: PromotionRule = "unless_worse"
    margin: float = 0.005


class RolloutWorker:
    """`begin` for a version that was found fit; `look` now and then. Both block."""

    def __init__(
        self, *, ledger: Ledger, registry: Registry, trials: Trials, terms: Terms | None, telemetry: Telemetry
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._trials = trials
        self._terms = terms
        self._telemetry = telemetry

    def begin(self, version: str) -> bool:
        """Put a version on trial, or make it the champion at once; returns whether it is the champion now.

        At once: where that is configured, where there is nothing to compare with, and under a contract where the live
        version may answer nothing by itself though it had the labels to show that it may: then no answer is at stake.
        A version that has not had its labels yet, and a trial under way, are waited for.
        """
        live = self._registry.current()
        directions = self._registry.directions()
        if any(ended.version == version and not ended.promoted for ended in directions.rollouts):
            return False
        # A registry that names nobody gives the newest version that was found fit: maybe this one, never promoted yet.
        at_stake = live not in (None, version)
        if at_stake and live is not None and self._terms is not None and directions.threshold(live) is None:
            mine = [row for row in self._ledger.judged(versions=(live,)) if row.version == live]
            if len(alone(mine, directions.broken.get(live, 0))) < self._terms.labels:
                _logger.info("version %s waits: %s is being calibrated", version, live)
                return False
            at_stake = False
        if self._trials.mode == "direct" or not at_stake:
            self._registry.promote(version)
            return True
        if directions.challenger is not None:
            _logger.info("version %s waits: %s is on trial", version, directions.challenger.version)
            return False
        share = self._trials.canary_share if self._trials.mode == "canary" else 0.0
        challenger = Challenger(version, self._trials.mode, share)
        self._registry.direct(lambda before: msgspec.structs.replace(before, challenger=challenger))
        _logger.info("version %s is on trial as a %s", version, self._trials.mode)
        return False

    def look(self) -> None:
        """One look at the contract and at the trial."""
        live = self._registry.current()
        if live is None:
            return
        directions = self._registry.directions()
        challenger = directions.challenger
        if self._terms is None and challenger is None:
            return
        versions = (live,) if challenger is None else (live, challenger.version)
        tallies, rows = self._ledger.tallies(), self._ledger.judged(versions=versions)
        if self._terms is not None:
            self._keep(self._terms, live, directions, tallies, rows)
            if challenger is not None and challenger.mode == "canary":
                self._keep(self._terms, challenger.version, directions, tallies, rows)
        if challenger is not None:
            self._try(challenger, live, directions, tallies, rows)

    def _keep(
        self, terms: Terms, version: str, directions: Directions, tallies: Sequence[Tally], rows: Sequence[Judged]
    ) -> None:
        """Calibrate a version that answers, or find its contract broken."""
        mine = [row for row in rows if row.version == version]
        documents = _covered([tally for tally in tallies if tally.version == version])
        calibration = directions.calibrations.get(version)
        if calibration is not None:
            if is_broken(mine, calibration, documents=documents, target=terms.target, miss=terms.miss):
                self._break(version, mine)
            return
        labelled = alone(mine, directions.broken.get(version, 0))
        chosen = calibrate_alone(
            labelled, documents=documents, target=terms.target, miss=terms.miss, first=terms.labels
        )
        if chosen is not None:
            self._calibrate(version, msgspec.structs.replace(chosen, queries=len(mine)))
        elif len(labelled) >= terms.labels and directions.challenger is None:
            waiting = self._registry.unpromoted()
            if waiting is not None:
                self.begin(waiting)

    def _break(self, version: str, rows: Sequence[Judged]) -> None:
        labels = sum(row.threshold is None for row in rows)

        def without(before: Directions) -> Directions:
            calibrations = {name: one for name, one in before.calibrations.items() if name != version}
            return msgspec.structs.replace(before, calibrations=calibrations, broken=before.broken | {version: labels})

        self._registry.direct(without)
        self._telemetry.contracts_broken.inc()
        _logger.warning(
            "the audits show that version %s does not keep the contract: every document goes to the teacher until new "
            "labels show from which confidence on it does",
            version,
        )

    def _calibrate(self, version: str, calibration: Calibration) -> None:
        self._registry.direct(
            lambda before: msgspec.structs.replace(before, calibrations=before.calibrations | {version: calibration})
        )
        _logger.info(
            "version %s answers by itself from confidence %.4f on: about %.1f %% of the documents, %.2f %% of them all "
            "otherwise than the teacher (%d labels)",
            version,
            calibration.threshold,
            100 * calibration.served,
            100 * calibration.risk,
            calibration.labels,
        )

    def _try(
        self,
        challenger: Challenger,
        live: str,
        directions: Directions,
        tallies: Sequence[Tally],
        rows: Sequence[Judged],
    ) -> None:
        """End the trial when there is enough to decide on."""
        trials, version = self._trials, challenger.version
        if version == live:
            self._registry.direct(
                lambda before: before.ended(Rollout(version, challenger.mode, promoted=True, why="by hand"))
            )
            return
        is_shadow = challenger.mode == "shadow"
        mine = [
            tally for tally in (self._ledger.tallies(shadow=True) if is_shadow else tallies) if tally.version == version
        ]
        documents = _covered(mine)
        if (silent := documents - sum(sum(tally.predicted.values()) for tally in mine)) > 0:
            self._end(challenger, None, f"non-finite scores for {silent:,} of {documents:,} documents")
            return
        if documents < trials.documents:
            return
        # A rename improves nothing, and yet the stream is to have the labels that are asked for now.
        same = self._registry.manifest(version).label_set == self._registry.manifest(live).label_set
        rule = trials.rule if same else "unless_worse"
        if is_shadow:
            verdict = judge_shadow(rows, challenger=version, champion=live, rule=rule, margin=trials.margin)
        else:
            verdict = judge_canary(rows, tallies, challenger=version, champion=live, rule=rule, margin=trials.margin)
        if not verdict.promoted or self._terms is None or not is_shadow:
            self._end(challenger, verdict, verdict.why)
            return
        terms, champions = self._terms, directions.calibrations.get(live)
        calibration = calibrate_shadow(
            shadowed(rows, version),
            documents=documents,
            audit_share=terms.audit_share,
            target=terms.target,
            miss=terms.miss,
            first=terms.labels,
        )
        if calibration is not None and (champions is None or calibration.served >= champions.served):
            # What comes after re-verifies it: it has answered nothing yet.
            answered = _covered([tally for tally in tallies if tally.version == version])
            self._calibrate(version, msgspec.structs.replace(calibration, documents=answered))
            self._end(challenger, verdict, verdict.why)
        elif documents >= _PATIENCE * trials.documents or champions is None:
            served = f"{calibration.served:.1%}" if calibration is not None else "nothing"
            kept = f"{champions.served:.1%}" if champions is not None else "nothing"
            dropped = msgspec.structs.replace(verdict, promoted=champions is None)
            self._end(challenger, dropped, f"it may answer {served} by itself, {live} {kept}; {verdict.why}")

    def _end(self, challenger: Challenger, verdict: Verdict | None, why: str) -> None:
        promoted = verdict is not None and verdict.promoted
        if promoted:
            self._registry.promote(challenger.version)
        rollout = Rollout(
            challenger.version, challenger.mode, promoted, why, verdict.difference if verdict is not None else None
        )
        self._registry.direct(lambda before: before.ended(rollout))
        _logger.info(
            "trial of %s as a %s %s: %s", rollout.version, rollout.mode, "passed" if promoted else "failed", why
        )
        waiting = self._registry.unpromoted()
        if waiting is not None and waiting != challenger.version:
            self.begin(waiting)


def _covered(tallies: Sequence[Tally]) -> int:
    whole = merged(tallies)
    return whole.documents - whole.uncovered if whole is not None else 0
