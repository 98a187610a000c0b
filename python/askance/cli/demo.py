"""The body of `demo`: the whole loop on real text that is on every machine."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import msgspec
import typer

from askance import app, assembly
from askance.cli.progress import Progress
from askance.config import BudgetConfig, Config, PageConfig, SinkConfig, SourceConfig, TeacherConfig
from askance.demo import corpus, summary
from askance.errors import UsageError
from askance.report import render

FOLDER = Path("askance-demo")
REPORT = Path("askance-report.html")
DOCUMENTS_PER_SECOND = 200.0
SHARE = 0.15
LATENCY_MS = 20.0
ABOUT = (
    "Documents are docstrings of the standard library and of installed packages; a document's class is the library or "
    "area it comes from.",
    f"No LLM was called: the teacher replays the true class with 3 % of its answers wrong, drawn by key, after "
    f"{LATENCY_MS:g} ms each.",
)


def demo(*, page: bool, json: bool) -> None:
    """Stream the corpus, close the loop, and say how well it did; exits with 1 when the loop did not close.

    With `json` only the summary is on standard output, the rest on standard error.
    """
    if importlib.util.find_spec("sklearn") is None:
        msg = "the demo trains students, which needs scikit-learn; run: pip install 'askance[train]'"
        raise UsageError(msg)
    _start_anew()
    typer.echo("askance demo: " + "\n              ".join(ABOUT), err=json)
    built = corpus.build(FOLDER / "documents.jsonl")
    typer.echo(f"{sum(built.counts.values()):,} documents in {len(built.counts)} classes; streaming them now", err=json)
    config = Config(
        state=FOLDER / "state",
        source=SourceConfig(path=str(FOLDER / "documents.jsonl"), rate=DOCUMENTS_PER_SECOND),
        sink=SinkConfig(path=str(FOLDER / "predictions.jsonl")),
        budget=BudgetConfig(share=SHARE),
        teacher=TeacherConfig(kind="replay", model="demo", labels=tuple(sorted(built.counts)), latency_ms=LATENCY_MS),
        page=PageConfig(enabled=page and _can_show(), port=0),
    )
    progress = Progress(quiet=False, logs="text")
    progress.take_over_logging()
    run = app.execute(config, app.ALL_WORKERS, listener=progress.show)
    progress.clear()
    judged = summary.read(FOLDER / "documents.jsonl", FOLDER / "predictions.jsonl")
    registry = assembly.registry(config)
    versions = registry.versions()
    fit = [manifest.version for manifest in versions if manifest.verdict.promoted]
    result = summary.summarise(
        judged,
        first=assembly.load(registry, fit[0]) if fit else None,
        last=assembly.load(registry, fit[-1]) if fit else None,
        seconds=run.seconds,
    )
    written = render(summary.report(result, judged, versions, budget_share=SHARE, about=ABOUT))
    REPORT.write_text(written, encoding="utf-8")
    if json:
        typer.echo(msgspec.json.encode(result).decode())
    else:
        typer.echo("\n".join(result.lines()))
    typer.echo(f"report         {REPORT}", err=json)
    if config.page.enabled:
        typer.echo(f"page           askance page --state {config.state} shows it again", err=json)
    if run.failures or not result.closed:
        raise typer.Exit(1)


def _can_show() -> bool:
    return all(importlib.util.find_spec(library) for library in ("starlette", "uvicorn"))


def _start_anew() -> None:
    # Only what an earlier demo left is removed.
    if FOLDER.exists() and not (FOLDER / "documents.jsonl").exists() and any(FOLDER.iterdir()):
        msg = f"{FOLDER} exists and is not an earlier demo's; move it away or run the demo elsewhere"
        raise UsageError(msg)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
