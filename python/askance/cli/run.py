"""The bodies of `run`, `classify`, `teach` and `train`: flags to settings, one call, and what came of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from askance import app, settings
from askance.cli.progress import Progress
from askance.errors import UsageError
from askance.keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUDGETS = {"budget.share": "share", "budget.per_second": "per_second", "m_raru": "m-raru"}


def run_workers(context: typer.Context, *workers: str) -> None:
    """Run the workers with the settings of the file, the environment and the command's flags."""
    params = context.params
    config = settings.load(params["config"], overrides_of(params), flags=flags_of(context))
    progress = Progress(quiet=params["quiet"], logs=config.logs)
    progress.take_over_logging()
    if config.source.path == "-" and "classify" in workers and sys.stdin.isatty():
        typer.echo("askance: reading documents from the keyboard, one a line; end with Ctrl-D", err=True)
    summary = app.execute(config, frozenset(workers), listener=progress.show, once=bool(params.get("once")))
    progress.clear()
    # Predictions on standard output must stay alone there.
    aside = config.sink.path == "-" and "classify" in workers
    if params["json"]:
        typer.echo(msgspec.json.encode(summary).decode(), err=aside)
    elif not params["quiet"]:
        typer.echo("\n".join(summary.lines()), err=aside)
    if summary.failures:
        raise typer.Exit(1)


def overrides_of(params: Mapping[str, object]) -> dict[str, object]:
    """The settings that a command's parameters override, by dotted key."""
    overrides: dict[str, object] = {}
    for name, value in params.items():
        key = name.replace("__", ".")
        if key in KEYS and value is not None:
            overrides[key] = value
    budgets = [name for name in _BUDGETS if overrides.get(name) is not None or params.get(name) is True]
    if len(budgets) > 1:
        msg = "--share, --per-second and --m-raru exclude each other: keep one"
        raise UsageError(msg)
    if budgets:
        overrides["budget.kind"] = _BUDGETS[budgets[0]]
    if isinstance(labels := overrides.get("teacher.labels"), str):
        if "teacher.labels_from_field" in overrides:
            msg = "--labels and --labels-from-field exclude each other: keep one"
            raise UsageError(msg)
        overrides["teacher.labels"] = labels_of(labels)
        # The flag stands in for whatever the file says of the label set.
        overrides["teacher.labels_from_field"] = None
    elif "teacher.labels_from_field" in overrides:
        overrides["teacher.labels"] = None
    assignments = params.get("assignments")
    if isinstance(assignments, list):
        overrides |= settings.assigned(assignments)
    return overrides


def flags_of(context: typer.Context) -> dict[str, str]:
    """How the user wrote a setting on the command line, by dotted key."""
    flags = {
        param.name.replace("__", "."): param.opts[0]
        for param in context.command.params
        if param.name is not None and param.opts
    }
    return flags | settings.assigning(context.params["assignments"] or [])


def labels_of(text: str) -> tuple[str, ...]:
    """The labels of `a,b,c`, or those of a file, one a line, of `@file`.

    >>> labels_of("spam, ham")
    ('spam', 'ham')
    """
    if not text.startswith("@"):
        if "," not in text and Path(text).is_file():
            msg = f"--labels {text}: a label set needs two labels at least; the file of that name is read with @{text}"
            raise UsageError(msg)
        return tuple(label.strip() for label in text.split(",") if label.strip())
    path = Path(text[1:])
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        msg = f"--labels {text}: {path} cannot be read: {exc.strerror}; it holds a label a line"
        raise UsageError(msg) from exc
    except UnicodeDecodeError as exc:
        msg = f"--labels {text}: {path} is not UTF-8 at byte {exc.start}: save it as UTF-8"
        raise UsageError(msg) from exc
    return tuple(line.strip() for line in lines if line.strip())
