"""The live page."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from askance.config.base import Positive, Section


def _names(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", host) is None:
            msg = f"{host!r} is no host's name; write it without scheme, port or *, such as page.example.org"
            raise ValueError(msg)
    return hosts


class PageConfig(Section):
    """The live page, of `askance run --page` and `askance page`."""

    enabled: bool = False
    """Whether `askance run` shows it, from a process of its own."""
    host: str = "127.0.0.1"
    """The address to listen on. Whoever reaches it sees the figures and, unless `texts` is off, documents."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9465
    """The port; 0 is any free one, and is told."""
    hosts: Annotated[tuple[str, ...], AfterValidator(_names)] = ()
    """Further names that it may be reached by, such as an ingress's. It answers to IP addresses, `localhost`, `host`
    and these, so that no web page elsewhere can read it by a name of its own that points here."""
    metrics: tuple[str, ...] = ()
    """The `/metrics` addresses of the workers it shows; their counters are added up. `askance run` adds its own."""
    token_env: str = "PAGE_TOKEN"  # noqa: S105 - a variable's name
    """The environment variable with the token that promoting and rolling back on the page ask for, 16 characters at
    least. Where it is not set, the page changes nothing."""
    texts: bool = True
    """Whether texts of documents are sent to the page at all; it can hide them besides."""
    interval_seconds: Annotated[Positive, Field(ge=0.2, le=3600.0)] = 2.0
    """How often it is brought up to date. Estimates, which take longer, take a fifth of its time at most."""
