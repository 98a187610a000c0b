"""Versions and the pointer to the live one, in a folder or an object store."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from askance.errors import ConfigError
from askance.registry.directory import Directory
from askance.registry.versions import StoredRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DirectoryRegistry", "StoredRegistry", "is_remote", "open_registry"]


class DirectoryRegistry(StoredRegistry):
    """A registry in a folder; nothing is created before the first publishing."""

    def __init__(self, root: Path, *, on_warning: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(Directory(root), on_warning=on_warning)


def is_remote(location: str) -> bool:
    """Whether this is the address of an object store; what is none is a folder.

    >>> [is_remote(location) for location in ("s3://models/askance", "/srv/models", "file:///srv/models")]
    [True, False, False]
    """
    return "://" in location and not location.startswith("file://")


def open_registry(location: str, *, cache: Path, on_warning: Callable[[str], None] = lambda _: None) -> StoredRegistry:
    """The registry at a path or URL; `cache` is a folder for copies of what a URL holds.

    Raises `ConfigError` for a URL that nothing here can open; connects to nothing yet.
    """
    if not is_remote(location):
        return DirectoryRegistry(Path(location.removeprefix("file://")), on_warning=on_warning)
    if find_spec("fsspec") is None:
        remedy = "'askance[s3]'" if location.startswith("s3:") else "the fsspec library of this store"
        msg = f"the registry {location} needs the package fsspec; run: pip install {remedy}"
        raise ConfigError(msg)
    from askance.registry.objects import ObjectStore

    return StoredRegistry(ObjectStore(location, cache, on_warning=on_warning), on_warning=on_warning)
