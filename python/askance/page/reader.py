"""Reads what the ledger and the registry say of a run. Blocking.

Owns the promise that the page costs the ledger little: what takes a look at every label is read again only when
something has changed, and at most a fifth of the time goes into it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from askance.page.figures import (
    Cap,
    ClassFigures,
    Disagreement,
    Learned,
    SpendFigures,
    Standing,
    VersionFigures,
)
from askance.rules.estimate import estimate_window
from askance.rules.overview import run_report
from askance.rules.tally import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from askance.calls import Caps, Spend
    from askance.manifest import Estimate, Manifest
    from askance.protocols import Ledger, Registry
    from askance.records import Judged, LabelCounts, Tally

_LEARNING_PART = 0.2
_DISAGREEMENTS = 30
# Of so many newest labels those that disagree are shown.
_SEARCHED = 1_000
_TEXT_CHARACTERS = 400
_PERIODS = ("run", "day", "total")
_UNITS = (("calls", "calls"), ("tokens", "tokens"), ("money", "nanos"))


class Reader:
    """Of one state; `clock` (monotonic) measures what reading takes, `unix_time` says which day it is.

    A ledger that `is_view` was filled from topics, which say neither how many documents there were nor what was spent.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        registry: Registry,
        *,
        caps: Caps,
        shows_texts: bool,
        is_view: bool,
        clock: Callable[[], float],
        unix_time: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._caps = caps
        self._shows_texts = shows_texts
        self._is_view = is_view
        self._clock = clock
        self._unix_time = unix_time
        self._learned = Learned()
        self._learned_of: object = None
        self._due = clock()
        self._estimates: dict[str, tuple[object, Estimate | None]] = {}

    def read(self) -> Standing:
        """Where things stand; raises `AskanceError`."""
        ledger, live = self._ledger, self._registry.current()
        if ledger is None:
            self._learn(live, None, None)
            return Standing(live=live, learned=self._learned)
        counts, progress = ledger.counts(), list(ledger.progress().values())
        documents = sum(partition.documents for partition in progress)
        self._learn(live, counts, documents)
        counted = not self._is_view
        return Standing(
            live=live,
            documents=documents if counted else None,
            accepted=sum(partition.accepted for partition in progress) if counted else None,
            dead_letters=sum(partition.dead_letters for partition in progress) if counted else None,
            labels=counts,
            teacher_state=ledger.teacher_state(self._unix_time()),
            spend=self._spend(ledger) if counted else None,
            learned=self._learned,
        )

    def _spend(self, ledger: Ledger) -> SpendFigures:
        total = ledger.spent()
        day = datetime.fromtimestamp(self._unix_time(), UTC).date().isoformat()
        spent: dict[str, Spend] = {"run": ledger.spent("run"), "day": ledger.spent(f"day {day}"), "total": total}
        caps = []
        for period in _PERIODS:
            limit = getattr(self._caps, period)
            for unit, field in _UNITS:
                most = getattr(limit, field)
                if most is not None:
                    caps.append(Cap(f"{period}_{unit}", unit, most, getattr(spent[period], field)))
        return SpendFigures(total.calls, total.tokens, total.nanos, tuple(caps))

    def _learn(self, live: str | None, counts: LabelCounts | None, documents: int | None) -> None:
        started = self._clock()
        if started < self._due:
            return
        challenger, manifests = self._registry.directions().challenger, self._registry.versions()
        stands = (live, counts, documents, challenger, [manifest.version for manifest in manifests])
        if stands == self._learned_of:
            return
        self._learned = self._all(live, manifests, {challenger.version: challenger.mode} if challenger else {})
        self._learned_of = stands
        now = self._clock()
        self._due = now + (now - started) / _LEARNING_PART

    def _all(self, live: str | None, manifests: Sequence[Manifest], trial: Mapping[str, str]) -> Learned:
        ledger = self._ledger
        tallies: Sequence[Tally] = ledger.tallies() if ledger else ()
        judged: Sequence[Judged] = ledger.judged() if ledger else ()
        report = run_report(manifests, live, tallies, judged)
        of_live = merged([tally for tally in tallies if tally.version == live and live is not None])
        rows = {row.version: row for row in report.versions}
        versions = tuple(
            VersionFigures(
                version=manifest.version,
                created_at=manifest.created_at,
                student=manifest.student,
                is_live=manifest.version == live,
                trial=trial.get(manifest.version),
                promoted=manifest.verdict.promoted,
                why=manifest.verdict.why,
                labels=manifest.trained_on + manifest.held_out,
                held_out=manifest.agreement,
                agreement=self._agreement(manifest.version, tallies, judged),
                answered=rows[manifest.version].answered,
                live_from=rows[manifest.version].live_from,
            )
            for manifest in reversed(manifests)
        )
        return Learned(
            versions=versions,
            windows=report.windows,
            agreement=report.agreement,
            uncertainties=of_live.uncertainties if of_live else (),
            uncertainties_of=live if of_live else None,
            classes=self._classes(ledger, manifests, tallies, judged) if ledger else (),
            disagreements=self._disagreements(ledger) if ledger else (),
        )

    def _agreement(self, version: str, tallies: Sequence[Tally], judged: Sequence[Judged]) -> Estimate | None:
        """Estimated again only when something of the version's has changed: most versions are history."""
        mine = [row for row in judged if row.version == version]
        counted = [tally for tally in tallies if tally.version == version]
        stands = (sum(tally.documents for tally in counted), len(mine), [(row.status, row.label) for row in mine])
        known = self._estimates.get(version)
        if known is None or known[0] != stands:
            known = (stands, estimate_window(counted, mine, (), version=version).agreement if mine else None)
            self._estimates[version] = known
        return known[1]

    def _classes(
        self, ledger: Ledger, manifests: Sequence[Manifest], tallies: Sequence[Tally], judged: Sequence[Judged]
    ) -> tuple[ClassFigures, ...]:
        labels = manifests[-1].labels if manifests else ()
        found = {one.label: one for one in estimate_window(tallies, judged, labels).classes}
        costs = {row.key: row.nanos for row in ledger.spend_report("label")}
        accepted: dict[str, int] = dict.fromkeys(labels, 0)
        for row in judged:
            if row.label is not None:
                accepted[row.label] = accepted.get(row.label, 0) + 1
        return tuple(
            ClassFigures(
                label=label,
                share=found[label].share if label in found else None,
                f1=found[label].f1 if label in found else None,
                accepted=count,
                nanos=None if self._is_view else costs.get(label, 0),
            )
            for label, count in accepted.items()
        )

    def _disagreements(self, ledger: Ledger) -> tuple[Disagreement, ...]:
        found = [
            Disagreement(
                *row.coordinates,
                text=row.text[:_TEXT_CHARACTERS] if self._shows_texts else None,
                predicted=row.predicted,
                label=row.label,
                version=row.version,
                uncertainty=row.uncertainty,
                propensity=row.propensity,
            )
            for row in ledger.labelled(_SEARCHED)
            if row.predicted is not None and row.predicted != row.label
        ]
        return tuple(reversed(found[-_DISAGREEMENTS:]))
