"""The bodies of `topics …`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import typer

from askance import assembly, settings
from askance.cli.progress import working
from askance.cli.run import flags_of, overrides_of

if TYPE_CHECKING:
    from pathlib import Path


def create(
    context: typer.Context, *, partitions: int, replication: int, retention_hours: float, documents: bool, json: bool
) -> None:
    """Make the topics that are not there yet and say of each whether it is new."""
    params = context.params
    path: Path | None = params["config"]
    config = settings.load(path, overrides_of(params), flags=flags_of(context))
    making = assembly.create_topics(
        config,
        partitions=partitions,
        replication=replication,
        retention_ms=round(retention_hours * 3_600_000),
        documents=documents,
    )
    with working("making topics"):
        outcome = asyncio.run(making)
    if json:
        typer.echo(msgspec.json.encode(outcome).decode())
    else:
        typer.echo("\n".join(f"{name}: {state}" for name, state in outcome.items()))
