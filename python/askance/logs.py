"""How a process logs on standard error: lines for people, or a JSON object a line for whatever collects logs."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from askance.config import Logs


def is_json(logs: Logs) -> bool:
    """Whether the log is JSON lines: as the setting says, or with `auto` wherever no person reads it."""
    return logs == "json" or (logs == "auto" and not sys.stderr.isatty())


def line(level: str, **more: object) -> str:
    """A line of the log as JSON: when (UTC) and how grave, and what more there is to say."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return msgspec.json.encode({"at": at, "level": level, **more}).decode()


class Format(logging.Formatter):
    """What the log says, on one line."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._is_json = is_json(logs)

    def format(self, record: logging.LogRecord) -> str:
        """A record as it is printed."""
        said = super().format(record)
        if self._is_json:
            return line(record.levelname.lower(), logger=record.name, message=said)
        return f"askance: {said}"


def warn_on_stderr(logs: Logs) -> None:
    """Print warnings, and nothing less grave, in a process that has no progress to show."""
    handler = logging.StreamHandler()
    handler.setFormatter(Format(logs))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
