"""Where a run keeps its state, and who may use it: locks, ledgers, the registry."""

from __future__ import annotations

import fcntl
import logging
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from askance.errors import UsageError
from askance.ledger import SqliteLedger
from askance.registry import is_remote, open_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from askance.config import Config
    from askance.registry import StoredRegistry

_logger = logging.getLogger(__name__)


@contextmanager
def exclusive(config: Config, worker: str) -> Iterator[None]:
    """Hold the state folder's lock of one worker; a second one of its kind is a `UsageError`. A crash lets go of it."""
    path = config.state / f"{worker}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as exc:
        msg = f"cannot write the state folder {config.state}: {exc.strerror}; choose another with --state"
        raise UsageError(msg) from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            msg = f"another {worker} worker uses {config.state}; stop it, or choose another folder with --state"
            raise UsageError(msg) from exc
        yield


def alone(config: Config, workers: frozenset[str]) -> frozenset[str]:
    """The workers of which a state folder bears only one: on Kafka `classify` keeps nothing there, the group shares."""
    return workers - {"classify"} if on_kafka(config) else workers


def on_kafka(config: Config) -> bool:
    """Whether the workers run on Kafka instead of files."""
    return config.kafka.bootstrap.servers is not None


def ledger(config: Config, worker: str) -> AbstractContextManager[SqliteLedger]:
    """A connection of its own for whoever asks; on Kafka each worker has a file of its own, too."""
    path, renamed = ledger_path(config, worker), config.teacher.present_names
    if on_kafka(config):
        from askance.ledger.view import ViewLedger

        return closing(ViewLedger(path, renamed=renamed))
    return closing(SqliteLedger(path, renamed=renamed))


def ledger_path(config: Config, worker: str) -> Path:
    """The file that holds a worker's ledger."""
    return config.state / (f"{worker}.db" if on_kafka(config) else "ledger.db")


def registry(config: Config, *, on_warning: Callable[[str], None] = _logger.warning) -> StoredRegistry:
    """The registry; raises `ConfigError` for an address that nothing here can open."""
    return open_registry(config.registry_location, cache=registry_cache(config), on_warning=on_warning)


def registry_poll_seconds(config: Config) -> float:
    """How often the champion's name is read."""
    return 2.0 if is_remote(config.registry_location) else 0.25


def registry_cache(config: Config) -> Path:
    """Where copies of the versions in use are kept when the registry is elsewhere."""
    return config.state / "registry-cache"


def dead_letter_path(config: Config) -> Path:
    """Where dead letters go."""
    if config.sink.dead_letters is not None:
        return Path(config.sink.dead_letters)
    folder = config.state if config.sink.path == "-" else Path(config.sink.path).parent
    return folder / "dead-letters.jsonl"


def predictions_name(config: Config) -> str:
    """Where predictions go, as a person calls it."""
    return f"topic {config.kafka.predictions}" if on_kafka(config) else config.sink.path


def dead_letters_name(config: Config) -> str:
    """Where dead letters go, as a person calls it."""
    return f"topic {config.kafka.dead_letters}" if on_kafka(config) else str(dead_letter_path(config))
