"""`askance topics`: the topics on Kafka."""

# No `from __future__ import annotations`: typer reads the annotations at run time.
from typing import Annotated

import typer

from askance.cli import options

commands = typer.Typer(help="Kafka topics: make them.", no_args_is_help=True)


@commands.command("create", epilog="Example: askance topics create --bootstrap-servers localhost:9092 --partitions 12")
def create_topics(
    context: typer.Context,
    *,
    partitions: Annotated[int, typer.Option("--partitions", metavar="N", min=1, help="Of each topic.")] = 6,
    replication: Annotated[
        int, typer.Option("--replication", metavar="N", min=1, help="Copies of each partition.")
    ] = 1,
    retention_hours: Annotated[
        float,
        typer.Option("--retention-hours", metavar="HOURS", min=0.0, help="For predictions and dead letters."),
    ] = 168.0,
    documents: Annotated[bool, typer.Option("--documents", help="Make the documents' topics too.")] = False,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Make the topics that are not there yet: predictions, queries, labels, tallies, dead letters."""
    from askance.cli.topics import create

    create(
        context,
        partitions=partitions,
        replication=replication,
        retention_hours=retention_hours,
        documents=documents,
        json=json,
    )
