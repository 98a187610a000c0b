"""What the Kafka tests stream: small texts of three classes, one in a hundred of them no document at all."""

from __future__ import annotations

import json
import random
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from askance.ledger import SqliteLedger
from askance.records import Answer, Coordinates, Label, Outcome, Query
from tests.doubles import give

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("fruit", "metal", "river")
WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "melon", "grape"],
    "metal": ["iron", "copper", "zinc", "silver", "nickel", "lead"],
    "river": ["rhine", "danube", "volga", "seine", "thames", "ebro"],
}
LARGEST_DOCUMENT = 2_000
"""Bytes; the streams' `source.max_document_bytes`."""
POISON: tuple[bytes | None, ...] = (
    None,
    b"",
    b"{not json",
    b'{"id": "no text"}',
    b'{"text": 5}',
    b'{"text": ""}',
    b'{"text": " \\n\\t"}',
    b'{"text": "\xff\xfe"}',
    b"\xff\x00\n\x01 not even a line",
    b"[" * 1500,
    b'["a list"]',
    b'{"text": "' + b"long " * 500 + b'"}',
)


class Input(NamedTuple):
    """A record as it is produced."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def text_of(number: int) -> str:
    """A text whose first word tells its class; the others are of any."""
    rng = random.Random(number)
    own = WORDS[rng.choice(LABELS)]
    return f"{' '.join(rng.choices(own, k=3))} {rng.choice(WORDS[rng.choice(LABELS)])} {number}"


def label_of(text: str) -> str:
    """The true class."""
    return next(label for label, words in WORDS.items() if text.split()[0] in words)


def is_poison(number: int) -> bool:
    """One record in a hundred."""
    return number % 100 == 37


def record(number: int) -> Input:
    """The stream's record of that number."""
    key = None if number % 5 == 0 else b"key-%d" % number
    trace = b"00-%032x-%016x-01" % (number + 1, number + 1)
    headers = (("traceparent", trace), ("empty", b""), ("traceparent", b"twice"))[: number % 4]
    if is_poison(number):
        return Input(key, POISON[number // 100 % len(POISON)], headers)
    return Input(key, json.dumps({"id": f"d{number}", "text": text_of(number)}).encode(), headers)


def teach_ledger(path: Path, rows: int) -> Path:
    """A ledger with so many labelled texts."""
    with closing(SqliteLedger(path)) as ledger:
        texts = {Coordinates("t", 0, number): text_of(10**6 + number) for number in range(rows)}
        queries = [Query(where, str(where), text, None, None, 1.0, 1.0, None, 0) for where, text in texts.items()]
        ledger.commit(queries, (), None)
        give(
            ledger,
            [
                Label(where, Outcome.LABELLED, label_of(text), "test", Answer(label_of(text)), 0.0)
                for where, text in texts.items()
            ],
        )
    return path
