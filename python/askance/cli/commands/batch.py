"""`askance batch`: labels by the provider's batch API."""

# No `from __future__ import annotations`: typer reads the annotations at run time.
from typing import Annotated

import typer

from askance.cli import options

commands = typer.Typer(help="The provider's batch API: cheaper, within a day.", no_args_is_help=True)


@commands.command(epilog="Example: askance batch submit --teacher openai --model gpt-4.1-mini --labels @labels.txt")
def submit(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=50_000, help="Documents, at most.")] = 10_000,
    teacher__kind: options.Teacher = None,
    teacher__labels: options.Labels = None,
    teacher__labels_from_field: options.LabelsFromField = None,
    teacher__task: options.Task = None,
    teacher__model: options.Model = None,
    teacher__base_url: options.BaseUrl = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Send the documents that wait in the ledger as one batch.

    A process that dies meanwhile loses nothing: `askance batch collect` finds the batch again, or sends it.
    """
    from askance.cli import batch

    batch.submit(context, limit)


@commands.command(epilog="Example: askance batch collect --wait")
def collect(
    context: typer.Context,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Look every minute until every batch has ended.")] = False,
    teacher__kind: options.Teacher = None,
    teacher__labels: options.Labels = None,
    teacher__labels_from_field: options.LabelsFromField = None,
    teacher__task: options.Task = None,
    teacher__model: options.Model = None,
    teacher__base_url: options.BaseUrl = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Write down the answers of the batches that have ended."""
    from askance.cli import batch

    batch.collect(context, wait=wait)
