"""What a person is told of a run: while it goes on (`Snapshot`) and when it has ended (`Summary`)."""

from __future__ import annotations

import msgspec

from askance.manifest import Estimate  # noqa: TC001 - msgspec resolves it at run time
from askance.records import LabelCounts  # noqa: TC001 - msgspec resolves it at run time


class Snapshot(msgspec.Struct, frozen=True):
    """The state of a run at one moment."""

    seconds: float
    documents: int
    accepted: int
    dead_letters: int
    documents_per_second: float
    labels: LabelCounts | None
    """None where this process cannot know: `classify` on Kafka."""
    version: str | None
    swaps: int
    agreement: Estimate | None
    """Weighted agreement of the students' predictions with the teacher over the newest labels; None: too few yet."""

    def line(self) -> str:
        """On one line."""
        share = self.accepted / self.documents if self.documents else 0.0
        agreement = f"{self.agreement.value:.1%}" if self.agreement else "not enough labels yet"
        learned = f"labels {self.labels.labelled:,}  agreement {agreement}  " if self.labels else ""
        return (
            f"{self.seconds:6.1f} s  {self.documents:>9,} documents  {self.documents_per_second:>8,.0f}/s  "
            f"accepted {share:6.2%}  {learned}version {self.version or 'none'}  swaps {self.swaps}"
        )


class Summary(msgspec.Struct, frozen=True):
    """What a run came to. The counts of documents, labels and versions are over all runs with this state."""

    documents: int
    accepted: int
    dead_letters: int
    documents_now: int
    """Documents delivered by this run alone."""
    seconds: float
    """From this run's first fetch to its last delivery."""
    labels: LabelCounts | None
    """None where this process cannot know: `classify` on Kafka."""
    versions: int
    promoted: int
    live: str | None
    live_agreement: Estimate | None
    """The live version's agreement with the teacher on held-out labels."""
    stream_agreement: Estimate | None
    """Weighted agreement of all labelled predictions with the teacher: the stream's, over all versions."""
    swaps: int
    predictions: str
    dead_letter_path: str
    failures: tuple[str, ...] = ()
    """Workers that stopped early, each with its reason."""
    before_first: int = 0
    """Documents of this run that came before there was any student: their predictions have no label."""
    paused: str | None = None
    """Why the teacher was left alone at the end; None when it was not, or is not this process's."""

    def lines(self) -> list[str]:
        """In plain words, a line each."""
        rate = self.documents_now / self.seconds if self.seconds else 0.0
        labels = self.labels
        lines = [f"documents      {self.documents:,} ({self.documents_now:,} in this run, {rate:,.0f} per second)"]
        if self.documents:
            share = self.accepted / self.documents
            lines.append(f"teacher asked  {self.accepted:,} ({share:.2%} of the documents, {1 - share:.2%} saved)")
        elif not self.seconds:
            # `teach` and `train` on Kafka have seen no document, and there may be many.
            lines.clear()
        if labels is not None:
            lines.append(
                f"labels         {labels.labelled:,} valid, {labels.invalid:,} invalid, {labels.failed:,} failed, "
                f"{labels.lost:,} lost, {labels.pending + labels.asked:,} still waiting"
            )
            if self.paused and labels.pending + labels.asked:
                lines.append(f"teacher        paused: {self.paused}")
        lines += [
            f"versions       {self.versions} trained, {self.promoted} found fit, {self.swaps} swapped in by this run; "
            f"live: {self.live or 'none'}",
            f"agreement      live version on held-out labels: {_estimate(self.live_agreement)}",
        ]
        if labels is not None:
            lines.append(f"               stream, all versions, weighted:  {_estimate(self.stream_agreement)}")
        if self.documents_now or self.seconds:
            lines.append(f"predictions    {self.predictions}")
        if self.before_first:
            lines.append(f"no label       {self.before_first:,} of this run's came before the first student")
            if self.live is not None:
                lines.append("               `askance classify --topic again`, with the same input, labels them now")
        if self.dead_letters:
            lines.append(f"dead letters   {self.dead_letters:,} in {self.dead_letter_path}")
        lines += [f"stopped early  {failure}" for failure in self.failures]
        return lines


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not enough labels yet"
    return (
        f"{estimate.value:.1%} (95 % interval {estimate.low:.1%} to {estimate.high:.1%}, "
        f"{estimate.documents:,} labels worth {estimate.effective:,.0f})"
    )


def unread(documents: int, dead_letters: int) -> list[str]:
    """What to say of a stream that has ended, and of which not one document could ever be read."""
    if documents or not dead_letters:
        return []
    remedy = "`askance doctor` says why (--text-field, --id-field, --format), `askance dead-letters` puts them back"
    return [f"classify: not one of {dead_letters:,} documents could be read: {remedy}"]
