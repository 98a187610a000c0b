"""`askance models`: student versions."""

# No `from __future__ import annotations`: typer reads the annotations at run time.
from typing import Annotated

import typer

from askance.cli import options

commands = typer.Typer(help="Student versions: list, show, promote, roll back.", no_args_is_help=True)


@commands.command("list", epilog="Example: askance models list --state askance-state")
def list_models(*, state: options.State = None, config: options.ConfigFile = None, json: options.Json = False) -> None:
    """Every version, oldest first, and which one is live."""
    from askance.cli.models import list_versions

    list_versions(config, state, json=json)


@commands.command("show", epilog="Example: askance models show v0003-1a2b3c4d")
def show_model(
    version: Annotated[str | None, typer.Argument(help="Default: the live one.")] = None,
    *,
    state: options.State = None,
    config: options.ConfigFile = None,
    json: options.Json = False,
) -> None:
    """One version's manifest, after its files were checked against their digests."""
    from askance.cli.models import show_version

    show_version(config, state, version, json=json)


@commands.command("promote", epilog="Example: askance models promote v0003-1a2b3c4d")
def promote_model(
    version: Annotated[str, typer.Argument(help="The version's name.")],
    *,
    state: options.State = None,
    config: options.ConfigFile = None,
    json: options.Json = False,
) -> None:
    """Make a version the live one; running workers swap it in within a second."""
    from askance.cli.models import promote_version

    promote_version(config, state, version, json=json)


@commands.command("rollback", epilog="Example: askance models rollback")
def roll_back_model(
    *, state: options.State = None, config: options.ConfigFile = None, json: options.Json = False
) -> None:
    """Make the previous live version live again."""
    from askance.cli.models import roll_back

    roll_back(config, state, json=json)
