"""Dead letters looked at and put back: on Kafka to the topics they came from, on files into a file to feed again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from askance import assembly
from askance.codec import decode_dead_letter
from askance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from askance.config import Config
    from askance.records import KeptLetter

_TEXT_CHARACTERS = 60


class Selection(msgspec.Struct, frozen=True):
    """Which dead letters; `begin` and `end` are places in the topic as a person writes them, for Kafka only."""

    file: str | None = None
    """A file of dead letters; None: the topic, or the file of the settings where they run on files."""
    begin: str | None = None
    end: str | None = None
    reason: str | None = None


class Shown(msgspec.Struct, frozen=True):
    """One letter in a list."""

    place: str
    origin: str
    reason: str
    detail: str
    size: int | None
    """Bytes; None: there was no value."""
    replays: int
    replayed: bool
    text: str
    """The first characters; what is no UTF-8 is replaced."""


class Listing(msgspec.Struct, frozen=True):
    """The letters of a selection, the first few of them shown."""

    source: str
    letters: int
    replayed: int
    by_reason: dict[str, int]
    shown: tuple[Shown, ...]


def show(config: Config, selection: Selection, *, limit: int) -> Listing:
    """List a selection, oldest first; raises `UsageError` or `StreamError`."""
    if (file := _file(config, selection)) is not None:
        found, noted = _List(str(file), limit), _noted(file)
        for letter in _lines(file, selection):
            found.add(letter, replayed=_key(letter) in noted)
        return found.listing()
    return asyncio.run(_show(config, selection, limit))


async def _show(config: Config, selection: Selection, limit: int) -> Listing:
    from askance.stream.kafka.letters import put_back
    from askance.stream.kafka.ranges import bound

    found = _List(f"topic {config.kafka.dead_letters}", limit)
    replayed = await put_back(config.kafka, bound(selection.begin or "earliest"))
    async for some in _selected(config, selection):
        for letter in some:
            found.add(letter, replayed=letter.place in replayed)
    return found.listing()


def replay(config: Config, selection: Selection, *, into: str | None, output: str | None, dry_run: bool) -> int:
    """Put back what was not put back yet; returns how many letters. `into` is a topic, `output` a file."""
    if (file := _file(config, selection)) is not None:
        if output is None or into is not None:
            msg = "dead letters of a file are replayed into a file to feed again: name it with --output"
            raise UsageError(msg)
        return _replay_file(file, selection, output, dry_run=dry_run)
    if output is not None:
        msg = "dead letters of a topic go back to the topics they came from, or to the one --into names; drop --output"
        raise UsageError(msg)
    return asyncio.run(_replay_topic(config, selection, into, dry_run=dry_run))


async def _replay_topic(config: Config, selection: Selection, into: str | None, *, dry_run: bool) -> int:
    from askance.stream.kafka.letters import LetterReplay, put_back
    from askance.stream.kafka.ranges import bound

    begin = bound(selection.begin or "earliest")
    if dry_run:
        replayed = await put_back(config.kafka, begin)
        return sum([_count_new(some, replayed) async for some in _selected(config, selection)])
    count = 0
    # Whoever else is at it is fenced before the marks are read: nothing is put back twice.
    async with LetterReplay(config.kafka, into) as letters:
        replayed = await put_back(config.kafka, begin)
        async for some in _selected(config, selection):
            new = [letter for letter in some if letter.place not in replayed]
            if new:
                await letters.replay(new)
                count += len(new)
    return count


async def _selected(config: Config, selection: Selection) -> AsyncIterator[list[KeptLetter]]:
    from askance.stream.kafka.letters import letters
    from askance.stream.kafka.ranges import bound

    async for some in letters(config.kafka, bound(selection.begin or "earliest"), bound(selection.end)):
        yield [letter for letter in some if selection.reason in (None, letter.reason)]


def _count_new(some: list[KeptLetter], replayed: set[str]) -> int:
    return sum(letter.place not in replayed for letter in some)


def _file(config: Config, selection: Selection) -> Path | None:
    """The file of dead letters, None where they are on a topic."""
    if selection.file is None and assembly.on_kafka(config):
        return None
    if selection.begin is not None or selection.end is not None:
        msg = "--from and --to are places in a topic; a file's dead letters are selected by --reason"
        raise UsageError(msg)
    return Path(selection.file) if selection.file is not None else assembly.dead_letter_path(config)


def _replay_file(file: Path, selection: Selection, output: str, *, dry_run: bool) -> int:
    noted = _noted(file)
    # One that stands twice in the file is one letter.
    new = {_key(letter): letter for letter in _lines(file, selection) if _key(letter) not in noted}
    if not dry_run and new:
        # The originals first: a crash in between replays them again, rather than never.
        _append(output, b"".join((letter.record.value or b"") + b"\n" for letter in new.values()))
        _append(str(_note(file)), b"".join(msgspec.json.encode(key) + b"\n" for key in new))
    return len(new)


def _key(letter: KeptLetter) -> tuple[str, int, int]:
    topic, partition, offset = letter.record.coordinates
    return topic, partition, offset


def _lines(file: Path, selection: Selection) -> Iterator[KeptLetter]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                letter = decode_dead_letter(line, f"{file.name}:{number}")
                if selection.reason in (None, letter.reason):
                    yield letter
    except OSError as exc:
        msg = f"{file}: cannot be read ({exc.strerror}); name the file of dead letters with --file"
        raise UsageError(msg) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        msg = f"{file}: line {number} is no dead letter ({exc})"
        raise UsageError(msg) from exc


def _note(file: Path) -> Path:
    """Where it is noted which letters of a file were replayed: the file itself belongs to the run that writes it."""
    return file.with_name(f"{file.name}.replayed")


def _noted(file: Path) -> set[tuple[str, int, int]]:
    try:
        lines = _note(file).read_bytes().splitlines()
    except FileNotFoundError:
        return set()
    return {msgspec.json.decode(line, type=tuple[str, int, int]) for line in lines}


def _append(path: str, data: bytes) -> None:
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with Path(path).open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        msg = f"{path}: cannot be written ({exc.strerror})"
        raise UsageError(msg) from exc


class _List:
    """Adds letters up to a listing."""

    def __init__(self, source: str, limit: int) -> None:
        self._source = source
        self._limit = limit
        self._letters = self._replayed = 0
        self._reasons: Counter[str] = Counter()
        self._shown: list[Shown] = []

    def add(self, letter: KeptLetter, *, replayed: bool) -> None:
        self._letters += 1
        self._replayed += replayed
        self._reasons[letter.reason] += 1
        if len(self._shown) < self._limit:
            value = letter.record.value
            shown = Shown(
                place=letter.place,
                origin="/".join(map(str, letter.record.coordinates)),
                reason=letter.reason,
                detail=letter.detail,
                size=None if value is None else len(value),
                replays=letter.replays,
                replayed=replayed,
                text=(value or b"")[: 4 * _TEXT_CHARACTERS].decode(errors="replace")[:_TEXT_CHARACTERS],
            )
            self._shown.append(shown)

    def listing(self) -> Listing:
        return Listing(
            source=self._source,
            letters=self._letters,
            replayed=self._replayed,
            by_reason=dict(self._reasons.most_common()),
            shown=tuple(self._shown),
        )
