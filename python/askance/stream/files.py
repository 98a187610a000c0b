"""Line files with byte positions: read from where the last run stopped, append from where it was committed."""

from __future__ import annotations

import hashlib
import os
import select
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from askance.errors import StreamError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

_READ_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 28
"""A longer line is no line: what is read is not a file of lines, and it would fill the memory."""


class Line(NamedTuple):
    """A line without its line feed, and the byte position behind that line feed."""

    value: bytes
    end: int


class LineReader:
    """Reads whole lines from a file, a pipe or standard input (`path` None). Blocking; one thread at a time.

    With `follow` a last line without a line feed waits for the rest of it; without, the end of the file ends it.
    """

    def __init__(self, path: Path | None, *, follow: bool, start: int = 0) -> None:
        self._path = path
        self._follow = follow
        self._buffer = bytearray()
        self._scanned = 0
        self._position = start
        self._ended = False
        self._head = (-1, "")
        try:
            self._file = sys.stdin.fileno() if path is None else os.open(path, os.O_RDONLY)
            mode = os.fstat(self._file).st_mode
        except OSError as exc:
            msg = f"cannot read the input {path}: {exc.strerror}; check the path"
            raise UsageError(msg) from exc
        if stat.S_ISDIR(mode):
            msg = f"the input {path} is a folder; name a file of documents, one a line"
            raise UsageError(msg)
        self.is_pipe = path is None or not stat.S_ISREG(mode)
        if self.is_pipe:
            self._position = 0
        elif start:
            # A last line that had no line feed may have got one since.
            before, at = os.pread(self._file, 1, start - 1), os.pread(self._file, 1, start)
            if before != b"\n" and at == b"\n":
                self._position += 1
            os.lseek(self._file, self._position, os.SEEK_SET)

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            os.close(self._file)

    @property
    def ended(self) -> bool:
        """True once every line has been read and no more can come."""
        return self._ended and not self._buffer

    def read(self, max_lines: int, wait_seconds: float) -> list[Line]:
        """Up to `max_lines` lines; empty when none is complete in `wait_seconds` (standard input) or now (a file)."""
        lines = self._take(max_lines)
        while not lines and not self._ended and self._fill(wait_seconds):
            lines = self._take(max_lines)
        if not lines and self._ended and self._buffer:
            lines = [Line(bytes(self._buffer), self._position + len(self._buffer))]
            self._position = lines[0].end
            self._buffer.clear()
        return lines

    def head(self, length: int) -> str:
        """SHA-256 of the file's first bytes, at most `length` and 64 KiB of them: tells one input from another."""
        length = min(length, _HEAD_BYTES)
        if length != self._head[0]:
            self._head = (length, hashlib.sha256(os.pread(self._file, length, 0)).hexdigest())
        return self._head[1]

    def _fill(self, wait_seconds: float) -> bool:
        if len(self._buffer) > _LONGEST_LINE_BYTES:
            name = self._path or "standard input"
            msg = f"{name} has a line of over {_LONGEST_LINE_BYTES >> 20} MiB; split it into lines"
            raise StreamError(msg)
        if self.is_pipe and not select.select([self._file], [], [], wait_seconds)[0]:
            return False
        try:
            data = os.read(self._file, _READ_BYTES)
        except OSError as exc:
            msg = f"reading {self._path or 'standard input'} failed: {exc.strerror}"
            raise StreamError(msg) from exc
        if data:
            self._buffer += data
            return True
        if not self.is_pipe and self._follow:
            if os.fstat(self._file).st_size < self._position:
                msg = f"{self._path} became shorter while it was followed; follow a file that is only appended to"
                raise StreamError(msg)
            return False
        self._ended = True
        return False

    def _take(self, max_lines: int) -> list[Line]:
        lines: list[Line] = []
        begin = 0
        while len(lines) < max_lines:
            feed = self._buffer.find(b"\n", max(begin, self._scanned))
            if feed < 0:
                # Remember how far a long unfinished line was searched: it may come in many pieces.
                self._scanned = len(self._buffer)
                break
            lines.append(Line(bytes(self._buffer[begin:feed]), self._position + feed + 1))
            begin = feed + 1
        if begin:
            del self._buffer[:begin]
            self._position += begin
            self._scanned = max(0, self._scanned - begin)
        return lines


class AppendedFile:
    """A file that only grows, cut back at start to its committed length: what a crash left behind it is taken away.

    A device or a pipe (`/dev/null`, `/dev/stdout`) is written to and never cut back.
    """

    def __init__(self, path: Path, committed: int | None) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            found = os.fstat(self._file)
        except OSError as exc:
            msg = f"cannot write {path}: {exc.strerror}; check the path"
            raise UsageError(msg) from exc
        self._length = committed or 0
        self._is_regular = stat.S_ISREG(found.st_mode)
        if not self._is_regular:
            return
        size = found.st_size
        if committed is None and size:
            os.close(self._file)
            msg = f"{path} already exists and was not written by this run's state; remove it or name another file"
            raise UsageError(msg)
        if size < self._length:
            os.close(self._file)
            msg = (
                f"{path} has {size} bytes but {self._length} were delivered; restore it, or start anew with another "
                "state folder"
            )
            raise UsageError(msg)
        os.ftruncate(self._file, self._length)
        os.lseek(self._file, self._length, os.SEEK_SET)

    @property
    def length(self) -> int:
        """Bytes written so far."""
        return self._length

    def append(self, data: bytes) -> None:
        """Write all of `data` and wait until it is on the disk."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
            if self._is_regular:
                os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)
        except OSError as exc:
            msg = f"writing {self._path} failed: {exc.strerror}; free some space and run the same command again"
            raise StreamError(msg) from exc
        self._length += len(data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
