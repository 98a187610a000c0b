"""The workers, together and apart."""

# No `from __future__ import annotations`: typer reads the annotations at run time.
from typing import Annotated

import typer

from askance.cli import options

commands = typer.Typer()


@commands.command(
    epilog="Example: askance run -i documents.jsonl -o predictions.jsonl --labels spam,ham --teacher openai"
)
def run(
    context: typer.Context,
    *,
    source__path: options.Input = None,
    sink__path: options.Output = None,
    sink__dead_letters: options.DeadLetters = None,
    source__format: options.Format = None,
    source__follow: options.Follow = None,
    source__text_field: options.TextField = None,
    source__id_field: options.IdField = None,
    source__topic: options.Topic = None,
    source__rate: options.Rate = None,
    budget__share: options.Share = None,
    budget__per_second: options.PerSecond = None,
    m_raru: options.MRaru = False,
    gate__measure: options.Measure = None,
    gate__seed: options.Seed = None,
    teacher__kind: options.Teacher = None,
    teacher__labels: options.Labels = None,
    teacher__labels_from_field: options.LabelsFromField = None,
    teacher__task: options.Task = None,
    teacher__model: options.Model = None,
    teacher__base_url: options.BaseUrl = None,
    teacher__concurrency: options.Concurrency = None,
    teacher__replay_path: options.ReplayFile = None,
    teacher__replay_field: options.ReplayField = None,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    page__enabled: options.Page = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Classify, teach and train on one stream, in one process."""
    from askance.cli.run import run_workers

    run_workers(context, "classify", "teach", "train")


@commands.command(epilog="Example: tail -f app.log | askance classify --format text -o predictions.jsonl")
def classify(
    context: typer.Context,
    *,
    source__path: options.Input = None,
    sink__path: options.Output = None,
    sink__dead_letters: options.DeadLetters = None,
    source__format: options.Format = None,
    source__follow: options.Follow = None,
    source__text_field: options.TextField = None,
    source__id_field: options.IdField = None,
    source__topic: options.Topic = None,
    source__rate: options.Rate = None,
    budget__share: options.Share = None,
    budget__per_second: options.PerSecond = None,
    m_raru: options.MRaru = False,
    gate__measure: options.Measure = None,
    gate__seed: options.Seed = None,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Classify a stream with the live version.

    Accepted documents wait in the ledger for `askance teach`.
    """
    from askance.cli.run import run_workers

    run_workers(context, "classify")


@commands.command(epilog="Example: askance teach --teacher openai --model gpt-4.1-mini --labels @labels.txt")
def teach(
    context: typer.Context,
    *,
    source__path: options.Input = None,
    source__format: options.Format = None,
    source__text_field: options.TextField = None,
    source__id_field: options.IdField = None,
    budget__share: options.Share = None,
    teacher__kind: options.Teacher = None,
    teacher__labels: options.Labels = None,
    teacher__labels_from_field: options.LabelsFromField = None,
    teacher__task: options.Task = None,
    teacher__model: options.Model = None,
    teacher__base_url: options.BaseUrl = None,
    teacher__concurrency: options.Concurrency = None,
    teacher__replay_path: options.ReplayFile = None,
    teacher__replay_field: options.ReplayField = None,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    once: options.Once = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask nobody; say what 1,000 documents of the source would cost.")
    ] = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Ask the teacher about the documents that wait in the ledger."""
    if dry_run:
        from askance.cli.spend import show_forecast

        show_forecast(context)
        return
    from askance.cli.run import run_workers

    run_workers(context, "teach")


@commands.command(epilog="Example: askance train --labels @labels.txt --once")
def train(
    context: typer.Context,
    *,
    source__path: options.Input = None,
    teacher__kind: options.Teacher = None,
    teacher__labels: options.Labels = None,
    teacher__labels_from_field: options.LabelsFromField = None,
    teacher__task: options.Task = None,
    teacher__model: options.Model = None,
    teacher__base_url: options.BaseUrl = None,
    teacher__replay_path: options.ReplayFile = None,
    train__augment__enabled: options.Augment = None,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    once: options.Once = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train students on the ledger's labels; promote what is fit."""
    from askance.cli.run import run_workers

    run_workers(context, "train")


@commands.command(epilog="Example: askance doctor --teacher openai --model gpt-4.1-mini --labels spam,ham --ask")
def doctor(
    context: typer.Context,
    *,
    source__path: options.Input = None,
    sink__path: options.Output = None,
    sink__dead_letters: options.DeadLetters = None,
    source__format: options.Format = None,
    source__follow: options.Follow = None,
    source__text_field: options.TextField = None,
    source__id_field: options.IdField = None,
    source__topic: options.Topic = None,
    source__rate: options.Rate = None,
    budget__share: options.Share = None,
    budget__per_second: options.PerSecond = None,
    m_raru: options.MRaru = False,
    gate__measure: options.Measure = None,
    gate__seed: options.Seed = None,
    teacher__kind: options.Teacher = None,
    teacher__labels: options.Labels = None,
    teacher__labels_from_field: options.LabelsFromField = None,
    teacher__task: options.Task = None,
    teacher__model: options.Model = None,
    teacher__base_url: options.BaseUrl = None,
    teacher__concurrency: options.Concurrency = None,
    teacher__replay_path: options.ReplayFile = None,
    teacher__replay_field: options.ReplayField = None,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    page__enabled: options.Page = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Make one call to the teacher, and say what it cost; no cap counts it.")
    ] = False,
    json: options.Json = False,
) -> None:
    """What a run needs, looked over before it starts.

    Takes the flags of `run`. Says of each thing that is wrong what to do about it. Exits with 1 when a run would fail.
    """
    from askance.cli.doctor import show

    show(context, ask=ask, json=json)
