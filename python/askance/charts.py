"""Inline SVG for the report: axes, and what stands on them. Colours and fonts are the page's CSS classes.

Own drawing, because it is a hundred lines: the light pure-Python chart libraries (pygal and its kin) bring scripts
loaded from elsewhere and their own colours, which a self-contained page with a dark mode would have to undo.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 52, 16, 54

# Control characters but tab and line feed, and lone surrogates: neither HTML nor UTF-8 can hold them.
_UNPRINTABLE = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000)), "\ufffd") | {9: " ", 10: " "}


def text(value: str) -> str:
    """`value` as it may stand in HTML, between tags or in a quoted attribute, whatever is in it."""
    return html.escape(value.translate(_UNPRINTABLE))


class Plot:
    """One chart of shares: give it the ranges of its axes, put things on it, take the SVG."""

    def __init__(self, title: str, *, x: tuple[float, float], y: tuple[float, float], x_title: str) -> None:
        self._title = title
        self._x_ticks, self._y_ticks = ticks(*x), ticks(*y)
        self._x_range = (x[0], max(x[1], x[0] + 1e-9))
        self._y_range = (self._y_ticks[0], self._y_ticks[-1])
        self._marks: list[str] = []
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        for tick in self._y_ticks:
            height = self._y(tick)
            said = f"{tick:.0%}" if self._y_ticks[1] - self._y_ticks[0] > 0.0099 else f"{tick:.1%}"
            self._marks.append(f'<path class="grid" d="M{LEFT} {height:.1f}H{right}"/>')
            self._marks.append(f'<text class="y" x="{LEFT - 8}" y="{height + 4:.1f}">{said}</text>')
        for tick in self._x_ticks:
            if x[0] <= tick <= x[1]:
                place = self._x(tick)
                self._marks.append(f'<path class="axis" d="M{place:.1f} {bottom}v5"/>')
                self._marks.append(f'<text class="x" x="{place:.1f}" y="{bottom + 20}">{tick:,.0f}</text>')
        self._marks.append(f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>')
        self._marks.append(f'<text class="x" x="{(LEFT + right) / 2}" y="{HEIGHT - 8}">{text(x_title)}</text>')

    def _x(self, value: float) -> float:
        low, high = self._x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        low, high = self._y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Sequence[tuple[float, float]], kind: str = "line") -> None:
        """A line through the points."""
        if points:
            path = "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in points)
            self._marks.append(f'<path class="{kind}" d="M{path}"/>')

    def band(self, points: Sequence[tuple[float, float, float]]) -> None:
        """The area between (x, low) and (x, high)."""
        if points:
            there = [f"{self._x(x):.1f} {self._y(high):.1f}" for x, _, high in points]
            back = [f"{self._x(x):.1f} {self._y(low):.1f}" for x, low, _ in reversed(points)]
            self._marks.append(f'<path class="band" d="M{"L".join(there + back)}Z"/>')

    def interval(self, x: float, low: float, high: float) -> None:
        """A vertical stroke from low to high."""
        self._marks.append(f'<path class="interval" d="M{self._x(x):.1f} {self._y(low):.1f}V{self._y(high):.1f}"/>')

    def dot(self, x: float, y: float, tip: str, *, is_filled: bool = True) -> None:
        """A point; `tip` is shown when it is pointed at."""
        kind = "dot" if is_filled else "dot hollow"
        place = f'cx="{self._x(x):.1f}" cy="{self._y(y):.1f}"'
        self._marks.append(f'<circle class="{kind}" {place} r="5"><title>{text(tip)}</title></circle>')

    def bar(self, start: float, end: float, height: float, tip: str) -> None:
        """A bar on the x axis."""
        left, right, top = self._x(start) + 1, self._x(end) - 1, self._y(height)
        size = f'width="{max(right - left, 1):.1f}" height="{max(HEIGHT - BOTTOM - top, 0):.1f}"'
        self._marks.append(f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" {size}><title>{text(tip)}</title></rect>')

    def rule(self, y: float, name: str) -> None:
        """A dashed horizontal line with its name at the right end."""
        right, height = WIDTH - RIGHT, self._y(y)
        self._marks.append(f'<path class="rule" d="M{LEFT} {height:.1f}H{right}"/>')
        self._marks.append(f'<text class="end" x="{right}" y="{height - 6:.1f}">{text(name)}</text>')

    def swap(self, x: float, tip: str) -> None:
        """A vertical mark where another version went live."""
        place = self._x(x)
        path = f'<path class="swap" d="M{place:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        flag = f'<path class="flag" d="M{place:.1f} {TOP}l7 4l-7 4z"/>'
        self._marks.append(f"<g>{path}{flag}<title>{text(tip)}</title></g>")

    def note(self, x: float, y: float, said: str) -> None:
        """A word to the right of a point."""
        place = f'x="{self._x(x) + 9:.1f}" y="{self._y(y) + 5:.1f}"'
        self._marks.append(f'<text class="note" {place}>{text(said)}</text>')

    def svg(self) -> str:
        """The chart."""
        name = text(self._title)
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}"><title>{name}</title>'
            f"{''.join(self._marks)}</svg>"
        )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round numbers, evenly spaced, the first at or below `low` and the last at or above `high`.

    >>> ticks(0.42, 0.81)
    [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    >>> ticks(0, 7_671)
    [0.0, 2000.0, 4000.0, 6000.0, 8000.0]
    """
    span = max(high - low, abs(high) * 1e-6, 1e-6)
    exponent = math.floor(math.log10(span / most))
    for power, step in ((power, step) for power in range(exponent, exponent + 4) for step in (1, 2, 5)):
        width = step * 10.0**power
        first, last = math.floor(low / width + 1e-9), math.ceil(high / width - 1e-9)
        last = max(last, first + 1)
        if last - first < most:
            return [round(index * width, 12) for index in range(first, last + 1)]
    msg = f"no ticks between {low} and {high}"
    raise ValueError(msg)
