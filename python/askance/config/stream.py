"""Where documents come from and predictions go, on files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from askance.config.base import Section


class SourceConfig(Section):
    """Where documents come from."""

    path: str = "-"
    """A file of documents, one a line; `-` is standard input."""
    format: Literal["jsonl", "text"] = "jsonl"
    """`jsonl`: one JSON object a line; `text`: each line is a document."""
    text_field: str = "text"
    """The JSON field that holds the text."""
    id_field: str = "id"
    """The JSON field that holds the identifier; where a document has none, its coordinates are its identifier."""
    topic: str | None = None
    """The stream's name in every draw; default: the file's name without its ending."""
    follow: bool = False
    """Wait for more lines at the end of the file, as `tail -f` does."""
    rate: Annotated[float, Field(ge=0.0)] | None = None
    """Documents per second at most; 0 is as fast as possible. Default: `askance run` plays a finite file at 1,000 a
    second, so that students can learn while it plays; everything else is as fast as possible."""
    max_document_bytes: Annotated[int, Field(ge=1)] = 1_048_576
    """A longer line becomes a dead letter."""


class SinkConfig(Section):
    """Where predictions go."""

    path: str = "-"
    """A JSONL file; `-` is standard output (which a crash cannot take back: at least once, not exactly once)."""
    dead_letters: str | None = None
    """Default: `dead-letters.jsonl` beside the predictions file, or in the state folder with standard output."""


class MetricsConfig(Section):
    """Where `/metrics`, `/healthz` and `/readyz` are served over HTTP."""

    host: str = "127.0.0.1"
    """The address to listen on; in a container `0.0.0.0`."""
    port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """The port, 9464 by custom; 0 is any free one, and is logged. Not set: nothing is served."""
