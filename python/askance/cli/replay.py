"""The body of `askance replay`: are the decisions the coin's own, and what would another version have said?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from askance import settings
from askance.cli.progress import reading, working
from askance.cli.run import flags_of, overrides_of
from askance.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from askance.rules.comparison import Change, Outcome
    from askance.rules.replay import ReplayOutcome


def command(context: typer.Context) -> None:
    """`askance replay`: a file or a stretch of predictions proved, or a stretch of documents classified again."""
    params = context.params
    is_rerun = params["version"] is not None or params["into"] is not None
    on_topic = is_rerun or any(params[name] is not None for name in ("topic", "begin", "end"))
    if params["predictions"] is not None:
        if on_topic:
            msg = "a predictions file is replayed whole: --topic, --from, --to, --version and --into are for Kafka"
            raise UsageError(msg)
        replay(params["predictions"], json=params["json"])
        return
    if not on_topic:
        msg = "name a predictions file, or with --topic a topic of predictions"
        raise UsageError(msg)
    from askance import replaying

    config = settings.load(params["config"], overrides_of(params), flags=flags_of(context))
    stretch = (params["topic"], params["begin"], params["end"])
    if not is_rerun:
        with working("proving"):
            proof = replaying.prove(config, *stretch)
        _end(proof, "records", json=params["json"])
        return
    with working("classifying again"):
        version, outcome = replaying.rerun(config, *stretch, version=params["version"], into=params["into"])
    if params["json"]:
        typer.echo(msgspec.json.encode({"version": version, **msgspec.to_builtins(outcome)}).decode())
    else:
        _tell_differences(version, outcome)
    if not outcome.documents:
        raise typer.Exit(1)


def replay(predictions: Path, *, json: bool = False) -> None:
    """Recompute every decision, print what came of it, and exit with 1 unless all are as recorded."""
    _end(check(predictions), "lines", json=json)


def check(path: Path, *, batch: int = 65_536) -> ReplayOutcome:
    """Recompute every decision of a predictions file, holding `batch` lines at a time."""
    from askance.rules.replay import replay

    try:
        with reading(path) as lines:
            return replay(lines, batch=batch)
    except OSError as exc:
        msg = f"{path}: cannot be read ({exc.strerror}); name the predictions file that `askance run` wrote"
        raise UsageError(msg) from exc


def _end(outcome: ReplayOutcome, lines: str, *, json: bool) -> None:
    if json:
        # A named tuple alone would be an array.
        named = {name: [one._asdict() for one in getattr(outcome, name)] for name in ("differences", "malformed_lines")}
        typer.echo(msgspec.json.encode(outcome._asdict() | named).decode())
    else:
        _tell(outcome, lines)
    if not outcome.is_proven or not outcome.checked:
        raise typer.Exit(1)


def _tell(outcome: ReplayOutcome, lines: str) -> None:
    checked, accepted = outcome.checked, outcome.accepted
    share = accepted / checked if checked else 0.0
    typer.echo(f"{checked:,} decisions checked, {accepted:,} accepted ({share:.2%}): {outcome.differing:,} differ")
    _name(outcome.differences, outcome.differing)
    if outcome.malformed:
        typer.echo(f"{outcome.malformed:,} {lines} are malformed and could not be checked")
        _name(outcome.malformed_lines, outcome.malformed)
    if outcome.settled:
        typer.echo(f"{outcome.settled:,} {lines} settle a provisional prediction, as they should")
    if outcome.repeated:
        typer.echo(f"{outcome.repeated:,} of them stand for a record that was decided on before")
    if not outcome.checked:
        typer.echo("there is nothing in it to check")


def _tell_differences(version: str, outcome: Outcome) -> None:
    typer.echo(f"{outcome.documents:,} documents classified again by {version}")
    typer.echo(_line("compared with what is recorded", outcome.total))
    for recorded, change in outcome.by_version.items():
        typer.echo(_line(f"  recorded by {recorded}", change))
    for label in outcome.label_changes:
        typer.echo(f"  {label.documents:,} times {label.new or 'no label'} instead of {label.recorded or 'no label'}")
    if outcome.without_record:
        typer.echo(f"{outcome.without_record:,} documents have no recorded prediction")
    if outcome.repeated:
        typer.echo(f"{outcome.repeated:,} recorded predictions are of a document that had one already")
    if outcome.malformed:
        typer.echo(f"{outcome.malformed:,} records are no predictions")


def _line(what: str, change: Change) -> str:
    share = change.label_changes / change.documents if change.documents else 0.0
    return (
        f"{what}: {change.documents:,} documents, {change.label_changes:,} with another label ({share:.2%}), "
        f"{change.newly_accepted:,} newly accepted, {change.no_longer_accepted:,} no longer"
    )


def _name(some: tuple[object, ...], count: int) -> None:
    for one in some:
        typer.echo(f"  {one}")
    if count > len(some):
        typer.echo(f"  and {count - len(some):,} more")
