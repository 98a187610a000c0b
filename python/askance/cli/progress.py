"""What is said on stderr while a command is at work: a run's line, its log, and a bar on a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

import typer

from askance.logs import Format, is_json, line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from askance.config import Logs
    from askance.summary import Snapshot

_LINES_EVERY = 10
"""Of the snapshots, about one a second, so many become one line where there is no terminal."""
_LINES_A_STEP = 4_096
"""A bar moves once in so many lines: telling it of each would take longer than most of what is done with them."""


class Progress:
    """A line on stderr about the run: on a terminal one that is written over, elsewhere a new one now and then.

    As JSON every line, of the run and of the log, is an object with the keys `at` and `level`.
    """

    def __init__(self, *, quiet: bool, logs: Logs) -> None:
        self._quiet = quiet
        self._as_json = is_json(logs)
        self._format = Format(logs)
        self._is_live = sys.stderr.isatty() and not self._as_json
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
            self._echo(line("info", run=snapshot) if self._as_json else snapshot.line())

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
                progress._echo(self.format(record))

        handler = ToStderr()
        handler.setFormatter(self._format)
        # OpenTelemetry says here what it could not export.
        for name, level in (
            ("askance", logging.WARNING if self._quiet else logging.INFO),
            ("opentelemetry", logging.WARNING),
        ):
            logger = logging.getLogger(name)
            logger.handlers = [handler]
            logger.setLevel(level)
            logger.propagate = False


@contextlib.contextmanager
def working(what: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal while the block works, which leaves nothing behind; without a terminal, nothing.

    What it gives takes how much more is done of `total`; without a total the bar only says that something goes on.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
    if total is not None:
        columns += [TextColumn("left:"), TimeRemainingColumn()]
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total)
        yield lambda more: bars.advance(task, more)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Iterator[bytes]]:
    """A file's lines, with a bar of how much of it is read. Raises `OSError`."""
    with path.open("rb") as file, working(f"reading {path.name}", path.stat().st_size or None) as advance:
        yield _told(file, advance)


def _told(lines: Iterable[bytes], advance: Callable[[float], None]) -> Iterator[bytes]:
    read = 0
    for number, text in enumerate(lines, 1):
        yield text
        read += len(text)
        if number % _LINES_A_STEP == 0:
            advance(read)
            read = 0
