"""Makes each part from the settings; together with `app` and `teaching`, the only place that names adapters."""

from __future__ import annotations

import fcntl
import logging
import time
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from askance.codec import DocumentDecoder
from askance.errors import ConfigError, RegistryError, UsageError
from askance.ledger import SqliteLedger
from askance.manifest import FeaturizerConfig
from askance.registry import is_remote, open_registry
from askance.rules.budget import PerSecondBudget, ShareBudget, Unlimited
from askance.rules.gate import Gate
from askance.rules.retraining import RetrainingSchedule
from askance.rules.serving import Contract
from askance.stream.local import LocalStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

    from askance.config import Config
    from askance.health import Health
    from askance.protocols import Ledger, Registry, Student, Trainer
    from askance.registry import StoredRegistry
    from askance.rules.budget import Budget
    from askance.rules.seeding import SeedSet
    from askance.rules.selection import SelectionRule
    from askance.stream.kafka.documents import KafkaStream
    from askance.stream.kafka.queries import LabelView, LaneWorker
    from askance.telemetry import Telemetry
    from askance.workers.guard import GuardWorker
    from askance.workers.rollout import RolloutWorker

_LEARNING_RATE = 1000.0
"""Documents per second at which `askance run` plays a finite file unless told otherwise."""

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


def registry(config: Config, *, on_warning: Callable[[str], None] = _logger.warning) -> StoredRegistry:
    """The registry; raises `ConfigError` for an address that nothing here can open."""
    return open_registry(config.registry_location, cache=_registry_cache(config), on_warning=on_warning)


def registry_poll_seconds(config: Config) -> float:
    """How often the champion's name is read."""
    return 2.0 if is_remote(config.registry_location) else 0.25


def load(registry: Registry, version: str) -> Student:
    """A version, verified, loaded, checked for parity and warm."""
    from askance.student import onnx

    return onnx.load(registry.verified(version), registry.manifest(version))


def load_live(config: Config, registry: Registry, version: str) -> Student:
    """What goes into the slot for a champion: itself or, where the gate asks a committee, it and its predecessors.

    Members are the newest versions before it with the same label set; one that cannot be loaded is left out.
    """
    from askance.student.committee import Committee

    live = load(registry, version)
    if config.disagreement is None:
        return live
    members = [live]
    older = [each for each in registry.versions() if each.version < version and each.labels == tuple(live.labels)]
    for manifest in reversed(older):
        if len(members) == config.gate.committee:
            break
        try:
            members.append(load(registry, manifest.version))
        except RegistryError as exc:
            _logger.warning("%s is not in the committee: %s", manifest.version, exc)
    return Committee(members, config.disagreement) if len(members) > 1 else live


def decoder(config: Config) -> DocumentDecoder:
    """Decodes the documents."""
    return DocumentDecoder(
        document_format=config.source.format,
        text_field=config.source.text_field,
        id_field=config.source.id_field,
        max_bytes=config.source.max_document_bytes,
    )


def gate(config: Config) -> Gate:
    """The fixed part of the policy."""
    return Gate(measure=config.measure, exponent=config.exponent, seed=config.gate.seed)


def seed_set(config: Config, *, documents: int) -> SeedSet | None:
    """What picks the first queries, going on after so many documents; None where nothing does."""
    from askance.rules.seeding import SeedSet
    from askance.student import features

    if not config.gate.seed_documents:
        return None
    return SeedSet(
        features.build(_featurizer(config)).transform,
        documents=config.gate.seed_documents,
        size=config.budget.advance,
        seen=documents,
    )


def budget(config: Config, *, documents: int, accepted: int) -> Budget:
    """The budget, going on from what earlier runs with this state have spent."""
    settings = config.budget
    if settings.kind == "m-raru":
        return Unlimited(floor=config.floor)
    if settings.kind == "per_second":
        return PerSecondBudget(
            per_second=settings.per_second, floor=config.floor, exponent=config.exponent, targets=settings.class_targets
        )
    return ShareBudget(
        share=settings.share,
        floor=config.floor,
        exponent=config.exponent,
        advance=settings.advance,
        horizon=settings.horizon,
        documents=documents,
        accepted=accepted,
        targets=settings.class_targets,
    )


@asynccontextmanager
async def stream(
    config: Config,
    ledger: Ledger | None,
    telemetry: Telemetry,
    health: Health,
    *,
    learning: bool,
    on_assigned: Callable[[float], None],
) -> AsyncIterator[LocalStream | KafkaStream]:
    """The stream of documents, which is a sink too, opened and in the end closed.

    `ledger` is where a local stream keeps its positions. With `learning`, a finite file is played at a rate at which
    students can learn. `on_assigned` hears the share of the documents' partitions that this worker holds.
    """
    if ledger is None:
        from askance.stream.kafka.documents import KafkaStream

        kafka = KafkaStream(
            config.kafka, telemetry=telemetry, health=health, clock=time.monotonic, on_assigned=on_assigned
        )
        await kafka.start()
        try:
            yield kafka
        finally:
            await kafka.aclose()
    else:
        local = _local_stream(config, ledger, learning=learning)
        try:
            yield local
        finally:
            await local.aclose()


def _local_stream(config: Config, ledger: Ledger, *, learning: bool) -> LocalStream:
    path = None if config.source.path == "-" else Path(config.source.path)
    rate = config.source.rate
    if rate is None:
        rate = _LEARNING_RATE if learning and path is not None and not config.source.follow else 0.0
    opened = LocalStream(
        input=path,
        topic=config.source.topic or (path.stem if path else "stdin"),
        follow=config.source.follow,
        rate=rate,
        predictions=None if config.sink.path == "-" else Path(config.sink.path),
        dead_letters=dead_letter_path(config),
        ledger=ledger,
        clock=time.monotonic,
    )
    if config.source.rate is None and rate:
        _logger.info("playing %s at %g documents a second; --rate changes it, --rate 0 lifts it", path, rate)
    return opened


async def lanes(config: Config, ledger: Ledger, telemetry: Telemetry, health: Health) -> LaneWorker:
    """On Kafka, what fills a `teach` worker's ledger and publishes from it; started."""
    from askance.ledger.view import ViewLedger
    from askance.stream.kafka.queries import LaneWorker

    if not isinstance(ledger, ViewLedger):
        raise TypeError
    worker = LaneWorker(config.kafka, ledger, telemetry=telemetry, health=health, clock=time.monotonic)
    await worker.start()
    return worker


def label_view(config: Config, ledger: Ledger, telemetry: Telemetry, health: Health) -> LabelView:
    """On Kafka, what fills a `train` worker's ledger."""
    from askance.ledger.view import ViewLedger
    from askance.stream.kafka.queries import LabelView

    if not isinstance(ledger, ViewLedger):
        raise TypeError
    return LabelView(config.kafka, ledger, telemetry=telemetry, health=health, clock=time.monotonic)


async def create_topics(
    config: Config, *, partitions: int, replication: int, retention_ms: int, documents: bool
) -> dict[str, str]:
    """Make the Kafka topics that are missing; topic to `created` or `exists`."""
    from askance.stream.kafka.topics import create_topics as create

    if not on_kafka(config):
        msg = "kafka.bootstrap.servers is not set; name the brokers with --bootstrap-servers"
        raise ConfigError(msg)
    return await create(
        config.kafka,
        partitions=partitions,
        replication=replication,
        retention_ms=retention_ms,
        documents=documents,
    )


def dead_letter_path(config: Config) -> Path:
    """Where dead letters go."""
    if config.sink.dead_letters is not None:
        return Path(config.sink.dead_letters)
    folder = config.state if config.sink.path == "-" else Path(config.sink.path).parent
    return folder / "dead-letters.jsonl"


def _featurizer(config: Config) -> FeaturizerConfig:
    return FeaturizerConfig(bits=config.student.bits, ngram_max=config.student.ngram_max)


def trainer(config: Config, label_set: tuple[str, ...]) -> Trainer:
    """The trainer, in a process of its own."""
    from askance.training.process import ProcessTrainer
    from askance.training.spec import Spec, TransformerSpec

    spec = Spec(
        ledger=str(ledger_path(config, "train")),
        registry=config.registry_location,
        registry_cache=str(_registry_cache(config)),
        labels=label_set,
        renamed=config.teacher.present_names,
        kind=config.student.kind,
        features=config.student.features,
        encoder=config.student.encoder.model or "",
        max_tokens=config.student.encoder.max_tokens,
        embeddings=str(config.state / "embeddings"),
        transformer=TransformerSpec(**config.student.transformer.model_dump()),
        featurizer=_featurizer(config),
        holdout_share=config.train.holdout_share,
        promote=config.train.promote,
        not_worse_by=config.train.not_worse_by,
        parity_tolerance=config.train.parity_tolerance,
        seed=config.train.seed,
        newest=config.train.newest,
        selection=_selection(config),
        rescored=config.measure if config.train.selection.uncertainty == "champion" else None,
    )
    return ProcessTrainer(spec, on_warning=_logger.warning)


def _selection(config: Config) -> SelectionRule | None:
    from askance.rules.selection import SelectionRule

    settings = config.train.selection
    if settings.kind == "none":
        return None
    return SelectionRule(
        by_confidence=settings.by_confidence,
        by_uncertainty=settings.by_uncertainty,
        per_class=settings.per_class,
        weighted=settings.weighted,
        momentum=settings.momentum,
        importance_exponent=settings.importance_exponent if settings.importance else 0.0,
        importance_cap=settings.importance_cap,
    )


def contract(config: Config) -> Contract | None:
    """The agreement contract, as far as the data plane is concerned."""
    settings = config.contract
    if settings.agreement is None:
        return None
    return Contract(settings.audit_share, settings.on_escalation == "hold", settings.deadline_seconds)


def rollout(config: Config, ledger: Ledger, registry: Registry, telemetry: Telemetry) -> RolloutWorker:
    """What brings versions to life, and keeps the contract."""
    from askance.workers.rollout import RolloutWorker, Terms, Trials

    terms, train = config.contract, config.train
    return RolloutWorker(
        ledger=ledger,
        registry=registry,
        trials=Trials(config.rollout, train.rollout_documents, train.canary_share, train.promote, train.not_worse_by),
        terms=None
        if terms.agreement is None
        else Terms(terms.agreement, 1.0 - terms.confidence, terms.audit_share, terms.labels),
        telemetry=telemetry,
    )


def guard(
    config: Config,
    ledger: Ledger,
    registry: Registry,
    telemetry: Telemetry,
    *,
    on_drift: Callable[[], None],
) -> GuardWorker:
    """The guard of the live version, with its limits."""
    from askance.workers.guard import GuardWorker, Limits

    settings = config.guard
    limits = Limits(
        tolerance=settings.tolerance,
        jump=settings.jump,
        documents=settings.documents,
        drift=settings.drift,
        miss=settings.miss,
        drift_floor=config.drift_floor,
        drift_seconds=settings.drift_seconds,
    )
    return GuardWorker(ledger=ledger, registry=registry, limits=limits, telemetry=telemetry, on_drift=on_drift)


def schedule(config: Config, registry: Registry, label_set: tuple[str, ...], *, now: float) -> RetrainingSchedule:
    """When to train, going on from the newest version; from nothing where that one has other labels."""
    versions = registry.versions()
    newest = versions[-1] if versions and set(versions[-1].labels) == set(label_set) else None
    return RetrainingSchedule(
        first_at=config.train.first_at,
        growth=config.train.growth,
        every=config.train.every,
        every_seconds=config.train.every_seconds,
        labels=newest.trained_on + newest.held_out if newest else 0,
        now=now,
    )


def ledger_path(config: Config, worker: str) -> Path:
    """The file that holds a worker's ledger."""
    return config.state / (f"{worker}.db" if on_kafka(config) else "ledger.db")


def _registry_cache(config: Config) -> Path:
    return config.state / "registry-cache"


def predictions_name(config: Config) -> str:
    """Where predictions go, as a person calls it."""
    return f"topic {config.kafka.predictions}" if on_kafka(config) else config.sink.path


def dead_letters_name(config: Config) -> str:
    """Where dead letters go, as a person calls it."""
    return f"topic {config.kafka.dead_letters}" if on_kafka(config) else str(dead_letter_path(config))
