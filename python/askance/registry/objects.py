"""A registry's place: an object store, through fsspec, with local copies of the versions that are used.

Owns the store's half of the registry's invariants where nothing can be renamed: a version's manifest is put there last
and nothing is a version without one; `CURRENT` is replaced by one put. Copies are checked against the manifest's
digests before they take their place, and again whenever they are used. While the store is away, `CURRENT` is what it
was, so that a worker runs on, and even starts, without it.

There are no locks among machines: one `train` worker writes to a registry, and of two promotions at the same moment the
last counts. Processes that share a cache do exclude each other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from fsspec.core import url_to_fs  # type: ignore[import-untyped]

from askance.errors import ConfigError, DamagedVersionError, RegistryError, RegistryUnreachableError
from askance.registry.directory import locked
from askance.registry.store import MANIFEST, NAME, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

COPIES = 20
"""So many versions' copies are kept, the last used ones: those that were live, and a committee's."""
_ABSENT = ".absent"


class ObjectStore:
    """Implements `askance.registry.store.Store` at a URL; raises `ConfigError` for one that cannot be opened."""

    def __init__(self, url: str, cache: Path, *, on_warning: Callable[[str], None]) -> None:
        self._url = url.rstrip("/")
        try:
            # Who lists or reads must see what another process has just written.
            options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
            if self._url.startswith("s3") and "AWS_MAX_ATTEMPTS" not in os.environ:
                # Of botocore's, below those of s3fs: together they would take minutes to say that the store is away.
                options["config_kwargs"] = {"retries": {"total_max_attempts": 2}}
            self._files, root = url_to_fs(self._url, **options)
        except (ImportError, ValueError) as exc:
            msg = f"registry {url}: {exc}; for s3:// install askance[s3], for another store its fsspec library"
            raise ConfigError(msg) from exc
        self._root = str(root).rstrip("/")
        self._cache = cache / hashlib.sha256(self._url.encode()).hexdigest()[:16]
        self._copies = self._cache / "versions"
        self._on_warning = on_warning
        self._remembered: dict[str, bytes | None] = {}
        self._away = False
        self._lock = threading.Lock()

    def place(self, *parts: str) -> str:
        """See `Store`."""
        return "/".join((self._url, *parts))

    def names(self) -> list[str]:
        """See `Store`."""
        try:
            with self._reaching():
                found = self._files.find(f"{self._root}/versions")
        except FileNotFoundError:
            return []
        names = {path.split("/")[-2] for path in found if path.endswith(f"/{MANIFEST}")}
        return sorted((name for name in names if NAME.fullmatch(name)), key=lambda name: (number_of(name), name))

    def has(self, version: str) -> bool:
        """See `Store`; a copy is one that was there."""
        try:
            self.manifest(version)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """See `Store`."""
        try:
            content = self._get(name)
        except FileNotFoundError:
            self._remember(name, None)
            raise
        self._remember(name, content)
        return content

    def recall(self, name: str) -> bytes:
        """See `Store`."""
        try:
            return self.read(name)
        except RegistryUnreachableError as exc:
            try:
                content = (self._cache / name).read_bytes()
            except FileNotFoundError:
                if (self._cache / (name + _ABSENT)).exists():
                    raise FileNotFoundError(name) from exc
                raise exc from None
            with self._lock:
                is_news, self._away = not self._away, True
            if is_news:
                self._on_warning(f"{exc}; going on with what it said last")
            return content

    def write(self, name: str, content: bytes) -> None:
        """See `Store`."""
        self._put(f"{self._root}/{name}", content)
        self._remember(name, content)

    def manifest(self, version: str) -> bytes:
        """See `Store`."""
        with suppress(OSError, msgspec.DecodeError):
            content = (self._copies / version / MANIFEST).read_bytes()
            msgspec.json.decode(content)
            return content
        return self._get(f"versions/{version}/{MANIFEST}")

    def checked(self, version: str, check: Callable[[Path], None]) -> Path:
        """See `Store`; what is not here yet, or is not what it was, is fetched."""
        copy = self._copies / version
        if copy.is_dir():
            try:
                check(copy)
                os.utime(copy)
            except (DamagedVersionError, OSError):
                shutil.rmtree(copy, ignore_errors=True)
            else:
                return copy
        try:
            self._copies.mkdir(parents=True, exist_ok=True)
            staging = tempfile.TemporaryDirectory(dir=self._cache, prefix="fetching-", ignore_cleanup_errors=True)
        except OSError as exc:
            msg = f"{self._cache}: copies of versions cannot be written ({exc.strerror}); choose another with --state"
            raise RegistryError(msg) from exc
        with staging as folder:
            fetched = Path(folder) / version
            fetched.mkdir()
            with self._reaching(), suppress(FileNotFoundError):
                for path in self._files.find(f"{self._root}/versions/{version}"):
                    self._files.get_file(path, str(fetched / path.split("/")[-1]))
            check(fetched)
            # Another process may have been faster.
            with suppress(OSError):
                fetched.rename(copy)
        self._drop_old_copies()
        return copy

    def add(self, version: str, files: Mapping[str, bytes]) -> None:
        """See `Store`."""
        self._sweep()
        for name in sorted(files, key=MANIFEST.__eq__):
            self._put(f"{self._root}/versions/{version}/{name}", files[name])

    def remove(self, versions: Iterable[str]) -> None:
        """See `Store`."""
        for version in versions:
            folder = f"{self._root}/versions/{version}"
            with self._reaching(), suppress(FileNotFoundError):
                self._files.rm_file(f"{folder}/{MANIFEST}")
            self._empty(folder)
            shutil.rmtree(self._copies / version, ignore_errors=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """See `Store`."""
        with locked(self._cache, f"{self._url}, by way of {self._cache}"):
            yield

    def _get(self, name: str) -> bytes:
        with self._reaching():
            content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content

    def _put(self, path: str, content: bytes) -> None:
        try:
            with self._reaching():
                self._files.pipe_file(path, content)
        except FileNotFoundError as exc:
            raise self._unreachable(exc) from exc

    def _sweep(self) -> None:
        """Remove what publishing processes left that died before the manifest."""
        whole = self.names()
        newest = number_of(whole[-1]) if whole else 0
        try:
            with self._reaching():
                found = self._files.find(f"{self._root}/versions")
        except FileNotFoundError:
            return
        names = {path.split("/")[-2] for path in found} - set(whole)
        for name in names:
            # One with a higher number may be another machine's, under way.
            if NAME.fullmatch(name) and number_of(name) <= newest:
                self._empty(f"{self._root}/versions/{name}")

    def _empty(self, folder: str) -> None:
        with self._reaching(), suppress(FileNotFoundError):
            for path in self._files.find(folder):
                self._files.rm_file(path)

    def _remember(self, name: str, content: bytes | None) -> None:
        if name in self._remembered and self._remembered[name] == content:
            return
        kept, other = (name, name + _ABSENT) if content is not None else (name + _ABSENT, name)
        # A cache that cannot be written costs a start without the store, and no more than that.
        with suppress(OSError):
            self._cache.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._cache, prefix="remembering-", delete=False) as file:
                file.write(content or b"")
            Path(file.name).replace(self._cache / kept)
            (self._cache / other).unlink(missing_ok=True)
            self._remembered[name] = content

    def _drop_old_copies(self) -> None:
        with suppress(OSError):
            copies = sorted(self._copies.iterdir(), key=lambda copy: copy.stat().st_mtime, reverse=True)
            for copy in copies[COPIES:]:
                shutil.rmtree(copy, ignore_errors=True)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Every store has errors of its own, which have no ancestor in common but `Exception`."""
        try:
            yield
        except FileNotFoundError as exc:
            if _names_no_bucket(exc):
                raise self._unreachable(exc) from exc
            self._reached()
            raise
        except Exception as exc:
            raise self._unreachable(exc) from exc
        self._reached()

    def _reached(self) -> None:
        with self._lock:
            was_away, self._away = self._away, False
        if was_away:
            self._on_warning(f"{self._url}: the registry can be reached again")

    def _unreachable(self, exc: Exception) -> RegistryUnreachableError:
        said = " ".join(str(exc).split()) or "no reason given"
        msg = (
            f"{self._url}: the registry cannot be reached ({type(exc).__name__}: {said}); check its address, the "
            "credentials and the network"
        )
        return RegistryUnreachableError(msg)


def _names_no_bucket(exc: Any) -> bool:
    """Whether S3 says that the bucket is missing, which s3fs tells as if it were the object."""
    response = getattr(exc.__cause__, "response", None) or {}
    return bool(response.get("Error", {}).get("Code") == "NoSuchBucket")
