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

from askance.codec import encode_dead_letter
from askance.errors import StreamError, UsageError
from askance.records import Coordinates, Position, Record
from askance.stream.files import AppendedFile, LineReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from askance.protocols import Ledger
    from askance.records import Delivery

_FOLLOW_POLL_SECONDS = 0.1
_PARTITION = 0


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
        done = ledger.progress().get((topic, _PARTITION))
        self._next_offset = done.next_offset if done else 0
        bookmark = msgspec.json.decode(done.bookmark, type=_Bookmark) if done and done.bookmark else None
        self._reader = LineReader(input, follow=follow, start=bookmark.position if bookmark and input else 0)
        self._check_same_input(bookmark)
        self._predictions = AppendedFile(predictions, _committed(predictions, bookmark)) if predictions else None
        self._dead_letters = AppendedFile(dead_letters, _committed(dead_letters, bookmark))
        self._paths = (predictions, dead_letters)
        # Byte position behind the record below each next offset that a delivery may name.
        position = bookmark.position if bookmark else 0
        self._ends: dict[int, int] = {}
        # From here on a tail of the outputs is a crash's, not somebody else's file.
        ledger.commit([], [Position(topic, _PARTITION, self._next_offset, 0, 0, 0)], self._bookmark(position))

    def _check_same_input(self, bookmark: _Bookmark | None) -> None:
        if bookmark is None or self._input is None or bookmark.head is None:
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
            if self._input is not None:
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
            # Let a whole linger's worth come due, rather than one record at a time.
            await self._sleep(max(max_wait_seconds, 1 / self._rate))
            due = int((self._clock() - self._started) * self._rate) + 1
        return max(0, min(max_records, due - self._fetched))

    async def deliver(self, delivery: Delivery) -> Sequence[Position]:
        """See `protocols.Sink`."""
        await asyncio.to_thread(self._deliver, delivery)
        return delivery.positions

    def _deliver(self, delivery: Delivery) -> None:
        if delivery.predictions:
            data = b"".join(value + b"\n" for _, value in delivery.predictions)
            if self._predictions:
                self._predictions.append(data)
            else:
                _print(data)
        if delivery.dead_letters:
            self._dead_letters.append(b"".join(encode_dead_letter(letter) + b"\n" for letter in delivery.dead_letters))
        (position,) = delivery.positions
        end = self._ends.pop(position.next_offset)
        self._ledger.commit(delivery.queries, delivery.positions, self._bookmark(end))

    def _bookmark(self, end: int) -> str:
        predictions, dead_letters = self._paths
        bookmark = _Bookmark(
            position=end,
            head=self._reader.head(end) if self._input else None,
            predictions=_Output(str(predictions.resolve()), self._predictions.length)
            if predictions and self._predictions
            else None,
            dead_letters=_Output(str(dead_letters.resolve()), self._dead_letters.length),
        )
        return msgspec.json.encode(bookmark).decode()

    async def aclose(self) -> None:
        """Close the files."""
        self._reader.close()
        self._dead_letters.close()
        if self._predictions:
            self._predictions.close()


def _committed(path: Path, bookmark: _Bookmark | None) -> int | None:
    for output in (bookmark.predictions, bookmark.dead_letters) if bookmark else ():
        if output is not None and output.path == str(path.resolve()):
            return output.length
    return None


def _print(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as exc:
        msg = "standard output was closed by its reader"
        raise StreamError(msg) from exc
