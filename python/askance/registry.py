"""Versions in a directory, and the pointer to the live one.

Owns the invariants that a published version never changes and that no half-written one is ever seen: a version is
written to a staging folder, its manifest last, and appears under `versions/` by one rename; `CURRENT` is replaced by
one rename. A process killed at any moment leaves at most a staging folder, which the next publishing sweeps away.

    root/versions/v0001-1a2b3c4d/{student.onnx, parity.json, manifest.json}
    root/CURRENT      {"version": the champion, "history": the champions before it, oldest first}
    root/DIRECTIONS   what else the data plane is told, see `askance.directions`
    root/staging/     versions being written
    root/lock         held by whoever is changing any of these; readers need no lock
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from askance.directions import Directions
from askance.errors import DamagedVersionError, RegistryError
from askance.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

MANIFEST = "manifest.json"
NAME = re.compile(r"v(\d{4,})-[0-9a-f]{8}")
HISTORY = 100
"""So many former champions are remembered."""


class Pointer(msgspec.Struct, frozen=True):
    """What `CURRENT` holds."""

    version: str
    history: tuple[str, ...] = ()
    newest: str | None = None
    """The newest version that was ever champion; a rollback leaves it."""


class DirectoryRegistry:
    """Implements `askance.protocols.Registry` on a directory; blocking, safe among threads and processes.

    Nothing is created before the first publishing. What is found damaged and can be worked around is told to
    `on_warning`, once for each finding, in one line.
    """

    def __init__(self, root: Path, *, on_warning: Callable[[str], None] = lambda _: None) -> None:
        self._root = root
        self._versions = root / "versions"
        self._staging = root / "staging"
        self._pointer = root / "CURRENT"
        self._directions = root / "DIRECTIONS"
        self._on_warning = on_warning
        self._warned: set[str] = set()

    def current(self) -> str | None:
        """The champion's name, or None.

        A damaged `CURRENT` falls back to the last good version: the latest former champion if the file can still be
        read, else the newest version that was found fit to be champion.
        """
        pointer = self._read_pointer()
        return pointer.version if pointer else None

    def versions(self) -> list[Manifest]:
        """Every published version, oldest first; one whose manifest cannot be read is warned of and left out."""
        manifests = []
        for name in self._names():
            try:
                manifests.append(self.manifest(name))
            except RegistryError as exc:
                self._warn(str(exc))
        return manifests

    def manifest(self, version: str) -> Manifest:
        """One version's manifest; raises `RegistryError` when there is no such version."""
        path = self._versions / version / MANIFEST
        if not NAME.fullmatch(version) or not path.parent.is_dir():
            known = ", ".join(self._names()[-5:]) or "none yet"
            msg = f"{self._root}: there is no version {version!r}; the latest are: {known}"
            raise RegistryError(msg)
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            msg = f"{path}: the manifest cannot be read ({exc}); delete the version's folder"
            raise DamagedVersionError(msg) from exc
        if manifest.version != version:
            msg = f"{path}: the manifest is that of {manifest.version!r}; delete the version's folder"
            raise DamagedVersionError(msg)
        return manifest

    def verified(self, version: str) -> Path:
        """The version's folder, once every file in it matches its digest; else raises `DamagedVersionError`."""
        folder = self._versions / version
        manifest = self.manifest(version)
        if not version.endswith(_content_digest(manifest)):
            msg = (
                f"{folder / MANIFEST}: its labels, temperature, features or digests are not those the version was "
                "named after; restore it, or make another version the champion with `askance models promote`"
            )
            raise DamagedVersionError(msg)
        for name, expected in manifest.files.items():
            path = folder / name
            try:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as exc:
                msg = f"{path}: cannot be read ({exc.strerror}); restore it or use another version"
                raise DamagedVersionError(msg) from exc
            if found != expected:
                msg = (
                    f"{path}: its SHA-256 is {found[:12]}…, the manifest says {expected[:12]}…; restore the file, "
                    "or make another version the champion with `askance models promote`"
                )
                raise DamagedVersionError(msg)
        return folder

    def is_whole(self, version: str) -> bool:
        """Whether every file of the version is what its manifest says; told to `on_warning` where not."""
        try:
            self.verified(version)
        except RegistryError as exc:
            self._warn(str(exc))
            return False
        return True

    def publish(self, files: Mapping[str, bytes], describe: Callable[[str, Mapping[str, str]], Manifest]) -> Manifest:
        """Write a new version, durable and complete when this returns; it is not made the champion.

        `describe` gets a name (filled in later) and the SHA-256 of each file, and gives the manifest. The version's
        name holds the next number and the first digits of a digest over all files and all that shapes an answer.
        """
        digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
        draft = describe("", digests)
        with self._changing():
            # Whoever wrote these no longer holds the lock, so it is dead.
            shutil.rmtree(self._staging, ignore_errors=True)
            number = 1 + max((_number(name) for name in self._names()), default=0)
            version = f"v{number:04d}-{_content_digest(draft)}"
            manifest = msgspec.structs.replace(draft, version=version)
            staged = self._staging / uuid.uuid4().hex
            staged.mkdir(parents=True)
            for name, content_bytes in files.items():
                _write_durably(staged / name, content_bytes)
            _write_durably(staged / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            _sync_folder(staged)
            self._versions.mkdir(exist_ok=True)
            _sync_folder(self._root)
            staged.rename(self._versions / version)
            _sync_folder(self._versions)
        return manifest

    def promote(self, version: str) -> None:
        """Make a version the champion, if its files are whole: one atomic write."""
        self.verified(version)
        with self._changing():
            pointer = self._read_pointer()
            if pointer is None:
                history: tuple[str, ...] = ()
            elif pointer.version == version:
                history = pointer.history
            else:
                history = (*pointer.history, pointer.version)
            newest = max(version, (pointer and pointer.newest) or "", key=_number)
            self._write_pointer(Pointer(version, history[-HISTORY:], newest))

    def pass_over(self) -> None:
        """No version that there is now waits for its promotion any more; without a champion nothing happens."""
        names = self._names()
        if not names:
            return
        with self._changing():
            pointer = self._read_pointer()
            if pointer is not None:
                newest = max(names[-1], pointer.newest or pointer.version, key=_number)
                self._write_pointer(msgspec.structs.replace(pointer, newest=newest))

    def directions(self) -> Directions:
        """What else the data plane is told; a file that is missing or damaged tells nothing."""
        try:
            return msgspec.json.decode(self._directions.read_bytes(), type=Directions)
        except FileNotFoundError:
            return Directions()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            self._warn(f"{self._directions}: cannot be read ({exc}); going on without; delete the file")
            return Directions()

    def direct(self, change: Callable[[Directions], Directions]) -> Directions:
        """Replace what is told by what `change` makes of it, in one atomic write."""
        with self._changing():
            before = self.directions()
            after = change(before)
            if after != before:
                self._replace(self._directions, msgspec.json.encode(after) + b"\n")
        return after

    def prune(self, *, keep: int) -> list[str]:
        """Remove the oldest versions above `keep`, but none that is or may become live again; returns their names.

        Kept, whatever their number: the champion, the former champions that are still there to go back to (the
        newest `keep`), the version on trial, one that waits for its promotion, and the parents of all these.
        """
        waiting = self.unpromoted()
        with self._changing():
            pointer, challenger = self._read_pointer(), self.directions().challenger
            used = {waiting, challenger.version if challenger else None}
            if pointer is not None:
                used |= {pointer.version, *pointer.history[-keep:]}
            names = self._names()
            if len(names) <= keep:
                return []
            for name in [name for name in names if name in used]:
                with suppress(RegistryError):
                    used.add(self.manifest(name).parent)
            spare = [name for name in names if name not in used]
            removed = spare[: max(0, len(names) - keep)]
            # The newest number is what the next version's is counted from.
            removed = [name for name in removed if name != names[-1]]
            for name in removed:
                # Gone by one rename, so that nobody sees half of it.
                self._staging.mkdir(exist_ok=True)
                (self._versions / name).rename(self._staging / name)
            _sync_folder(self._versions)
            shutil.rmtree(self._staging, ignore_errors=True)
        return removed

    def unpromoted(self) -> str | None:
        """A version that earned its promotion but never got it, because the process died before; or None.

        Only the newest version can be one, and only while nothing newer than it was ever champion.
        """
        versions = self.versions()
        if not versions or not versions[-1].verdict.promoted:
            return None
        with self._changing():
            pointer = self._read_pointer() if self._pointer.exists() else None
        newest = (pointer.newest or pointer.version) if pointer else ""
        return versions[-1].version if _number(versions[-1].version) > _number(newest) else None

    def rollback(self, *, of: str | None = None) -> str:
        """Make the previous champion the champion again; returns its name.

        A former champion whose files are damaged is warned of and passed over; when none is left, `RegistryError`. With
        `of` nothing happens unless that version is still the champion: the present one's name is returned.
        """
        with self._changing():
            pointer = self._read_pointer()
            if of is not None and pointer is not None and pointer.version != of:
                return pointer.version
            history = list(pointer.history) if pointer else []
            while history:
                version = history.pop()
                if self.is_whole(version):
                    newest = pointer.newest if pointer else None
                    self._write_pointer(Pointer(version, tuple(history), newest))
                    return version
        champion = f"{pointer.version} has no champion before it" if pointer else "there is no champion yet"
        msg = f"{self._root}: nothing to roll back to: {champion}; choose one with `askance models promote`"
        raise RegistryError(msg)

    def _names(self) -> list[str]:
        if not self._versions.is_dir():
            return []
        return sorted(
            (entry.name for entry in self._versions.iterdir() if NAME.fullmatch(entry.name)),
            key=lambda name: (_number(name), name),
        )

    def _read_pointer(self) -> Pointer | None:
        try:
            pointer = msgspec.json.decode(self._pointer.read_bytes(), type=Pointer)
        except FileNotFoundError:
            # Not damage: the moment between the first publishing and its promotion looks like this.
            return self._last_resort()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            fallback = self._last_resort()
            self._warn_of_pointer(f"cannot be read ({exc})", fallback)
            return fallback
        if self._has_manifest(pointer.version):
            return pointer
        history = list(pointer.history)
        while history and not self.is_whole(history[-1]):
            history.pop()
        fallback = Pointer(history[-1], tuple(history[:-1]), pointer.newest) if history else self._last_resort()
        self._warn_of_pointer(f"names {pointer.version!r}, which is missing or has no manifest", fallback)
        return fallback

    def _last_resort(self) -> Pointer | None:
        """The newest version that was found fit to be champion and is whole."""
        for manifest in reversed(self.versions()):
            if manifest.verdict.promoted and self.is_whole(manifest.version):
                return Pointer(manifest.version)
        return None

    def _has_manifest(self, version: str) -> bool:
        try:
            self.manifest(version)
        except RegistryError:
            return False
        return True

    def _warn_of_pointer(self, finding: str, fallback: Pointer | None) -> None:
        remedy = f"falling back to {fallback.version}" if fallback else "there is no good version to fall back to"
        self._warn(f"{self._pointer}: {finding}; {remedy}; repair it with `askance models promote`")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._on_warning(text)

    def _write_pointer(self, pointer: Pointer) -> None:
        self._replace(self._pointer, msgspec.json.encode(pointer) + b"\n")

    def _replace(self, path: Path, content: bytes) -> None:
        temporary = path.with_suffix(".new")
        _write_durably(temporary, content)
        temporary.replace(path)
        _sync_folder(self._root)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the registry's lock, which the system releases when the process dies; foreign errors end here."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with (self._root / "lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as exc:
            msg = f"{self._root}: the registry cannot be written ({exc}); check its permissions and the disk's space"
            raise RegistryError(msg) from exc


def _content_digest(manifest: Manifest) -> str:
    answer = (manifest.student, manifest.labels, manifest.temperature, manifest.featurizer, manifest.featurizer_digest)
    return hashlib.sha256(msgspec.json.encode((manifest.files, *answer), order="sorted")).hexdigest()[:8]


def _number(name: str) -> int:
    match = NAME.fullmatch(name)
    return int(match[1]) if match else 0


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
