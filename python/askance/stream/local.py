"""Streams on one machine: lines in, JSON lines out, the ledger for queries and positions.

Owns exactly-once on the local disk: outputs are appended and synced first, then one ledger transaction stores the
queries, the position in the input and the lengths of the outputs. A crash in between leaves a tail that no position
stands for, and the next start cuts it off before it reads on.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import msgspec

from askance.codec import encode_dead_letter, encode_predictions
from askance.errors import StreamError, UsageError
from askance.records import Coordinates, Position, Record
from askance.rules.serving import answer
from askance.stream.files import AppendedFile, LineReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from askance.protocols import Ledger
    from askance.records import Delivery

_FOLLOW_POLL_SECONDS = 0.1
_LONGEST_SLEEP_SECONDS = 0.25
_PARTITION = 0
_ANSWERS_AT_ONCE = 1000


class _Output(msgspec.Struct, frozen=True):
    path: str
    length: int


class _Bookmark(msgspec.Struct, frozen=True):
    """How far the files are done: the input's byte position and head, the outputs' lengths."""

    position: int
    head: str | None
    predictions: _Output | None
    dead_letters: _Output


class LocalStream:
    """Implements `protocols.Source` and `protocols.Sink` over files or standard input and output.

    The offset of a record is its line number, counted from 0 over all runs with the same ledger. `input` and
    `predictions` None mean standard input and output; what went to standard output cannot be taken back, so there
    a crash may repeat the last batch.
    """

    def __init__(
        self,
        *,
        input: Path | None,  # noqa: A002 - the natural name
        topic: str,
        follow: bool,
        rate: float,
        predictions: Path | None,
        dead_letters: Path,
        ledger: Ledger,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._topic = topic
        self._input = input
        self._ledger = ledger
        self._clock = clock
        self._sleep = sleep
        self._rate = rate
        self._started: float | None = None
        self._fetched = 0
        _check_distinct(input, predictions, dead_letters)
        progress = ledger.progress()
        bookmarks = {
            key: msgspec.json.decode(done.bookmark, type=_Bookmark) for key, done in progress.items() if done.bookmark
        }
        bookmark = bookmarks.get((topic, _PARTITION))
        _check_same_output(predictions, bookmark)
        self._next_offset = progress[topic, _PARTITION].next_offset if bookmark else 0
        self._reader = LineReader(input, follow=follow, start=bookmark.position if bookmark else 0)
        self._check_same_input(bookmark)
        # Several streams with one state may share an output: what any of them has committed stays.
        lengths = _committed(bookmarks.values())
        self._predictions = AppendedFile(predictions, lengths.get(_name(predictions))) if predictions else None
        self._dead_letters = AppendedFile(dead_letters, lengths.get(_name(dead_letters)))
        self._paths = (predictions, dead_letters)
        # Byte position behind the record below each next offset that a delivery may name.
        position = bookmark.position if bookmark else 0
        self._ends: dict[int, int] = {}
        # The outputs' lengths are committed with the position: one at a time writes.
        self._writing = asyncio.Lock()
        self._committed = (self._next_offset, position)
        # From here on a tail of the outputs is a crash's, not somebody else's file.
        ledger.commit([], [Position(topic, _PARTITION, self._next_offset, 0, 0, 0)], self._bookmark(position))

    def _check_same_input(self, bookmark: _Bookmark | None) -> None:
        if bookmark is None or self._input is None or self._reader.is_pipe or bookmark.head is None:
            return
        size = self._input.stat().st_size
        if size < bookmark.position or self._reader.head(bookmark.position) != bookmark.head:
            msg = (
                f"{self._input} is not the file this state has read {self._next_offset} lines of; put it back, or name "
                "another --state folder for a new stream"
            )
            raise UsageError(msg)

    async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record] | None:
        """See `protocols.Source`; with a rate, no more than it allows since the first fetch."""
        allowed = await self._allowance(max_records, max_wait_seconds)
        if allowed == 0:
            return []
        lines = await asyncio.to_thread(self._reader.read, allowed, max_wait_seconds)
        if not lines:
            if self._reader.ended:
                return None
            if not self._reader.is_pipe:
                await self._sleep(_FOLLOW_POLL_SECONDS)
            return []
        first = self._next_offset
        self._next_offset += len(lines)
        self._fetched += len(lines)
        self._ends[self._next_offset] = lines[-1].end
        return [
            Record(Coordinates(self._topic, _PARTITION, first + index), line.value) for index, line in enumerate(lines)
        ]

    async def _allowance(self, max_records: int, max_wait_seconds: float) -> int:
        if not self._rate:
            return max_records
        if self._started is None:
            self._started = self._clock()
        due = int((self._clock() - self._started) * self._rate) + 1
        if due <= self._fetched:
            # Let a whole linger's worth come due, not one record at a time; but look up for a stop now and then.
            await self._sleep(min(max(max_wait_seconds, 1 / self._rate), _LONGEST_SLEEP_SECONDS))
            due = int((self._clock() - self._started) * self._rate) + 1
        return max(0, min(max_records, due - self._fetched))

    async def deliver(self, delivery: Delivery) -> Sequence[Position]:
        """See `protocols.Sink`."""
        async with self._writing:
            await asyncio.to_thread(self._deliver, delivery)
        return delivery.positions

    async def follow_up(self, now: float) -> int:
        """Append what follows predictions that a contract left open, durable like a delivery; returns how many.

        These are the teacher's answers that came since, and the provisional answers of held documents whose deadline
        is past at `now` (Unix time). A crash in between repeats none of them.
        """
        async with self._writing:
            return await asyncio.to_thread(self._follow_up, now)

    async def is_holding(self) -> bool:
        """See `protocols.Follower`."""
        held, _ = await asyncio.to_thread(self._ledger.awaited)
        return held > 0

    def _follow_up(self, now: float) -> int:
        answers = [answer(query, label) for query, label in self._ledger.due_answers(now, _ANSWERS_AT_ONCE)]
        if not answers:
            return 0
        self._append(encode_predictions([prediction for prediction, _ in answers]))
        next_offset, end = self._committed
        standings = [
            (Coordinates(prediction.topic, prediction.partition, prediction.offset), standing)
            for prediction, standing in answers
        ]
        position = Position(self._topic, _PARTITION, next_offset, 0, 0, 0)
        self._ledger.commit([], [position], self._bookmark(end), standings)
        return len(answers)

    def _append(self, values: Iterable[bytes]) -> None:
        data = b"".join(value + b"\n" for value in values)
        if not data:
            return
        if self._predictions:
            self._predictions.append(data)
        else:
            _print(data)

    def _deliver(self, delivery: Delivery) -> None:
        self._append(value for _, value in delivery.predictions if value is not None)
        if delivery.dead_letters:
            self._dead_letters.append(b"".join(encode_dead_letter(letter) + b"\n" for letter in delivery.dead_letters))
        (position,) = delivery.positions
        end = self._ends.pop(position.next_offset)
        self._ledger.commit([query for _, query in delivery.queries], delivery.positions, self._bookmark(end))
        self._committed = (position.next_offset, end)

    def _bookmark(self, end: int) -> str:
        predictions, dead_letters = self._paths
        bookmark = _Bookmark(
            position=end,
            head=None if self._reader.is_pipe else self._reader.head(end),
            predictions=_Output(_name(predictions), self._predictions.length)
            if predictions and self._predictions
            else None,
            dead_letters=_Output(_name(dead_letters), self._dead_letters.length),
        )
        return msgspec.json.encode(bookmark).decode()

    async def aclose(self) -> None:
        """Close the files."""
        self._reader.close()
        self._dead_letters.close()
        if self._predictions:
            self._predictions.close()


def _name(path: Path) -> str:
    return str(path.resolve())


def _committed(bookmarks: Iterable[_Bookmark]) -> dict[str, int]:
    """By name, the length each output had at its last delivery; outputs only grow."""
    lengths: dict[str, int] = {}
    for bookmark in bookmarks:
        for output in (bookmark.predictions, bookmark.dead_letters):
            if output is not None:
                lengths[output.path] = max(output.length, lengths.get(output.path, 0))
    return lengths


def _check_distinct(*paths: Path | None) -> None:
    names = [_name(path) for path in paths if path is not None and (path.is_file() or not path.exists())]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        msg = f"{twice} is used twice; input, predictions and dead letters need a file each"
        raise UsageError(msg)


def _check_same_output(predictions: Path | None, bookmark: _Bookmark | None) -> None:
    if bookmark is None or bookmark.predictions is None:
        return
    before = bookmark.predictions.path
    if predictions is None or _name(predictions) != before:
        msg = f"this stream's predictions went to {before} so far; name it again, or another --state for a new stream"
        raise UsageError(msg)


def _print(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as exc:
        msg = "standard output was closed by its reader"
        raise StreamError(msg) from exc
