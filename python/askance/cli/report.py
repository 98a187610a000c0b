"""The body of `askance report`: one self-contained page on the run of a state folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from askance import assembly, settings
from askance.cli.progress import working
from askance.errors import UsageError
from askance.report import render
from askance.rules.overview import run_report

if TYPE_CHECKING:
    from pathlib import Path


def write(config: Path | None, state: Path | None, output: Path) -> None:
    """Write the page and say where it is."""
    overrides = {} if state is None else {"state": state}
    loaded = settings.load(config, overrides, flags={"state": "--state"}, looks_back=True)
    if not loaded.state.is_dir():
        msg = f"{loaded.state}: there is no such folder; name the one of the run with --state"
        raise UsageError(msg)
    if not assembly.ledger_path(loaded, "train").exists():
        msg = f"there is no ledger in {loaded.state}, so there is nothing to report; name another folder with --state"
        raise UsageError(msg)
    registry = assembly.registry(loaded)
    with working("reporting"):
        with assembly.ledger(loaded, "train") as ledger:
            tallies, judged = ledger.tallies(), ledger.judged()
        report = run_report(registry.versions(), registry.current(), tallies, judged)
        page = render(report)
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as exc:
        msg = f"{output}: cannot be written ({exc.strerror}); choose another file with --output"
        raise UsageError(msg) from exc
    waiting = f", {report.pending:,} waiting" if report.pending else ""
    typer.echo(f"{output}: {report.documents:,} documents, {report.teacher_calls:,} teacher calls{waiting}")
