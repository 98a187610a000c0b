"""A run looked at afterwards, or before it is paid for."""

# No `from __future__ import annotations`: typer reads the annotations at run time.
from pathlib import Path
from typing import Annotated

import typer

from askance.cli import options

commands = typer.Typer()


@commands.command(epilog="Example: askance replay --topic askance.predictions --from 2026-11-25T08:00:00Z")
def replay(
    context: typer.Context,
    predictions: Annotated[Path | None, typer.Argument(help="A predictions file.")] = None,
    *,
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="TOPIC", help="Of predictions; with --version or --into, of documents."),
    ] = None,
    begin: options.From = None,
    end: options.To = None,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="NAME", help="Classify again with this one; default: the live one."),
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="TOPIC", help="Classify again, the new predictions to this topic.")
    ] = None,
    source__format: options.Format = None,
    source__text_field: options.TextField = None,
    source__id_field: options.IdField = None,
    budget__share: options.Share = None,
    budget__per_second: options.PerSecond = None,
    m_raru: options.MRaru = False,
    gate__measure: options.Measure = None,
    gate__seed: options.Seed = None,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Recompute every decision of a file or a topic and compare.

    With --version or --into: classify a stretch of the documents again, with another version or another policy, and
    compare with what was recorded.
    """
    from askance.cli.replay import command

    command(context)


@commands.command(epilog="Example: askance estimate --state askance-state --version live")
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


@commands.command(epilog="Example: askance simulate predictions.jsonl --truth documents.jsonl --field gold")
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


@commands.command(epilog="Example: askance report --state askance-state -o report.html")
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


@commands.command(epilog="Example: askance page --state askance-state --metrics http://127.0.0.1:9464/metrics")
def page(
    context: typer.Context,
    *,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", metavar="URL", help="The /metrics of a worker; once for each."),
    ] = None,
    registry: Annotated[
        str | None, typer.Option("--registry", metavar="PLACE", help="Where student versions are: a folder or a URL.")
    ] = None,
    page__host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Where to listen; default: this machine only.")
    ] = None,
    page__port: Annotated[int | None, typer.Option("--port", metavar="N", help="The port; 0: any free one.")] = None,
    page__texts: Annotated[
        bool | None, typer.Option("--texts/--no-texts", help="Whether documents are shown at all.")
    ] = None,
    kafka__bootstrap__servers: options.BootstrapServers = None,
    state: options.State = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
) -> None:
    """A live page on a run, while it goes on or afterwards.

    With a token of 16 characters or more in PAGE_TOKEN, versions can be promoted and rolled back on it.
    """
    from askance.cli.page import show

    show(context)
