"""The HTML report of a run: one self-contained page, charts and all, readable on a phone and in the dark.

Owns the promise that the page loads nothing and that no text of a document, label or model can become markup.
"""

from __future__ import annotations

from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

import msgspec

from askance.charts import Plot, text
from askance.manifest import Estimate  # noqa: TC001 - msgspec resolves it at run time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Window(msgspec.Struct, frozen=True):
    """Consecutive documents of the stream."""

    start: int
    """Documents before it."""
    documents: int
    accepted: int
    accuracy: Estimate | None = None
    """Of the predictions made in it for documents the teacher was not asked about; None: gold unknown, or too few."""


class VersionRow(msgspec.Struct, frozen=True):
    """One student version and its part in the run."""

    version: str
    trained_on: int
    held_out: int
    agreement: Estimate | None
    """With the teacher on held-out labels, importance-weighted."""
    promoted: bool
    why: str
    live_from: int | None
    """Documents before its first prediction; None: it never answered."""
    answered: int
    """Documents it answered."""


class ClassRow(msgspec.Struct, frozen=True):
    """One class, by gold."""

    label: str
    documents: int
    accepted: int
    judged: int
    """Late documents the teacher was not asked about, of which `right` were answered right."""
    right: int
    mistaken_for: str | None = None
    """The commonest wrong answer among them."""


class Finding(msgspec.Struct, frozen=True):
    """Something the run was checked for."""

    holds: bool
    what: str


class RunReport(msgspec.Struct, frozen=True):
    """All the page says; where something is unknown its part of the page is left out."""

    title: str
    about: tuple[str, ...]
    """Paragraphs on what was run: the data, the teacher."""
    documents: int
    teacher_calls: int
    """Documents that the teacher was asked about and is done with."""
    seconds: float
    budget_share: float | None
    """The part of the documents the teacher may be asked about; None: the budget is of another kind."""
    accuracy: Estimate | None
    """Of the live student, against gold, on late documents the teacher was not asked about."""
    agreement: Estimate | None
    """Of the live student with the teacher, for the whole stream."""
    windows: tuple[Window, ...]
    versions: tuple[VersionRow, ...]
    """Oldest first."""
    classes: tuple[ClassRow, ...] = ()
    findings: tuple[Finding, ...] = ()
    pending: int = 0
    """Queries that wait for an answer."""


def render(report: RunReport) -> str:
    """The page, complete in itself."""
    template = Template(files("askance").joinpath("report.html").read_text(encoding="utf-8"))
    charts = (_learning_curve(report), _accuracy_over_time(report), _spending(report), _findings(report.findings))
    return template.substitute(
        title=text(report.title),
        about="\n".join(
            f'<p class="{"soft" if place else "lead"}">{text(paragraph)}</p>'
            for place, paragraph in enumerate((_in_short(report), *report.about))
        ),
        tiles="".join(_tiles(report)),
        charts="\n".join(chart for chart in charts if chart),
        versions=_versions(report.versions),
        classes=_classes(report.classes),
    )


def _in_short(report: RunReport) -> str:
    asked = report.teacher_calls / report.documents if report.documents else 0.0
    saved = _saved(report)
    said = (
        f"{report.documents:,} documents were classified; the teacher was asked about {report.teacher_calls:,} of them "
        f"({asked:.1%}), so {saved:.1%} of its calls were saved."
    )
    if report.pending:
        said += f" {report.pending:,} more wait for an answer."
    if report.accuracy:
        said += (
            f" By the end the student answered {report.accuracy.value:.1%} of the documents "
            "the teacher never saw as their gold label says."
        )
    elif report.agreement:
        said += f" The live student agrees with the teacher on an estimated {report.agreement.value:.1%} of the stream."
    return said


def _saved(report: RunReport) -> float:
    # What waits is going to be asked: it is not saved.
    return 1.0 - (report.teacher_calls + report.pending) / report.documents if report.documents else 1.0


def _tiles(report: RunReport) -> Iterable[str]:
    asked = report.teacher_calls / report.documents if report.documents else 0.0
    answering = sum(row.live_from is not None for row in report.versions)
    budget = "" if report.budget_share is None else f"budget: {report.budget_share:.1%}"
    yield _tile("documents", f"{report.documents:,}", f"in {report.seconds:,.1f} s" if report.seconds > 0 else "")
    waiting = f" {report.pending:,} more wait." if report.pending else ""
    yield _tile("teacher calls", f"{report.teacher_calls:,}", f"{asked:.1%} of the documents.{waiting} {budget}")
    yield _tile("calls saved", f"{_saved(report):.1%}", "against asking about every document")
    if report.accuracy:
        yield _tile("accuracy", f"{report.accuracy.value:.1%}", f"never-asked documents, {_between(report.accuracy)}")
    if report.agreement:
        yield _tile("agreement", f"{report.agreement.value:.1%}", f"with the teacher, {_between(report.agreement)}")
    yield _tile("versions swapped in", f"{answering:,}", f"of {len(report.versions):,} trained")
    if report.seconds > 0:
        yield _tile("throughput", f"{report.documents / report.seconds:,.0f}/s", "documents, start to end")


def _tile(name: str, figure: str, note: str) -> str:
    return f"<div><dt>{text(name)}</dt><dd>{text(figure)}<small>{text(note)}</small></dd></div>"


def _findings(findings: Sequence[Finding]) -> str:
    marks = {True: '<b class="good">✓</b>', False: '<b class="bad">✗</b>'}
    rows = [f"<li>{marks[finding.holds]}{text(finding.what)}</li>" for finding in findings]
    return (
        f'<figure><h3>What the run was checked for</h3><ul class="findings">{"".join(rows)}</ul></figure>'
        if rows
        else ""
    )


def _learning_curve(report: RunReport) -> str:
    """Labels spent against agreement on held-out labels, a point with its interval per version."""
    points = [(row.trained_on + row.held_out, row.agreement, row) for row in report.versions if row.agreement]
    if not points:
        return ""
    values = [bound for _, estimate, _ in points for bound in (estimate.low, estimate.high)]
    title = "Learning curve"
    plot = Plot(title, x=(0, max(labels for labels, _, _ in points)), y=_around(values), x_title="labels spent")
    for labels, estimate, _ in points:
        plot.interval(labels, estimate.low, estimate.high)
    plot.line([(labels, estimate.value) for labels, estimate, row in points if row.promoted])
    for labels, estimate, row in points:
        fate = "promoted" if row.promoted else "not promoted"
        tip = f"{row.version}: {estimate.value:.1%}, {_between(estimate)}, {labels:,} labels, {fate}"
        plot.dot(labels, estimate.value, tip, is_filled=row.promoted)
    labels, estimate, _ = points[-1]
    plot.note(labels, estimate.value, f"{estimate.value:.0%}")
    return _figure(
        plot,
        title,
        "Agreement with the teacher on held-out labels, with its 95 % interval. "
        "Filled: promoted to be the live one. Hollow: not promoted.",
    )


def _accuracy_over_time(report: RunReport) -> str:
    """Progressive accuracy by window: every prediction was made before anything was learned from its document."""
    points = [
        (window.start + window.documents / 2, window.accuracy, window) for window in report.windows if window.accuracy
    ]
    if not points:
        return ""
    values = [bound for _, estimate, _ in points for bound in (estimate.low, estimate.high)]
    title = "Accuracy while the stream ran"
    plot = Plot(title, x=(0, report.documents), y=_around(values), x_title="documents classified")
    _swaps(plot, report.versions)
    plot.band([(middle, estimate.low, estimate.high) for middle, estimate, _ in points])
    plot.line([(middle, estimate.value) for middle, estimate, _ in points])
    last = points[-1]
    plot.note(last[0], last[1].value, f"{last[1].value:.0%}")
    return _figure(
        plot,
        title,
        "Predictions against gold on the documents the teacher was not asked about, with the 95 % interval. "
        "Dotted: another version went live.",
    )


def _spending(report: RunReport) -> str:
    """Share accepted, window by window and since the start, against the budget."""
    windows = [window for window in report.windows if window.documents]
    if not windows:
        return ""
    ends, running = [], []
    documents = accepted = 0
    for window in windows:
        documents += window.documents
        accepted += window.accepted
        ends.append(window.start + window.documents)
        running.append(accepted / documents)
    shares = [window.accepted / window.documents for window in windows]
    title = "Spending"
    highest = max([*shares, *running, (report.budget_share or 0.0) * 1.2, 0.01])
    plot = Plot(title, x=(0, report.documents), y=(0.0, highest), x_title="documents classified")
    for window, end, share in zip(windows, ends, shares, strict=True):
        plot.bar(window.start, end, share, f"documents {window.start:,} to {end:,}: {share:.1%} accepted")
    plot.line(list(zip(ends, running, strict=True)))
    if report.budget_share is not None:
        plot.rule(report.budget_share, f"budget {report.budget_share:.1%}")
    return _figure(plot, title, "Share of documents accepted for the teacher: bars by window, line since the start.")


def _swaps(plot: Plot, versions: Iterable[VersionRow]) -> None:
    for row in versions:
        if row.live_from is not None:
            plot.swap(row.live_from, f"{row.version} live from document {row.live_from:,}")


def _figure(plot: Plot, title: str, caption: str) -> str:
    return f"<figure><h3>{text(title)}</h3><figcaption>{text(caption)}</figcaption>{plot.svg()}</figure>"


def _around(values: Sequence[float]) -> tuple[float, float]:
    return max(0.0, min(values) - 0.02), min(1.0, max(values) + 0.02)


def _versions(rows: Sequence[VersionRow]) -> str:
    head = ("version", "trained on", "held out", "agreement", "live from", "answered", "verdict", "why")
    return _table(
        head,
        [
            (
                row.version,
                f"{row.trained_on:,}",
                f"{row.held_out:,}",
                f"{row.agreement.value:.1%} ({_between(row.agreement)})" if row.agreement else "too few labels",
                "never" if row.live_from is None else f"{row.live_from:,}",
                f"{row.answered:,}",
                "promoted" if row.promoted else "not promoted",
                row.why,
            )
            for row in rows
        ],
        numbers=range(1, 6),
    )


def _classes(rows: Sequence[ClassRow]) -> str:
    if not rows:
        return ""
    head = ("class", "documents", "asked about", "answered right", "mostly mistaken for")
    return (
        "<h2>Classes</h2>"
        '<p class="soft">By gold label. Answered right: of the late documents the teacher was not asked about.</p>'
    ) + _table(
        head,
        [
            (
                row.label,
                f"{row.documents:,}",
                f"{row.accepted:,} ({row.accepted / row.documents:.1%})" if row.documents else "0",
                f"{row.right:,} of {row.judged:,} ({row.right / row.judged:.0%})" if row.judged else "none seen",
                row.mistaken_for or "",
            )
            for row in rows
        ],
        numbers=range(1, 4),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: range) -> str:
    """The first column names the row, the columns in `numbers` are aligned right, the last one may be long."""
    kinds = [' class="number"' if place in numbers else "" for place in range(len(head))]
    kinds[-1] = ' class="why"'
    heads = [f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(head, kinds, strict=True)]
    body = [
        f'<tr><th scope="row">{text(name)}</th>'
        + "".join(f"<td{kind}>{text(value)}</td>" for value, kind in zip(values, kinds[1:], strict=True))
        + "</tr>"
        for name, *values in rows
    ]
    table = f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="table">{table}</div>'


def _between(estimate: Estimate) -> str:
    return f"{estimate.low:.1%} to {estimate.high:.1%}"
