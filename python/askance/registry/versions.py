"""Versions and the pointer to the live one, wherever they are kept.

Owns the invariants that a published version never changes and that no half-written one is ever seen: a version appears
whole, or not at all (`Store.add`); `CURRENT` is replaced by one atomic write (`Store.write`).

    root/versions/v0001-1a2b3c4d/{student.onnx, parity.json, manifest.json}
    root/CURRENT      {"version": the champion, "history": the champions before it, oldest first}
    root/DIRECTIONS   what else the data plane is told, see `askance.directions`
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from askance.directions import Directions
from askance.errors import DamagedVersionError, RegistryError, RegistryUnreachableError, UnknownVersionError
from askance.manifest import Manifest
from askance.registry.store import DIRECTIONS, MANIFEST, NAME, POINTER, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from askance.registry.store import Store

HISTORY = 100
"""So many former champions are remembered."""


class Pointer(msgspec.Struct, frozen=True):
    """What `CURRENT` holds."""

    version: str
    history: tuple[str, ...] = ()
    newest: str | None = None
    """The newest version that was ever champion; a rollback leaves it."""


class StoredRegistry:
    """Implements `askance.protocols.Registry` in a store; blocking, safe among threads and processes.

    What is found damaged and can be worked around is told to `on_warning`, once for each finding, in one line. While
    the store is away, `current` and `directions` say what they said last; everything else that has to ask it raises
    `RegistryUnreachableError`.
    """

    def __init__(self, store: Store, *, on_warning: Callable[[str], None] = lambda _: None) -> None:
        self._store = store
        self._on_warning = on_warning
        self._warned: set[str] = set()

    @property
    def location(self) -> str:
        """Where it is, for people."""
        return self._store.place()

    def current(self) -> str | None:
        """The champion's name, or None.

        A damaged `CURRENT` falls back to the last good version: the latest former champion if the file can still be
        read, else the newest version that was found fit to be champion.
        """
        pointer = self._read_pointer(self._store.recall)
        return pointer.version if pointer else None

    def versions(self) -> list[Manifest]:
        """Every published version, oldest first; one whose manifest cannot be read is warned of and left out."""
        manifests = []
        for name in self._store.names():
            try:
                manifests.append(self.manifest(name))
            except RegistryUnreachableError:
                raise
            except RegistryError as exc:
                self._warn(str(exc))
        return manifests

    def manifest(self, version: str) -> Manifest:
        """One version's manifest; raises `UnknownVersionError` when there is no such version."""
        if not NAME.fullmatch(version) or not self._store.has(version):
            known = ", ".join(self._store.names()[-5:]) or "none yet"
            msg = f"{self.location}: there is no version {version!r}; the latest are: {known}"
            raise UnknownVersionError(msg)
        path = self._store.place("versions", version, MANIFEST)
        try:
            manifest = msgspec.json.decode(self._store.manifest(version), type=Manifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            msg = f"{path}: the manifest cannot be read ({exc}); delete the version's folder"
            raise DamagedVersionError(msg) from exc
        if manifest.version != version:
            msg = f"{path}: the manifest is that of {manifest.version!r}; delete the version's folder"
            raise DamagedVersionError(msg)
        return manifest

    def verified(self, version: str) -> Path:
        """The version's folder, once every file in it matches its digest; else raises `DamagedVersionError`."""
        manifest = self.manifest(version)
        if not version.endswith(_content_digest(manifest)):
            msg = (
                f"{self._store.place('versions', version, MANIFEST)}: its labels, temperature, features or digests are "
                "not those the version was named after; restore it, or make another version the champion with "
                "`askance models promote`"
            )
            raise DamagedVersionError(msg)
        return self._store.checked(version, lambda folder: self._check(folder, manifest))

    def _check(self, folder: Path, manifest: Manifest) -> None:
        for name, expected in manifest.files.items():
            place = self._store.place("versions", manifest.version, name)
            try:
                with (folder / name).open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as exc:
                msg = f"{place}: cannot be read ({exc.strerror}); restore it or use another version"
                raise DamagedVersionError(msg) from exc
            if found != expected:
                msg = (
                    f"{place}: its SHA-256 is {found[:12]}…, the manifest says {expected[:12]}…; restore the file, "
                    "or make another version the champion with `askance models promote`"
                )
                raise DamagedVersionError(msg)

    def is_whole(self, version: str) -> bool:
        """Whether every file of the version is what its manifest says; told to `on_warning` where not."""
        try:
            self.verified(version)
        except RegistryUnreachableError:
            raise
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
        with self._store.changing():
            number = 1 + max((number_of(name) for name in self._store.names()), default=0)
            version = f"v{number:04d}-{_content_digest(draft)}"
            manifest = msgspec.structs.replace(draft, version=version)
            encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
            self._store.add(version, {**files, MANIFEST: encoded})
        return manifest

    def promote(self, version: str) -> None:
        """Make a version the champion, if its files are whole: one atomic write."""
        self.verified(version)
        with self._store.changing():
            if version not in self._store.names():
                msg = f"{self.location}: version {version} was removed meanwhile; choose another"
                raise RegistryError(msg)
            pointer = self._read_pointer(self._store.read)
            if pointer is None:
                history: tuple[str, ...] = ()
            elif pointer.version == version:
                history = pointer.history
            else:
                history = (*pointer.history, pointer.version)
            newest = max(version, (pointer and pointer.newest) or "", key=number_of)
            self._write_pointer(Pointer(version, history[-HISTORY:], newest))

    def pass_over(self) -> None:
        """No version that there is now waits for its promotion any more; without a champion nothing happens."""
        names = self._store.names()
        if not names:
            return
        with self._store.changing():
            pointer = self._read_pointer(self._store.read, last_resort=False)
            if pointer is not None:
                newest = max(names[-1], pointer.newest or pointer.version, key=number_of)
                self._write_pointer(msgspec.structs.replace(pointer, newest=newest))

    def directions(self) -> Directions:
        """What else the data plane is told; a file that is missing or damaged tells nothing."""
        return self._read_directions(self._store.recall)

    def _read_directions(self, read: Callable[[str], bytes]) -> Directions:
        try:
            return msgspec.json.decode(read(DIRECTIONS), type=Directions)
        except FileNotFoundError:
            return Directions()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            self._warn(f"{self._store.place(DIRECTIONS)}: cannot be read ({exc}); going on without; delete the file")
            return Directions()

    def direct(self, change: Callable[[Directions], Directions]) -> Directions:
        """Replace what is told by what `change` makes of it, in one atomic write."""
        with self._store.changing():
            before = self._read_directions(self._store.read)
            after = change(before)
            if after != before:
                self._store.write(DIRECTIONS, msgspec.json.encode(after) + b"\n")
        return after

    def prune(self, *, keep: int) -> list[str]:
        """Remove the oldest versions above `keep`, but none that is or may become live again; returns their names.

        Kept, whatever their number: the champion, the former champions that are still there to go back to (the
        newest `keep`), the version on trial, one that waits for its promotion, and the parents of all these.
        """
        waiting = self.unpromoted()
        with self._store.changing():
            pointer = self._read_pointer(self._store.read)
            challenger = self._read_directions(self._store.read).challenger
            used = {waiting, challenger.version if challenger else None}
            if pointer is not None:
                used |= {pointer.version, *pointer.history[-keep:]}
            names = self._store.names()
            if len(names) <= keep:
                return []
            for name in [name for name in names if name in used]:
                if (manifest := self._readable(name)) is not None:
                    used.add(manifest.parent)
            spare = [name for name in names if name not in used]
            removed = spare[: max(0, len(names) - keep)]
            # The newest number is what the next version's is counted from.
            removed = [name for name in removed if name != names[-1]]
            self._store.remove(removed)
        return removed

    def unpromoted(self) -> str | None:
        """A version that earned its promotion but never got it, because the process died before; or None.

        Only the newest version can be one, and only while nothing newer than it was ever champion.
        """
        versions = self.versions()
        if not versions or not versions[-1].verdict.promoted:
            return None
        with self._store.changing():
            pointer = self._read_pointer(self._store.read, last_resort=False)
        newest = (pointer.newest or pointer.version) if pointer else ""
        return versions[-1].version if number_of(versions[-1].version) > number_of(newest) else None

    def rollback(self, *, of: str | None = None) -> str:
        """Make the previous champion the champion again; returns its name.

        A former champion whose files are damaged is warned of and passed over; when none is left, `RegistryError`. With
        `of` nothing happens unless that version is still the champion: the present one's name is returned.
        """
        with self._store.changing():
            pointer = self._read_pointer(self._store.read)
            if of is not None and pointer is not None and pointer.version != of:
                return pointer.version
            history = list(pointer.history) if pointer else []
            names = self._store.names()
            while history:
                version = history.pop()
                # A copy of a version is not enough: the others have to find it.
                if self.is_whole(version) and version in names:
                    newest = pointer.newest if pointer else None
                    self._write_pointer(Pointer(version, tuple(history), newest))
                    return version
        champion = f"{pointer.version} has no champion before it" if pointer else "there is no champion yet"
        msg = f"{self.location}: nothing to roll back to: {champion}; choose one with `askance models promote`"
        raise RegistryError(msg)

    def _read_pointer(self, read: Callable[[str], bytes], *, last_resort: bool = True) -> Pointer | None:
        try:
            pointer = msgspec.json.decode(read(POINTER), type=Pointer)
        except FileNotFoundError:
            # Not damage: the moment between the first publishing and its promotion looks like this.
            return self._last_resort() if last_resort else None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            fallback = self._last_resort()
            self._warn_of_pointer(f"cannot be read ({exc})", fallback)
            return fallback
        if self._readable(pointer.version) is not None:
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

    def _readable(self, version: str) -> Manifest | None:
        try:
            return self.manifest(version)
        except RegistryUnreachableError:
            raise
        except RegistryError:
            return None

    def _warn_of_pointer(self, finding: str, fallback: Pointer | None) -> None:
        remedy = f"falling back to {fallback.version}" if fallback else "there is no good version to fall back to"
        self._warn(f"{self._store.place(POINTER)}: {finding}; {remedy}; repair it with `askance models promote`")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._on_warning(text)

    def _write_pointer(self, pointer: Pointer) -> None:
        self._store.write(POINTER, msgspec.json.encode(pointer) + b"\n")


def _content_digest(manifest: Manifest) -> str:
    answer: tuple[object, ...] = (
        manifest.student,
        manifest.labels,
        manifest.temperature,
        manifest.featurizer,
        manifest.featurizer_digest,
    )
    if manifest.features != "hashed":
        answer = (*answer, manifest.features, manifest.encoder, manifest.max_tokens)
    return hashlib.sha256(msgspec.json.encode((manifest.files, *answer), order="sorted")).hexdigest()[:8]
