"""Writes `src/features/unicode_tables.rs`: which characters make words, pinned to one Unicode version.

The tables are pinned (not taken from the standard library of the day) because a student is trained on
features that every later build has to reproduce. Run with the release of `regex` that carries Unicode 16.0:

    pip install regex==2024.11.6 && python rust/core/tools/make_unicode_tables.py
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import regex

WORD = r"[\p{L}\p{M}\p{N}_]"
CASED = r"(?V1)[[\p{L}\p{M}\p{N}]&&\p{Changes_When_Lowercased}]"
ALONE = r"(?V1)[[\p{L}\p{M}\p{N}]&&[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]]"
SURROGATES = range(0xD800, 0xE000)


def ranges(pattern: str) -> Iterator[tuple[int, int]]:
    """The inclusive ranges of the characters that match."""
    matches = regex.compile(pattern).match
    start = None
    for code in range(0x110001):
        member = code < 0x110000 and code not in SURROGATES and matches(chr(code)) is not None
        if member and start is None:
            start = code
        elif not member and start is not None:
            yield start, code - 1
            start = None


def table(name: str, doc: str, pattern: str) -> Iterator[str]:
    """One table as the lines of a Rust item."""
    cells = [f"(0x{first:X}, 0x{last:X})," for first, last in ranges(pattern)]
    yield f"/// {doc}"
    yield "#[rustfmt::skip]"
    yield f"pub(super) const {name}: [(u32, u32); {len(cells)}] = ["
    for i in range(0, len(cells), 5):
        yield "    " + " ".join(cells[i : i + 5])
    yield "];"


def main() -> None:
    """Write the tables, or stop if `regex` carries another Unicode version."""
    if not regex.match(r"\p{L}", "\ua7da") or regex.match(r"\p{L}", "\ua7ce"):
        sys.exit("this release of regex does not carry Unicode 16.0: pip install regex==2024.11.6")
    lines = [
        "//! Written by `tools/make_unicode_tables.py` from Unicode 16.0; inclusive ranges of code points.",
        "",
        *table("WORD", "General category L, M or N, and `_`.", WORD),
        "",
        *table("CASED", "The word characters that lowercasing changes.", CASED),
        "",
        *table("ALONE", "The word characters whose script is Han, Hiragana or Katakana.", ALONE),
    ]
    target = Path(__file__).parents[1] / "src" / "features" / "unicode_tables.rs"
    target.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
