"""What calls cost: prices a million tokens, and money for people to read. Pure.

Money is counted in whole nanos, billionths of the price table's currency, so that sums are exact: a dollar a million
tokens is 1,000 nanos a token.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

NANOS = 1_000_000_000
_TOKENS = 1_000_000


class Price(msgspec.Struct, frozen=True):
    """Of one model, in the currency's units a million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """Of prompt tokens that the provider had cached; None: as `input`."""

    def nanos(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """What a call costs; never rounded down.

        >>> Price(input=0.15, output=0.6, cached_input=0.075).nanos(1_000, 10, cached_tokens=400)
        126000
        """
        cached = min(cached_tokens, prompt_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        exact = (prompt_tokens - cached) * self.input + cached * cached_price + completion_tokens * self.output
        return math.ceil(round(exact * (NANOS // _TOKENS), 6))

    def times(self, part: float) -> Price:
        """The same at a part of it, as in a batch."""
        cached = None if self.cached_input is None else self.cached_input * part
        return Price(self.input * part, self.output * part, cached)


PRICES: Mapping[str, Price] = {
    "gpt-4.1": Price(2.0, 8.0, 0.5),
    "gpt-4.1-mini": Price(0.4, 1.6, 0.1),
    "gpt-4.1-nano": Price(0.1, 0.4, 0.025),
    "gpt-4o": Price(2.5, 10.0, 1.25),
    "gpt-4o-mini": Price(0.15, 0.6, 0.075),
    "gpt-5": Price(1.25, 10.0, 0.125),
    "gpt-5-mini": Price(0.25, 2.0, 0.025),
    "gpt-5-nano": Price(0.05, 0.4, 0.005),
    "o4-mini": Price(1.1, 4.4, 0.275),
}
"""List prices in US dollars as OpenAI published them in 2025. Prices change: `spend.prices` overrides them."""


def money(nanos: int) -> str:
    """An amount for people: to the cent from a dollar on, to a hundredth of a cent below, to two digits where smaller.

    >>> money(1_234_567_890), money(1_230_000), money(28_000), money(0)
    ('1.23', '0.0012', '0.000028', '0.0000')
    """
    if abs(nanos) >= NANOS:
        return f"{nanos / NANOS:,.2f}"
    # Of nanos with n digits the first stands at place 10 - n; nothing is smaller than place nine.
    places = min(9, max(4, 11 - len(str(abs(nanos))))) if nanos else 4
    return f"{nanos / NANOS:.{places}f}"
