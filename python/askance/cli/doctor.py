"""The body of `askance doctor`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import typer

from askance import doctor, settings
from askance.cli.progress import working
from askance.cli.run import flags_of, overrides_of
from askance.doctor import Finding, State
from askance.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARKS = {State.WELL: "ok  ", State.DOUBTFUL: "?   ", State.ILL: "FAIL"}


def show(context: typer.Context, *, ask: bool, json: bool) -> None:
    """Print every finding as it is made; exits with 1 when a run would fail."""
    findings = []
    looking = _findings(context, ask=ask)
    while True:
        with working("looking"):
            finding = next(looking, None)
        if finding is None:
            break
        findings.append(finding)
        if not json:
            typer.echo(f"{_MARKS[finding.state]} {finding.part:12}  {finding.found}")
            if finding.remedy:
                typer.echo(f"{'':17}  -> {finding.remedy}")
    if json:
        typer.echo(msgspec.json.encode(findings).decode())
    if any(finding.state is State.ILL for finding in findings):
        raise typer.Exit(1)


def _findings(context: typer.Context, *, ask: bool) -> Iterator[Finding]:
    params = context.params
    try:
        config = settings.load(params["config"], overrides_of(params), flags=flags_of(context))
    except ConfigError as exc:
        yield Finding("settings", State.ILL, str(exc), "`askance config show` says what is in force and why")
        return
    yield Finding("settings", State.WELL, "every key is known, and its value allowed")
    yield from doctor.examine(config, ask=ask, unix_time=time.time)
