"""What makes students, and what decides whether they go live and stay so."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from askance.assembly.serving import featurizer_config
from askance.assembly.state import ledger_path, registry_cache
from askance.rules.retraining import RetrainingSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from askance.config import Config
    from askance.protocols import Ledger, Registry, Trainer
    from askance.rules.selection import SelectionRule
    from askance.telemetry import Telemetry
    from askance.workers.guard import GuardWorker
    from askance.workers.rollout import RolloutWorker

_logger = logging.getLogger(__name__)


def trainer(config: Config, label_set: tuple[str, ...]) -> Trainer:
    """The trainer, in a process of its own."""
    from askance.training.process import ProcessTrainer
    from askance.training.spec import Spec, TransformerSpec

    spec = Spec(
        ledger=str(ledger_path(config, "train")),
        registry=config.registry_location,
        registry_cache=str(registry_cache(config)),
        labels=label_set,
        renamed=config.teacher.present_names,
        kind=config.student.kind,
        features=config.student.features,
        encoder=config.student.encoder.model or "",
        max_tokens=config.student.encoder.max_tokens,
        embeddings=str(config.state / "embeddings"),
        transformer=TransformerSpec(**config.student.transformer.model_dump()),
        featurizer=featurizer_config(config),
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
