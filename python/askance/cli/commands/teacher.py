"""What the teacher has cost, and how far it can be trusted."""

# No `from __future__ import annotations`: typer reads the annotations at run time.
from typing import Annotated

import typer

from askance.cli import options
from askance.cli.commands.completion import completing

commands = typer.Typer()


@commands.command(epilog="Example: askance spend --by label")
def spend(
    *,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="KEY",
            help="day, model, version or label.",
            autocompletion=completing("day", "model", "version", "label"),
        ),
    ] = "day",
    state: options.State = None,
    config: options.ConfigFile = None,
    json: options.Json = False,
) -> None:
    """What the teacher has cost."""
    from askance.cli.spend import show_spend

    show_spend(config, state, by, json=json)


@commands.command(epilog="Example: askance audit")
def audit(*, state: options.State = None, config: options.ConfigFile = None, json: options.Json = False) -> None:
    """How far the teacher agrees with itself."""
    from askance.cli.spend import show_audits

    show_audits(config, state, json=json)
