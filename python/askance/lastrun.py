"""What the last run in a state folder was set to, kept there for the commands that look at the run afterwards.

A run may be set up by flags alone, and whoever looks at it types none of them again: where the predictions, the dead
letters and the versions are, whether the ledgers are Kafka's, the budget and the caps.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from askance.keys import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from askance.config import Config

_OWNED: Mapping[str, tuple[str, ...]] = {
    "classify": ("budget.", "contract.", "gate.", "kafka.", "registry", "sink.", "source."),
    "teach": ("kafka.", "registry", "spend.", "teacher.labels"),
    "train": ("kafka.", "registry"),
}
"""Which settings are a worker's to say; those of workers apart may differ in the others."""
_PATHS = ("registry", "sink.dead_letters", "sink.path", "source.path")


def write(config: Config, workers: frozenset[str]) -> None:
    """Keep the settings of a run that begins; where that cannot be, its flags are typed again to look at it."""
    tree = config.model_dump(mode="json")
    for worker in workers:
        kept = {key: _absolute(key, _value(tree, key)) for key in KEYS if key.startswith(_OWNED[worker])}
        path = config.state / f"{worker}.last.json"
        new = path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            new.touch(mode=0o600)
            new.write_bytes(msgspec.json.encode(kept))
            new.replace(path)


def read(state: Path) -> dict[str, object]:
    """By dotted key, the newest worker's word first; empty where there was no run."""
    found: dict[str, object] = {}
    times = []
    for worker in _OWNED:
        path = state / f"{worker}.last.json"
        with suppress(OSError):
            times.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(times):
        with suppress(OSError, msgspec.DecodeError):
            found |= msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    return {key: value for key, value in found.items() if key in KEYS}


def _value(tree: dict[str, Any], key: str) -> object:
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value


def _absolute(key: str, value: object) -> object:
    """Whoever looks may stand in another folder."""
    if key in _PATHS and isinstance(value, str) and value != "-" and "://" not in value:
        return str(Path(value).absolute())
    return value
