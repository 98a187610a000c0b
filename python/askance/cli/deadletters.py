"""The bodies of `askance dead-letters`: list, replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import typer

from askance import deadletters, settings
from askance.cli.progress import working
from askance.cli.run import flags_of, overrides_of

if TYPE_CHECKING:
    from askance.config import Config


def show(context: typer.Context, *, limit: int, json: bool) -> None:
    """Print a selection of dead letters."""
    selected = _selected(context)
    with working("reading dead letters"):
        listing = deadletters.show(*selected, limit=limit)
    if json:
        typer.echo(msgspec.json.encode(listing).decode())
        return
    typer.echo(f"{listing.letters:,} dead letters in {listing.source}, {listing.replayed:,} of them replayed")
    for reason, count in listing.by_reason.items():
        typer.echo(f"  {count:,} {reason}")
    for letter in listing.shown:
        size = "no value" if letter.size is None else f"{letter.size:,} bytes"
        before = f", after {letter.replays} replays" if letter.replays else ""
        marks = f"{', replayed' if letter.replayed else ''}{before}"
        typer.echo(f"{letter.place}: {letter.reason}, of {letter.origin}, {size}{marks}")
        # What a terminal would obey is not printed: the text comes from whoever wrote the document.
        typer.echo(f"  {_printable(letter.detail)}\n  {_printable(letter.text)}")
    if listing.letters > len(listing.shown):
        typer.echo(f"and {listing.letters - len(listing.shown):,} more")


def replay(context: typer.Context, *, into: str | None, output: str | None, dry_run: bool, json: bool) -> None:
    """Put a selection of dead letters back, and say how many."""
    selected = _selected(context)
    with working("replaying dead letters"):
        count = deadletters.replay(*selected, into=into, output=output, dry_run=dry_run)
    if json:
        typer.echo(
            msgspec.json.encode({"replayed": 0 if dry_run else count, "selected": count}).decode(), err=output == "-"
        )
    else:
        done = "would be replayed" if dry_run else "replayed"
        typer.echo(f"{count:,} dead letters {done}", err=output == "-")


def _selected(context: typer.Context) -> tuple[Config, deadletters.Selection]:
    params = context.params
    config = settings.load(params["config"], overrides_of(params), flags=flags_of(context), looks_back=True)
    selection = deadletters.Selection(
        file=params["file"], begin=params["begin"], end=params["end"], reason=params["reason"]
    )
    return config, selection


def _printable(text: str) -> str:
    """
    >>> _printable("a\\x1b[31mb\\n")
    'a\\ufffd[31mb\\ufffd'
    """
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
