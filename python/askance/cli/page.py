"""The body of `askance page`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import typer

from askance import logs, settings, showing
from askance.cli.run import flags_of, overrides_of

if TYPE_CHECKING:
    from pathlib import Path


def show(context: typer.Context) -> None:
    """Show the page until Ctrl-C."""
    params = context.params
    overrides, file = overrides_of(params), params["config"]
    if params["metrics"]:
        overrides["page.metrics"] = tuple(params["metrics"])
    _serve(file, overrides, flags_of(context) | {"page.metrics": "--metrics"})


def _serve(file: Path | None, overrides: dict[str, object], flags: dict[str, str]) -> None:
    config = settings.load(file, overrides, flags=flags, looks_back=True)
    logs.warn_on_stderr(config.logs)
    with contextlib.suppress(KeyboardInterrupt):
        showing.show(config, on_address=lambda address: typer.echo(f"page at {address}; Ctrl-C ends it"))
