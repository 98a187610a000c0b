"""The body of `askance estimate`: what the labels of a run say of its students, on the whole stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from askance import settings
from askance.api import run_window
from askance.cli.progress import reading, working
from askance.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from askance.manifest import Estimate
    from askance.rules.estimate import WindowEstimate

_CONFUSIONS = 10
_SEEN = 5
"""Fewer labels say nothing of how often one class is taken for another."""


def estimate(
    config: Path | None,
    state: Path | None,
    *,
    version: str | None,
    since: int,
    until: int | None,
    gold: Path | None,
    gold_field: str,
    json: bool,
) -> None:
    """Print the estimates of one window of a run: of offsets `since` to `until`, in blocks of 4,096."""
    found = window(config, state, version=version, since=since, until=until, gold=gold, gold_field=gold_field)
    if json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        typer.echo("\n".join(lines(found)))


def window(
    config: Path | None,
    state: Path | None,
    *,
    version: str | None,
    since: int,
    until: int | None,
    gold: Path | None,
    gold_field: str,
) -> WindowEstimate:
    """The estimates of a run."""
    overrides = {} if state is None else {"state": state}
    loaded = settings.load(config, overrides, flags={"state": "--state"}, looks_back=True)
    if not loaded.state.is_dir():
        msg = f"{loaded.state}: there is no such folder; name the one of the run with --state"
        raise UsageError(msg)
    known = _gold(gold, loaded.source.id_field, gold_field) if gold is not None else None
    with working("estimating"):
        return run_window(loaded, version=version, since=since, until=until, gold=known)


def lines(found: WindowEstimate) -> list[str]:
    """In plain words, a line each."""
    covered = (
        f"{found.uncovered:,} of them drawn at probability 0 and in no figure" if found.uncovered else "all covered"
    )
    stand = ", ".join(f"{count:,} {status}" for status, count in found.queries.items()) or "none"
    text = [
        f"window         {found.version or 'all versions'}: {found.documents:,} documents, {covered}",
        f"queries        {stand}; {found.answered:.1%} answered, the others taken to be like these",
        f"labels worth   {found.effective:,.0f} documents drawn at random (needed: at least {found.minimum:g})",
        f"agreement      {_in_words(found.agreement)}",
        f"while watched  {_in_words(found.watched)}",
    ]
    if found.copied:
        text.append(
            f"near copies    {found.copied:.1%} of the labels, weighted; `askance audit` says how often they are wrong"
        )
    if found.accuracy is not None:
        text.append(f"against gold   {_in_words(found.accuracy)}")
    rows = [one for one in found.classes if one.labelled]
    if rows:
        width = max(5, *(len(one.label) for one in rows))
        text.append(
            f"\n{'class':{width}}  {'share of stream':>22}  {'precision':>22}  {'recall':>22}  {'F1':>22}  labels"
        )
        text += [
            f"{one.label:{width}}  {_cell(one.share)}  {_cell(one.precision)}  {_cell(one.recall)}  {_cell(one.f1)}  "
            f"{one.labelled:>6,}"
            for one in sorted(rows, key=lambda one: -(one.share.value if one.share else 0.0))
        ]
    confusions = [one for one in found.confusions if one.labelled >= _SEEN][:_CONFUSIONS]
    if confusions:
        text.append("\nmistaken most often, in documents of the window:")
        text += [
            f"  {one.label} for {one.predicted}: about {one.documents:,.0f} (seen {one.labelled:,} times)"
            for one in confusions
        ]
    return text


def _in_words(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not enough labels yet"
    return f"{estimate.value:.1%} (95 % interval {estimate.low:.1%} to {estimate.high:.1%})"


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return f"{'too few':>22}"
    return f"{estimate.value:6.1%} [{estimate.low:5.1%}, {estimate.high:6.1%}]".rjust(22)


def _gold(path: Path, id_field: str, gold_field: str) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        with reading(path) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = msgspec.json.decode(line, type=dict[str, object])
                except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                    msg = f"{path}, line {number}: not a JSON object ({exc}); gold is read from JSON lines"
                    raise UsageError(msg) from exc
                identifier, label = row.get(id_field), row.get(gold_field)
                if identifier is not None and isinstance(label, str):
                    found[str(identifier)] = label
    except OSError as exc:
        msg = f"{path}: cannot be read ({exc.strerror}); it holds a JSON object a line"
        raise UsageError(msg) from exc
    if not found:
        msg = f"{path}: no line has both {id_field!r} and {gold_field!r}; name the field with --gold-field"
        raise UsageError(msg)
    return found
