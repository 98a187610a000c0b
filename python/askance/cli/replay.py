"""The body of `askance replay`: reads a predictions file and says whether every decision in it is the coin's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from askance.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from askance.rules.replay import ReplayOutcome


def replay(predictions: Path) -> None:
    """Recompute every decision, print what came of it, and exit with 1 unless all are as recorded."""
    outcome = check(predictions)
    checked, accepted = outcome.checked, outcome.accepted
    share = accepted / checked if checked else 0.0
    typer.echo(f"{checked:,} decisions checked, {accepted:,} accepted ({share:.2%}): {outcome.differing:,} differ")
    _name(outcome.differences, outcome.differing)
    if outcome.malformed:
        typer.echo(f"{outcome.malformed:,} lines are malformed and could not be checked")
        _name(outcome.malformed_lines, outcome.malformed)
    if outcome.settled:
        typer.echo(f"{outcome.settled:,} lines settle a provisional prediction, as they should")
    if outcome.repeated:
        typer.echo(f"{outcome.repeated:,} of them stand for a record that was decided on before in this file")
    if not outcome.checked:
        typer.echo("there is nothing in it to check")
    if not outcome.is_proven or not outcome.checked:
        raise typer.Exit(1)


def check(path: Path, *, batch: int = 65_536) -> ReplayOutcome:
    """Recompute every decision of a predictions file, holding `batch` lines at a time."""
    from askance.rules.replay import replay

    try:
        with path.open("rb") as lines:
            return replay(lines, batch=batch)
    except OSError as exc:
        msg = f"{path}: cannot be read ({exc.strerror}); name the predictions file that `askance run` wrote"
        raise UsageError(msg) from exc


def _name(some: tuple[object, ...], count: int) -> None:
    for one in some:
        typer.echo(f"  {one}")
    if count > len(some):
        typer.echo(f"  and {count - len(some):,} more")
