"""What asking the teacher is going to cost, before a cent is spent: `askance teach --dry-run`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from askance import assembly, teaching
from askance.calls import Charge, Spend
from askance.errors import UsageError
from askance.records import Coordinates, Query, Record
from askance.rules.spend import money

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from askance.config import Config
    from askance.records import Document

SAMPLE = 1_000
"""So many of the source's documents are looked at, and for so many the figures are."""


class Forecast(msgspec.Struct, frozen=True):
    """Per 1,000 documents of the stream; `nanos` are billionths of the prices' currency, None: no price is known."""

    source: str
    sampled: int
    queries: float
    share_is_known: bool
    """Whether the budget says what part of the documents is asked about; else all of them are taken to be."""
    advance: int
    """So many queries more come early, once, while there is no student."""
    teacher: str
    calls: float
    prompt_tokens: float
    completion_tokens: float
    nanos: float | None
    worst_tokens: float
    worst_nanos: float | None

    def lines(self) -> list[str]:
        """In plain words, a line each."""
        asked = f"{self.queries:,.0f} of 1,000 documents"
        if not self.share_is_known:
            asked += " at most: this budget asks for as many as there are uncertain ones"
        elif self.advance:
            asked += f", and up to {self.advance:,} early while there is no student (budget.advance)"
        tokens = f"{self.prompt_tokens + self.completion_tokens:,.0f} expected ({self.prompt_tokens:,.0f} prompt, "
        tokens += f"{self.completion_tokens:,.0f} completion), {self.worst_tokens:,.0f} at worst"
        cost = f"unknown: {self.teacher} has no price; set it in spend.prices"
        if self.nanos is not None and self.worst_nanos is not None:
            cost = f"{money(round(self.nanos))} expected, {money(round(self.worst_nanos))} at worst"
        return [
            f"documents      {self.sampled:,} looked at, from {self.source}",
            f"teacher asked  {asked}",
            f"calls          {self.calls:,.1f} per 1,000 documents, to {self.teacher}",
            f"tokens         {tokens}",
            f"cost           {cost}",
        ]


def forecast(config: Config) -> Forecast:
    """Look at the source's first documents and reckon; the ledger is not touched and nobody is asked.

    Expected are four bytes a token and the usual reply; at worst every byte is a token and the reply as long as it may
    be. A failed call that is made again is in neither. Raises `UsageError` when the source has no documents.
    """
    documents = assembly.decoder(config).decode(_records(config))[0]
    if not documents:
        what = "put some there" if assembly.on_kafka(config) else "name a file with --input"
        msg = f"there is no document to look at in {_source(config)}; {what}"
        raise UsageError(msg)
    teacher = teaching.make_teacher(config, teaching.labels(config), forecasting=True)
    size = teacher.documents_per_call
    queries = [_query(document) for document in documents]
    groups = [queries[start : start + size] for start in range(0, len(queries), size)]
    expected = [charge for group in groups for charge in teacher.expected(group)]
    worst = sum((teacher.worst(group) for group in groups), Spend())
    known = config.budget.kind == "share"
    asked = SAMPLE * config.budget.share if known else float(SAMPLE)
    scale = asked / len(queries)
    models = {config.teacher.model, config.teacher.first.model or config.teacher.model}
    has_price = config.teacher.kind != "openai" or all(teaching.price(config, model) for model in models)
    whole = _sum(teacher.name, expected)
    return Forecast(
        source=_source(config),
        sampled=len(queries),
        queries=asked,
        share_is_known=known,
        advance=config.budget.advance if known else 0,
        teacher=teacher.name,
        calls=whole.calls * scale,
        prompt_tokens=whole.prompt_tokens * scale,
        completion_tokens=whole.completion_tokens * scale,
        nanos=whole.nanos * scale if has_price else None,
        worst_tokens=worst.tokens * scale,
        worst_nanos=worst.nanos * scale if has_price else None,
    )


def _source(config: Config) -> str:
    if assembly.on_kafka(config):
        return f"Kafka: {', '.join(config.kafka.documents)}"
    return "standard input" if config.source.path == "-" else config.source.path


def _records(config: Config) -> Sequence[Record]:
    """The source's first records, as many as are looked at."""
    if assembly.on_kafka(config):
        return asyncio.run(_from_topics(config))
    with ExitStack() as stack:
        if config.source.path == "-":
            lines: Iterable[bytes] = sys.stdin.buffer
        else:
            try:
                lines = stack.enter_context(Path(config.source.path).open("rb"))
            except OSError as exc:
                msg = f"cannot read {config.source.path}: {exc.strerror}; name a file of documents with --input"
                raise UsageError(msg) from exc
        return [
            Record(Coordinates("forecast", 0, offset), line.rstrip(b"\r\n"))
            for offset, line in enumerate(islice(lines, SAMPLE))
        ]


async def _from_topics(config: Config) -> Sequence[Record]:
    # In no consumer group: nothing is committed, and no worker's partitions move.
    from askance.stream.kafka.ranges import Bound, TopicRange

    async with TopicRange(config.kafka, config.kafka.documents, Bound(offset=0), Bound()) as stretch:
        return await stretch.fetch(max_records=SAMPLE, max_wait_seconds=0.0) or []


def _query(document: Document) -> Query:
    return Query(document.record.coordinates, document.id, document.text, None, None, 1.0, 1.0, None, 0)


def _sum(teacher: str, charges: list[Charge]) -> Charge:
    return Charge(
        teacher,
        calls=sum(charge.calls for charge in charges),
        prompt_tokens=sum(charge.prompt_tokens for charge in charges),
        completion_tokens=sum(charge.completion_tokens for charge in charges),
        nanos=sum(charge.nanos for charge in charges),
    )
