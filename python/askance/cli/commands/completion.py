"""What a shell offers for the value of a flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def completing(*values: str) -> Callable[[str], list[str]]:
    """Offers these; a wrong value is told by the command, in its own words."""

    def offer(incomplete: str) -> list[str]:  # typer goes by the parameter's name
        return [value for value in values if value.startswith(incomplete)]

    return offer
