"""The bodies of `run`, `classify`, `teach` and `train`: flags to settings, one call, and what came of it."""

from __future__ import annotations

import contextlib
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from askance import app, settings
from askance.errors import UsageError
from askance.keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from askance.summary import Snapshot

_BUDGETS = {"budget.share": "share", "budget.per_second": "per_second", "m_raru": "m-raru"}
_LINES_EVERY = 10
"""Of the snapshots, about one a second, so many become one line where there is no terminal."""


def run_workers(context: typer.Context, *workers: str) -> None:
    """Run the workers with the settings of the file, the environment and the command's flags."""
    params = context.params
    config = settings.load(params["config"], overrides_of(params), flags=flags_of(context))
    progress = Progress(quiet=params["quiet"], as_json=config.logs == "json")
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


class Progress:
    """A line on stderr about the run: on a terminal one that is written over, elsewhere a new one now and then.

    With `as_json` every line, of the run and of the log, is a JSON object with the keys `at` and `level`.
    """

    def __init__(self, *, quiet: bool, as_json: bool = False) -> None:
        self._quiet = quiet
        self._as_json = as_json
        self._is_live = sys.stderr.isatty() and not as_json
        self._shown = 0
        self._stands = False

    def show(self, snapshot: Snapshot) -> None:
        """Say where the run stands."""
        if self._quiet:
            return
        self._shown += 1
        if self._is_live:
            self.clear()
            self._echo(snapshot.line(), nl=False)
            self._stands = True
        elif self._shown % _LINES_EVERY == 1:
            self._echo(_json("info", run=snapshot) if self._as_json else snapshot.line())

    def clear(self) -> None:
        """Make room for something else."""
        if self._stands:
            self._echo("\r\x1b[2K", nl=False)
            self._stands = False

    def _echo(self, text: str, *, nl: bool = True) -> None:
        # Nobody reads stderr any more (a closed terminal, `2>&1 | head`): the run goes on without saying so.
        with contextlib.suppress(OSError):
            typer.echo(text, err=True, nl=nl)

    def take_over_logging(self) -> None:
        """Print what askance logs, each on a line of its own."""
        progress = self

        class ToStderr(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                progress.clear()
                said = self.format(record)
                if progress._as_json:
                    said = _json(record.levelname.lower(), logger=record.name, message=said)
                progress._echo(said if progress._as_json else f"askance: {said}")

        logger = logging.getLogger("askance")
        logger.handlers = [ToStderr()]
        logger.setLevel(logging.WARNING if self._quiet else logging.INFO)
        logger.propagate = False


def _json(level: str, **more: object) -> str:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return msgspec.json.encode({"at": at, "level": level, **more}).decode()
