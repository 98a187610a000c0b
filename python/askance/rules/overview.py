"""What the ledger and the registry say of a run, window by window and version by version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from askance.report import RunReport, VersionRow, Window
from askance.rules.estimate import estimate_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.manifest import Manifest
    from askance.records import Judged, Tally


_OPEN = ("pending", "asked")


def asked(judged: Sequence[Judged]) -> int:
    """Of the queries those that the teacher was asked about: neither waiting nor answered by a near-duplicate."""
    return sum(row.status not in _OPEN and row.likeness is None for row in judged)


def run_report(
    manifests: Sequence[Manifest],
    live: str | None,
    tallies: Sequence[Tally],
    judged: Sequence[Judged],
) -> RunReport:
    """What the page says of the run; the live version's agreement is the stream's, by its labels."""
    found = estimate_window(tallies, judged, (), version=live) if live else None
    starts = sorted({tally.first_offset for tally in tallies})
    windows = []
    for place, start in enumerate(starts):
        end = starts[place + 1] if place + 1 < len(starts) else None
        documents = sum(tally.documents for tally in tallies if tally.first_offset == start)
        accepted = sum(
            row.coordinates.offset >= start and (end is None or row.coordinates.offset < end) for row in judged
        )
        windows.append(Window(start=start, documents=documents, accepted=accepted))
    rows = []
    for manifest in manifests:
        mine = [tally for tally in tallies if tally.version == manifest.version]
        rows.append(
            VersionRow(
                version=manifest.version,
                trained_on=manifest.trained_on,
                held_out=manifest.held_out,
                agreement=manifest.agreement,
                promoted=manifest.verdict.promoted,
                why=manifest.verdict.why,
                live_from=min((tally.first_offset for tally in mine), default=None),
                answered=sum(tally.documents for tally in mine),
            )
        )
    about = ["Made by askance report from the ledger and the registry of the run."]
    if found is not None and found.documents:
        share_of = f"{found.answered:.1%} of its queries have a valid label"
        about.append(
            f"The live version answered {found.documents:,} documents; {share_of}, the others are taken alike."
        )
    return RunReport(
        title="askance report",
        about=tuple(about),
        documents=sum(tally.documents for tally in tallies),
        teacher_calls=asked(judged),
        pending=sum(row.status in _OPEN for row in judged),
        seconds=0.0,
        budget_share=None,  # The state does not say what the run's flags were.
        accuracy=None,
        agreement=found.agreement if found else None,
        windows=tuple(windows),
        versions=tuple(rows),
    )
