"""What a response's headers say of when to ask again. Pure: the clock is passed in."""

from __future__ import annotations

import math
import re
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def retry_after_seconds(headers: Mapping[str, str], now: Callable[[], float]) -> float | None:
    """What `Retry-After-Ms` or `Retry-After` (seconds or a date) asks for; None when absent, past or malformed."""
    for header, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(header)
        if value is None:
            continue
        try:
            seconds = float(value) / per_second
        except ValueError:
            seconds = _seconds_until(value, now)
        if 0 < seconds < math.inf:
            return seconds
    return None


def _seconds_until(date: str, now: Callable[[], float]) -> float:
    """0 for what is no date."""
    try:
        parsed = parsedate_tz(date)
        return 0.0 if parsed is None else mktime_tz(parsed) - now()
    except (ValueError, OverflowError):  # a year that no calendar has
        return 0.0


def rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """How long until a used-up limit is filled again, from OpenAI's headers such as `6m0s`; None while there is room.

    >>> rate_limit_reset({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m30.5s"})
    90.5
    """
    waits = [
        sum(float(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|[smhd])", reset))
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0"
        and re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|[smhd]))+", reset := headers.get(f"x-ratelimit-reset-{kind}", ""))
    ]
    return max(waits, default=None)
