"""What a registry asks of the place it is kept in, and what is the same in every place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

MANIFEST = "manifest.json"
POINTER = "CURRENT"
DIRECTIONS = "DIRECTIONS"
NAME = re.compile(r"v(\d{4,})-[0-9a-f]{8}")


def number_of(name: str) -> int:
    """A version's number; 0 for what is no version's name."""
    match = NAME.fullmatch(name)
    return int(match[1]) if match else 0


class Store(Protocol):
    """Blocking, safe among threads and processes. Raises `FileNotFoundError` and other `OSError`s of a local disk, and
    `RegistryUnreachableError` when the store is away."""

    def place(self, *parts: str) -> str:
        """How a person calls the root, or what is below it."""

    def names(self) -> list[str]:
        """Every version that is there, oldest first."""

    def has(self, version: str) -> bool:
        """Whether a version of that name is there."""

    def read(self, name: str) -> bytes:
        """A file beside the versions, as it is now."""

    def recall(self, name: str) -> bytes:
        """The same or, while the store is away, as it was read last."""

    def write(self, name: str, content: bytes) -> None:
        """Replace a file beside the versions, in one atomic and durable step."""

    def manifest(self, version: str) -> bytes:
        """A version's manifest."""

    def checked(self, version: str, check: Callable[[Path], None]) -> Path:
        """A local folder with the version's files that `check` takes, which raises `DamagedVersionError`."""

    def add(self, version: str, files: Mapping[str, bytes]) -> None:
        """Put a version there, durable when this returns; before that, nobody sees any of it."""

    def remove(self, versions: Iterable[str]) -> None:
        """Take versions away; nobody sees half of one."""

    def changing(self) -> AbstractContextManager[None]:
        """Held by whoever changes any of this."""
