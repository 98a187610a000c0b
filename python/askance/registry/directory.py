"""A registry's place: a folder. Everything appears by one rename, and only what was synced."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from askance.errors import RegistryError
from askance.registry.store import MANIFEST, NAME, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path


LARGE = 1 << 20
"""Bytes from which on a file is shared among versions that have the same one."""


class Directory:
    """Implements `askance.registry.store.Store`; nothing is created before the first change."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._versions = root / "versions"
        self._staging = root / "staging"

    def place(self, *parts: str) -> str:
        """See `Store`."""
        return str(self._root.joinpath(*parts))

    def names(self) -> list[str]:
        """See `Store`."""
        if not self._versions.is_dir():
            return []
        return sorted(
            (entry.name for entry in self._versions.iterdir() if NAME.fullmatch(entry.name)),
            key=lambda name: (number_of(name), name),
        )

    def has(self, version: str) -> bool:
        """See `Store`."""
        return (self._versions / version).is_dir()

    def read(self, name: str) -> bytes:
        """See `Store`."""
        return (self._root / name).read_bytes()

    recall = read

    def write(self, name: str, content: bytes) -> None:
        """See `Store`."""
        path = self._root / name
        temporary = path.with_suffix(".new")
        write_durably(temporary, content)
        temporary.replace(path)
        _sync_folder(self._root)

    def manifest(self, version: str) -> bytes:
        """See `Store`."""
        return (self._versions / version / MANIFEST).read_bytes()

    def checked(self, version: str, check: Callable[[Path], None]) -> Path:
        """See `Store`."""
        folder = self._versions / version
        check(folder)
        return folder

    def add(self, version: str, files: Mapping[str, bytes]) -> None:
        """See `Store`."""
        # Whoever wrote these no longer holds the lock, so it is dead.
        shutil.rmtree(self._staging, ignore_errors=True)
        staged = self._staging / uuid.uuid4().hex
        staged.mkdir(parents=True)
        for name, content in files.items():
            if not self._link(staged / name, content):
                write_durably(staged / name, content)
        _sync_folder(staged)
        self._versions.mkdir(exist_ok=True)
        _sync_folder(self._root)
        staged.rename(self._versions / version)
        _sync_folder(self._versions)

    def _link(self, path: Path, content: bytes) -> bool:
        """Share a large file, such as a frozen encoder, with a version that has the same one; False: with none."""
        if len(content) < LARGE:
            return False
        digest = hashlib.sha256(content).hexdigest()
        for version in reversed(self.names()):
            twin = self._versions / version / path.name
            with suppress(OSError):  # not every version has it, and not every file system has links
                if twin.stat().st_size == len(content) and _digest_of(twin) == digest:
                    path.hardlink_to(twin)
                    return True
        return False

    def remove(self, versions: Iterable[str]) -> None:
        """See `Store`."""
        for name in versions:
            # Gone by one rename, so that nobody sees half of it.
            self._staging.mkdir(exist_ok=True)
            (self._versions / name).rename(self._staging / name)
        _sync_folder(self._versions)
        shutil.rmtree(self._staging, ignore_errors=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """See `Store`; the system releases the lock when the process dies, and foreign errors end here."""
        with locked(self._root, str(self._root)):
            yield


@contextmanager
def locked(folder: Path, place: str) -> Iterator[None]:
    """Hold a folder's lock file; raises `RegistryError` for what goes wrong on the disk meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as exc:
        msg = f"{place}: the registry cannot be written ({exc}); check its permissions and the disk's space"
        raise RegistryError(msg) from exc


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and see it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
