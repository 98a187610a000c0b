"""What the demo prints when it has ended, whether the loop really closed, and the report of it.

Everything is computed from what the run left behind: the predictions file, the manifests, and two of its students.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import numpy as np

from askance.errors import AskanceError, UsageError
from askance.manifest import Estimate  # noqa: TC001 - msgspec resolves it at run time
from askance.report import ClassRow, Finding, RunReport, VersionRow, Window
from askance.rules.estimate import estimate_agreement, estimate_difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from askance.manifest import Manifest
    from askance.protocols import Student

LEAST_SWAPS = 3
"""Versions that must have answered part of the stream."""

MARGIN = 0.05
"""By so much the last version has to beat the first, in accuracy on documents the teacher never saw."""

WINDOWS = 24
"""Of equal length, on the report's time axes: some 300 of the demo's documents each."""

BATCH = 512

Line = TypeVar("Line", bound=msgspec.Struct)


class _Gold(msgspec.Struct, frozen=True):
    """A line of the demo's documents."""

    id: str
    text: str
    gold: str


class _Predicted(msgspec.Struct, frozen=True):
    """A line of the predictions file, as far as the summary needs it."""

    id: str
    label: str | None
    accepted: bool
    version: str | None
    offset: Annotated[int, msgspec.Meta(ge=0)]


class Judged(msgspec.Struct, frozen=True):
    """A document with its gold label and the prediction the stream made for it."""

    text: str
    gold: str
    label: str | None
    accepted: bool
    version: str | None

    @property
    def is_right(self) -> bool:
        """The prediction is the gold label."""
        return self.label == self.gold


class DemoSummary(msgspec.Struct, frozen=True):
    """What a demo came to."""

    documents: int
    teacher_calls: int
    seconds: float
    accuracy: Estimate | None
    """Of the predictions made in the stream's last quarter for documents the teacher was not asked about."""
    first: str | None
    last: str | None
    """The first and the last promoted version."""
    first_accuracy: Estimate | None
    last_accuracy: Estimate | None
    """Both scored afterwards on all documents the teacher was never asked about."""
    gain: Estimate | None
    """The last version's accuracy less the first's."""
    swapped_in: tuple[str, ...]
    """The versions that answered part of the stream, in the order they did."""
    findings: tuple[Finding, ...]

    @property
    def share_saved(self) -> float:
        """The part of the documents the teacher was not asked about."""
        return 1.0 - self.teacher_calls / self.documents if self.documents else 0.0

    @property
    def closed(self) -> bool:
        """The loop closed: students were trained on the teacher's labels, swapped in, and got better by it."""
        return all(finding.holds for finding in self.findings)

    def lines(self) -> list[str]:
        """In plain words, a line each."""
        rate = self.documents / self.seconds if self.seconds > 0 else 0.0
        lines = [
            f"documents      {self.documents:,}",
            f"teacher calls  {self.teacher_calls:,} ({self.share_saved:.1%} of the documents saved)",
            f"accuracy       {_said(self.accuracy)}: the live student, as it answered in the last quarter of the "
            "stream, on documents the teacher never saw",
            f"first, last    {self.first or 'none'} {_said(self.first_accuracy)}; "
            f"{self.last or 'none'} {_said(self.last_accuracy)}: both scored on every document the teacher never saw",
            f"versions       {len(self.swapped_in)} swapped in: {', '.join(self.swapped_in) or 'none'}",
            f"throughput     {rate:,.0f} documents per second, {self.seconds:.1f} s in all",
        ]
        return lines + [f"{'yes' if finding.holds else 'NO':<15}{finding.what}" for finding in self.findings]


def read(documents: Path, predictions: Path) -> list[Judged]:
    """Every prediction with its document, in stream order.

    Raises `AskanceError` unless each document has exactly one prediction, `UsageError` for a file that is not what it
    should be.
    """
    gold = {one.id: one for one in _lines(documents, _Gold)}
    predicted = sorted(_lines(predictions, _Predicted), key=lambda one: one.offset)
    if Counter(one.id for one in predicted) != Counter(gold.keys()):
        msg = (
            f"{predictions}: {len(predicted)} predictions for {len(gold)} documents of {documents}; each document "
            "should have exactly one: remove the demo's folder and run it again"
        )
        raise AskanceError(msg)
    return [Judged(gold[one.id].text, gold[one.id].gold, one.label, one.accepted, one.version) for one in predicted]


def summarise(
    judged: Sequence[Judged],
    *,
    first: Student | None,
    last: Student | None,
    seconds: float,
    margin: float = MARGIN,
) -> DemoSummary:
    """What the run came to; `first` and `last` are the first and the last promoted version, None when there is none.

    Scoring both students on the same never-asked documents keeps the comparison fair: neither was trained on any of
    them. These documents are those the students of the time found easy, so both figures stand above the accuracy on
    the whole stream; their difference is what is judged.
    """
    never_asked = [one for one in judged if not one.accepted]
    first_right, last_right = _right(first, never_asked), _right(last, never_asked)
    gain = estimate_difference(last_right, first_right, [1.0] * len(last_right))
    swapped_in = tuple(dict.fromkeys(one.version for one in judged if one.version is not None))
    return DemoSummary(
        documents=len(judged),
        teacher_calls=sum(one.accepted for one in judged),
        seconds=seconds,
        accuracy=_progressive(judged[len(judged) * 3 // 4 :]),
        first=first.version if first else None,
        last=last.version if last else None,
        first_accuracy=_accuracy(first_right),
        last_accuracy=_accuracy(last_right),
        gain=gain,
        swapped_in=swapped_in,
        findings=(_swapped_in(len(swapped_in)), _got_better(gain, margin)),
    )


def report(
    summary: DemoSummary,
    judged: Sequence[Judged],
    manifests: Iterable[Manifest],
    *,
    budget_share: float | None,
    about: Sequence[str] = (),
) -> RunReport:
    """The demo's report; `manifests` are all published versions, oldest first."""
    answered = Counter(one.version for one in judged)
    live_from: dict[str | None, int] = {}
    for place, one in enumerate(judged):
        live_from.setdefault(one.version, place)
    rows = tuple(
        VersionRow(
            version=manifest.version,
            trained_on=manifest.trained_on,
            held_out=manifest.held_out,
            agreement=manifest.agreement,
            promoted=manifest.verdict.promoted,
            why=manifest.verdict.why,
            live_from=live_from.get(manifest.version),
            answered=answered[manifest.version],
        )
        for manifest in manifests
    )
    agreement = {row.version: row.agreement for row in rows}
    return RunReport(
        title="askance demo",
        about=tuple(about),
        documents=summary.documents,
        teacher_calls=summary.teacher_calls,
        seconds=summary.seconds,
        budget_share=budget_share,
        accuracy=summary.accuracy,
        agreement=agreement.get(summary.last) if summary.last else None,
        windows=_windows(judged),
        versions=rows,
        classes=_classes(judged),
        findings=summary.findings,
    )


def _lines(path: Path, shape: type[Line]) -> list[Line]:
    try:
        return msgspec.json.Decoder(shape).decode_lines(path.read_bytes())
    except OSError as exc:
        msg = f"{path}: cannot be read ({exc.strerror}); the demo writes it"
        raise UsageError(msg) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        msg = f"{path}: not what the demo writes ({exc}); remove the demo's folder and run it again"
        raise UsageError(msg) from exc


def _swapped_in(count: int) -> Finding:
    what = f"versions swapped in while the stream ran: {count}; at least {LEAST_SWAPS} are needed"
    return Finding(holds=count >= LEAST_SWAPS, what=what)


def _got_better(gain: Estimate | None, margin: float) -> Finding:
    if gain is None:
        return Finding(holds=False, what="the first and the last version cannot be compared: too few documents")
    what = (
        f"accuracy of the last version less the first's: {100 * gain.value:+.1f} points "
        f"(95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}); at least {100 * margin:+.1f} is needed"
    )
    return Finding(holds=gain.value >= margin, what=what)


def _right(student: Student | None, documents: Sequence[Judged]) -> list[bool]:
    if student is None:
        return []
    right: list[bool] = []
    for start in range(0, len(documents), BATCH):
        batch = documents[start : start + BATCH]
        best = np.argmax(student.logits([one.text for one in batch]), axis=1).tolist()
        right += [student.labels[index] == one.gold for index, one in zip(best, batch, strict=True)]
    return right


def _accuracy(right: Sequence[bool]) -> Estimate | None:
    """Every document counts alike, as if each had been accepted for certain."""
    return estimate_agreement(right, [1.0] * len(right))


def _progressive(judged: Iterable[Judged]) -> Estimate | None:
    return _accuracy([one.is_right for one in judged if one.label is not None and not one.accepted])


def _windows(judged: Sequence[Judged]) -> tuple[Window, ...]:
    bounds = [len(judged) * place // WINDOWS for place in range(WINDOWS + 1)]
    return tuple(
        Window(
            start=start,
            documents=end - start,
            accepted=sum(one.accepted for one in judged[start:end]),
            accuracy=_progressive(judged[start:end]),
        )
        for start, end in itertools.pairwise(bounds)
        if end > start
    )


def _classes(judged: Sequence[Judged]) -> tuple[ClassRow, ...]:
    documents: Mapping[str, int] = Counter(one.gold for one in judged)
    accepted = Counter(one.gold for one in judged if one.accepted)
    late = [one for one in judged[len(judged) * 3 // 4 :] if one.label is not None and not one.accepted]
    seen = Counter(one.gold for one in late)
    right = Counter(one.gold for one in late if one.is_right)
    mistaken = Counter((one.gold, one.label) for one in late if not one.is_right)
    commonest = {gold: answer for (gold, answer), _ in reversed(mistaken.most_common())}
    return tuple(
        ClassRow(label, documents[label], accepted[label], seen[label], right[label], commonest.get(label))
        for label in sorted(documents)
    )


def _said(estimate: Estimate | None) -> str:
    return "too few documents" if estimate is None else f"{estimate.value:.1%}"
