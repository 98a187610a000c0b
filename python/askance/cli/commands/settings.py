"""`askance config`: settings."""

# No `from __future__ import annotations`: typer reads the annotations at run time.

import typer

from askance.cli import options

commands = typer.Typer(help="Settings: check them, or show what is in force.", no_args_is_help=True)


@commands.command("check", epilog="Example: askance config check --config askance.yaml")
def check_config(*, config: options.ConfigFile = None, assignments: options.Assignments = None) -> None:
    """Say whether the settings are in order; exits with 2 where they are not."""
    from askance.cli.config import check

    check(config, assignments or [])


@commands.command("show", epilog="Example: askance config show --set budget.share=0.1")
def show_config(
    *,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Every setting in force and where it comes from, without credentials."""
    from askance.cli.config import show

    show(config, assignments or [], json=json)
