"""`askance dead-letters`: what could not be processed."""

# No `from __future__ import annotations`: typer reads the annotations at run time.
from typing import Annotated

import typer

from askance.cli import options

commands = typer.Typer(help="What could not be processed: list it, put it back.", no_args_is_help=True)

File = Annotated[
    str | None,
    typer.Option("--file", metavar="FILE", help="A file of dead letters; default: the topic, or the settings' file."),
]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="NAME", help="Only those, e.g. invalid_json, too_large.")
]


@commands.command("list", epilog="Example: askance dead-letters list --reason too_large --limit 5")
def list_dead_letters(
    context: typer.Context,
    *,
    file: File = None,
    begin: options.From = None,
    end: options.To = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Show so many; all are counted.")] = 20,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Every dead letter, why it is one, and whether it was put back."""
    from askance.cli.deadletters import show

    show(context, limit=limit, json=json)


@commands.command("replay", epilog="Example: askance dead-letters replay --reason too_large --dry-run")
def replay_dead_letters(
    context: typer.Context,
    *,
    file: File = None,
    begin: options.From = None,
    end: options.To = None,
    reason: Reason = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="TOPIC", help="Put them there, not where they came from.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="For a file's letters: append the original lines; - is stdout."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Put dead letters back to the topic they came from, with their bytes, key and headers; each of them once."""
    from askance.cli.deadletters import replay

    replay(context, into=into, output=output, dry_run=dry_run, json=json)
