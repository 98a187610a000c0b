"""`askance`: the program, put together from `cli/commands`; nothing heavy is imported before a command is called.

A mistake or a failure ends in one line on stderr and the exit code of its error: 2 for usage and configuration, 1 at
run time.
"""

# No `from __future__ import annotations`: typer reads the annotations at run time.
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from askance import __version__
from askance.cli import options
from askance.cli.commands import batch, deadletters, labels, models, runs, settings, teacher, topics, workers
from askance.errors import AskanceError


class _Root(TyperGroup):
    """Lists the commands and reports wrong usage in plain text; loading rich would double the time `--help` takes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"rich_markup_mode": None})


app = typer.Typer(
    name="askance",
    cls=_Root,
    help="A streaming text classifier that teaches itself from an LLM, and asks it only where that is worth it.",
    epilog="Start here: `askance demo`; or `askance init`, name teacher and labels in askance.yaml, `askance run`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(workers.commands)
app.add_typer(teacher.commands)
app.add_typer(runs.commands)
app.add_typer(labels.commands, name="labels")
app.add_typer(batch.commands, name="batch")
app.add_typer(models.commands, name="models")
app.add_typer(topics.commands, name="topics")
app.add_typer(deadletters.commands, name="dead-letters")
app.add_typer(settings.commands, name="config")


def main() -> None:
    """The `askance` program."""
    try:
        app()
    except AskanceError as exc:
        typer.echo(f"askance: {' '.join(str(exc).split())}", err=True)
        sys.exit(exc.exit_code)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"askance {__version__}")
        raise typer.Exit


@app.callback()
def _askance(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None: ...


@app.command(epilog="Example: askance init && askance config check")
def init(
    *,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The file to write.")] = Path(
        "askance.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented askance.yaml with every setting."""
    from askance.cli.config import write_file

    write_file(config, force=force)


@app.command(epilog="Example: askance demo")
def demo(
    *,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Show it on a live page too.")] = True,
    json: options.Json = False,
) -> None:
    """The whole loop on real text, in under two minutes."""
    from askance.cli.demo import demo

    demo(page=page, json=json)
