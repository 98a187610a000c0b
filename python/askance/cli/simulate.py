"""The body of `askance simulate`: what each budget would buy, from predictions and known answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import typer

from askance.charts import Plot, text
from askance.cli.progress import reading, working
from askance.errors import UsageError
from askance.records import Standing
from askance.rules.simulate import POLICIES, Outcome, simulate

if TYPE_CHECKING:
    from pathlib import Path

_T = TypeVar("_T")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "svg{max-width:100%}.grid{stroke:#ddd}.axis{stroke:#888}.x{text-anchor:middle}.y{text-anchor:end}"
    "text{font-size:12px;fill:#555}path{fill:none}.line{stroke:#2563eb;stroke-width:2}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right}"
)


class _Row(msgspec.Struct):
    id: str
    label: str | None
    confidence: float | None
    uncertainty: float
    propensity: float
    accepted: bool
    standing: str | None = None
    teacher: str | None = None
    predicted: str | None = None

    @property
    def answer(self) -> str | None:
        """The student's, whoever answered; None too of a line that follows another."""
        if self.standing == Standing.SETTLED:
            return None
        return self.label if self.teacher is None else self.predicted


def run(
    predictions: Path,
    truths: Path,
    *,
    field: str,
    id_field: str,
    shares: str,
    picture: Path | None,
    json: bool,
) -> None:
    """Print the grid, and draw it where asked."""
    grid = [_share(part) for part in shares.split(",") if part.strip()]
    found, documents, known = outcomes(predictions, truths, field=field, id_field=id_field, shares=grid)
    if picture is not None:
        try:
            picture.write_text(page(found, documents), encoding="utf-8")
        except OSError as exc:
            msg = f"{picture}: cannot be written ({exc.strerror}); choose another file with --picture"
            raise UsageError(msg) from exc
    if json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    typer.echo(f"{documents:,} documents, right answers known of {known:,}; accuracy of the answers served:")
    typer.echo(f"{'share':>7} {'calls':>10}  " + "  ".join(f"{policy:>22}" for policy in POLICIES))
    for share in grid:
        row = [one for one in found if one.share == share]
        typer.echo(f"{share:7.2%} {row[0].calls:10,.0f}  " + "  ".join(_cell(one) for one in row))


def outcomes(
    predictions: Path, truths: Path, *, field: str, id_field: str, shares: list[float]
) -> tuple[list[Outcome], int, int]:
    """The grid, how many documents it is of, and of how many the right answer is known.

    Where every document's is known each counts once; else only accepted ones count, by their recorded propensity.
    """
    right = _answers(truths, id_field, field)
    rows = [row for row in _rows(predictions, _Row) if row.answer is not None]
    known = [place for place, row in enumerate(rows) if row.id in right]
    complete = len(known) == len(rows)
    if not complete:
        known = [place for place in known if rows[place].accepted and rows[place].propensity > 0.0]
    if not known:
        msg = (
            f"{truths}: no line has a right answer for a document of {predictions}; name its fields with --field and "
            "--id-field"
        )
        raise UsageError(msg)
    with working("simulating"):
        found = simulate(
            np.array([row.uncertainty for row in rows]),
            np.array([row.confidence or 0.0 for row in rows]),
            np.array(known, dtype=np.int64),
            np.array([rows[place].answer == right[rows[place].id] for place in known]),
            np.array([1.0 if complete else rows[place].propensity for place in known]),
            shares=shares,
        )
    return found, len(rows), len(known)


def page(found: list[Outcome], documents: int) -> str:
    """One self-contained HTML page with a chart for each policy."""
    values = [one.accuracy.value for one in found if one.accuracy is not None] or [0.0, 1.0]
    most = max(one.calls for one in found)
    charts = []
    for policy in dict.fromkeys(one.policy for one in found):
        plot = Plot(policy, x=(0.0, most), y=(min(values) - 0.02, 1.0), x_title="teacher calls")
        line = [(one.calls, one.accuracy.value) for one in found if one.policy == policy and one.accuracy is not None]
        if line:
            plot.line(line)
        charts.append(f"<h2>{text(policy)}</h2>{plot.svg()}")
    body = "".join(charts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>askance simulate</title><style>{_STYLE}</style>'
        f"<h1>Accuracy of the answers served, against teacher calls</h1><p>{documents:,} documents.</p>{body}</html>\n"
    )


def _cell(one: Outcome) -> str:
    if one.accuracy is None:
        return f"{'too few labels':>22}"
    return f"{one.accuracy.value:6.1%} [{one.accuracy.low:5.1%}, {one.accuracy.high:6.1%}]".rjust(22)


def _share(part: str) -> float:
    try:
        share = float(part)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        msg = f"--shares: {part.strip()!r} is no share; give numbers between 0 and 1, such as 0.01,0.05,0.1"
        raise UsageError(msg)
    return share


def _answers(path: Path, id_field: str, field: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in _rows(path, dict[str, object]):
        identifier, label = row.get(id_field), row.get(field)
        if identifier is not None and isinstance(label, str):
            found[str(identifier)] = label
    return found


def _rows(path: Path, kind: type[_T]) -> list[_T]:
    decoder = msgspec.json.Decoder(kind)
    rows = []
    try:
        with reading(path) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    rows.append(decoder.decode(line))
                except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                    msg = f"{path}, line {number}: not what was expected ({exc}); it holds a JSON object a line"
                    raise UsageError(msg) from exc
    except OSError as exc:
        msg = f"{path}: cannot be read ({exc.strerror}); name a file with a JSON object a line"
        raise UsageError(msg) from exc
    return rows
