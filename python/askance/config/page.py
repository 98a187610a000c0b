"""The live page."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from askance.config.base import Positive, Section


class PageConfig(Section):
    """The live page, of `askance run --page` and `askance page`."""

    enabled: bool = False
    """Whether `askance run` shows it, from a process of its own."""
    host: str = "127.0.0.1"
    """The address to listen on. Whoever reaches it sees the figures and, unless `texts` is off, documents."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9465
    """The port; 0 is any free one, and is told."""
    metrics: tuple[str, ...] = ()
    """The `/metrics` addresses of the workers it shows; their counters are added up. `askance run` adds its own."""
    token_env: str = "PAGE_TOKEN"  # noqa: S105 - a variable's name
    """The environment variable with the token that promoting and rolling back on the page ask for, 16 characters at
    least. Where it is not set, the page changes nothing."""
    texts: bool = True
    """Whether texts of documents are sent to the page at all; it can hide them besides."""
    interval_seconds: Annotated[Positive, Field(ge=0.2, le=3600.0)] = 2.0
    """How often it is brought up to date. Estimates, which take longer, take a fifth of its time at most."""
