"""`askance`: its commands, their flags and their help; nothing heavy is imported before a command is called.

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
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(help="Student versions: list, show, promote, roll back.", no_args_is_help=True)
config = typer.Typer(help="Settings: check them, or show what is in force.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(config, name="config")
topics = typer.Typer(help="Kafka topics: make them.", no_args_is_help=True)
app.add_typer(topics, name="topics")


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


@app.command(epilog="Example: askance run -i documents.jsonl -o predictions.jsonl --labels spam,ham --teacher openai")
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
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Classify, teach and train on one stream, in one process."""
    from askance.cli.run import run_workers

    run_workers(context, "classify", "teach", "train")


@app.command(epilog="Example: tail -f app.log | askance classify --format text -o predictions.jsonl")
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


@app.command(epilog="Example: askance teach --teacher openai --model gpt-4.1-mini --labels @labels.txt")
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
        bool, typer.Option("--dry-run", help="Ask nobody; say what 1,000 documents of the input would cost.")
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


@app.command(epilog="Example: askance spend --by label")
def spend(
    *,
    by: Annotated[str, typer.Option("--by", metavar="KEY", help="day, model, version or label.")] = "day",
    state: options.State = None,
    config: options.ConfigFile = None,
    json: options.Json = False,
) -> None:
    """What the teacher has cost."""
    from askance.cli.spend import show_spend

    show_spend(config, state, by, json=json)


@app.command(epilog="Example: askance audit")
def audit(*, state: options.State = None, config: options.ConfigFile = None, json: options.Json = False) -> None:
    """How far the teacher agrees with itself, which bounds any student."""
    from askance.cli.spend import show_audits

    show_audits(config, state, json=json)


@app.command(epilog="Example: askance train --labels @labels.txt --once")
def train(
    context: typer.Context,
    *,
    source__path: options.Input = None,
    teacher__kind: options.Teacher = None,
    teacher__labels: options.Labels = None,
    teacher__labels_from_field: options.LabelsFromField = None,
    teacher__replay_path: options.ReplayFile = None,
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


@models.command("list", epilog="Example: askance models list --state askance-state")
def list_models(*, state: options.State = None, config: options.ConfigFile = None, json: options.Json = False) -> None:
    """Every version, oldest first, and which one is live."""
    from askance.cli.models import list_versions

    list_versions(config, state, json=json)


@models.command("show", epilog="Example: askance models show v0003-1a2b3c4d")
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


@models.command("promote", epilog="Example: askance models promote v0003-1a2b3c4d")
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


@models.command("rollback", epilog="Example: askance models rollback")
def roll_back_model(
    *, state: options.State = None, config: options.ConfigFile = None, json: options.Json = False
) -> None:
    """Make the previous live version live again."""
    from askance.cli.models import roll_back

    roll_back(config, state, json=json)


@topics.command("create", epilog="Example: askance topics create --bootstrap-servers localhost:9092 --partitions 12")
def create_topics(
    context: typer.Context,
    *,
    partitions: Annotated[int, typer.Option("--partitions", min=1, help="Of each topic.")] = 6,
    replication: Annotated[int, typer.Option("--replication", min=1, help="Copies of each partition.")] = 1,
    retention_hours: Annotated[
        float, typer.Option("--retention-hours", min=0.0, help="For predictions and dead letters.")
    ] = 168.0,
    documents: Annotated[bool, typer.Option("--documents", help="Make the documents' topics too.")] = False,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Make the topics that are not there yet: predictions, queries, labels, dead letters."""
    from askance.cli.topics import create

    create(
        context,
        partitions=partitions,
        replication=replication,
        retention_hours=retention_hours,
        documents=documents,
        json=json,
    )


@app.command(epilog="Example: askance replay predictions.jsonl")
def replay(predictions: Annotated[Path, typer.Argument(help="A predictions file.")]) -> None:
    """Recompute every decision of a predictions file and compare."""
    from askance.cli.replay import replay

    replay(predictions)


@app.command(epilog="Example: askance estimate --state askance-state --version live")
def estimate(
    *,
    version: Annotated[
        str | None, typer.Option("--version", metavar="NAME", help="One version's documents; live: the live one's.")
    ] = None,
    since: Annotated[int, typer.Option("--since", metavar="OFFSET", min=0, help="Where the window begins.")] = 0,
    until: Annotated[
        int | None, typer.Option("--until", metavar="OFFSET", min=0, help="Where it ends; default: now.")
    ] = None,
    gold: Annotated[
        Path | None, typer.Option("--gold", metavar="FILE", help="JSONL with true labels, to estimate accuracy too.")
    ] = None,
    gold_field: Annotated[str, typer.Option("--gold-field", metavar="NAME", help="Its field with the label.")] = "gold",
    state: options.State = None,
    config: options.ConfigFile = None,
    json: options.Json = False,
) -> None:
    """What the labels say of the whole stream."""
    from askance.cli.estimate import estimate

    estimate(config, state, version=version, since=since, until=until, gold=gold, gold_field=gold_field, json=json)


@app.command(epilog="Example: askance simulate predictions.jsonl --truth documents.jsonl --field gold")
def simulate(
    predictions: Annotated[Path, typer.Argument(help="A predictions file.")],
    *,
    truth: Annotated[Path, typer.Option("--truth", metavar="FILE", help="JSONL with right answers, all or some.")],
    field: Annotated[str, typer.Option("--field", metavar="NAME", help="Its field with the right answer.")] = "gold",
    id_field: Annotated[str, typer.Option("--id-field", metavar="NAME", help="Its field with the identifier.")] = "id",
    shares: Annotated[
        str, typer.Option("--shares", metavar="A,B,C", help="Parts of the documents to ask about.")
    ] = "0,0.01,0.02,0.05,0.1,0.2,0.3,0.5",
    picture: Annotated[Path | None, typer.Option("--picture", metavar="FILE", help="Draw it, as an HTML page.")] = None,
    json: options.Json = False,
) -> None:
    """What each budget would buy."""
    from askance.cli.simulate import run

    run(predictions, truth, field=field, id_field=id_field, shares=shares, picture=picture, json=json)


@app.command(epilog="Example: askance report --state askance-state -o report.html")
def report(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")] = Path(
        "askance-report.html"
    ),
    state: options.State = None,
    config: options.ConfigFile = None,
) -> None:
    """One self-contained page on a run."""
    from askance.cli.report import write

    write(config, state, output)


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


@config.command("check", epilog="Example: askance config check --config askance.yaml")
def check_config(*, config: options.ConfigFile = None, assignments: options.Assignments = None) -> None:
    """Say whether the settings are in order; exits with 2 where they are not."""
    from askance.cli.config import check

    check(config, assignments or [])


@config.command("show", epilog="Example: askance config show --set budget.share=0.1")
def show_config(
    *,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Every setting in force and where it comes from, without credentials."""
    from askance.cli.config import show

    show(config, assignments or [], json=json)


@app.command(epilog="Example: askance demo")
def demo() -> None:
    """The whole loop on real text, in under two minutes."""
    from askance.cli.demo import demo

    demo()
