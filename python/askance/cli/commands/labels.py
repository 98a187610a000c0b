"""`askance labels`: people as the teacher."""

# No `from __future__ import annotations`: typer reads the annotations at run time.
from pathlib import Path
from typing import Annotated

import typer

from askance.cli import options

commands = typer.Typer(help="People as the teacher, by Label Studio.", no_args_is_help=True)


@commands.command("export", epilog="Example: askance labels export -o tasks.json --below 0.8")
def export_questions(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The tasks, as JSON.")] = Path(
        "tasks.json"
    ),
    below: Annotated[
        float | None,
        typer.Option(
            "--below", metavar="X", min=0.0, max=1.0, help="Labels less sure than this; default: what has no label."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 1_000,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Show people what teacher or student said; it sways them.")
    ] = False,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Write documents for people to label, in Label Studio's import format."""
    from askance.cli import labels

    labels.export_questions(config, state, assignments or [], output, below=below, limit=limit, suggest=suggest)


@commands.command("import", epilog="Example: askance labels import answered.json")
def import_answers(
    answered: Annotated[Path, typer.Argument(help="What Label Studio exported as JSON or JSON-MIN.")],
    *,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Read people's answers into the ledger as labels; as often as you like."""
    from askance.cli import labels

    labels.import_answers(config, state, assignments or [], answered, json=json)
