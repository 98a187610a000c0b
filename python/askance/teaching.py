"""Makes the teacher and its worker from the settings: who is asked, about which labels, at which price and pace."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from askance.calls import Caps, Limit
from askance.errors import ConfigError
from askance.labelset import renaming

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from askance.calls import Audit
    from askance.config import Config, TeacherConfig
    from askance.protocols import AugmentationLedger, BatchTeacher, Ledger, Registry, Student, Teacher, Trainer
    from askance.rules.spend import Price
    from askance.telemetry import Telemetry
    from askance.tracing import Tracer
    from askance.workers.augment import Augmenter
    from askance.workers.batch import BatchWorker
    from askance.workers.teach import TeachWorker

_logger = logging.getLogger(__name__)
_NOBODY = "teacher.kind is {}, so there is nobody to ask; choose --teacher openai or --teacher replay"


def labels(config: Config) -> tuple[str, ...]:
    """The label set; raises `ConfigError` when the settings do not tell it."""
    from askance.teacher.replay import distinct_values

    teacher = config.teacher
    if teacher.kind == "none" and teacher.labels is None and teacher.labels_from_field is None:
        raise ConfigError(_NOBODY.format("none"))
    if teacher.labels is not None:
        return teacher.labels
    field = teacher.labels_from_field or (teacher.replay_field if teacher.kind == "replay" else None)
    if field is None:
        msg = "the label set is unknown; name the labels with teacher.labels (--labels) or --labels-from-field"
        raise ConfigError(msg)
    found = distinct_values(_recorded_path(config), field)
    renamed = teacher.present_names
    label_set = tuple(sorted({renamed.get(label, label) for label in found}))
    try:
        renaming(teacher.renamed, label_set)
    except ValueError as exc:
        msg = f"teacher.{exc}"
        raise ConfigError(msg) from exc
    return label_set


def warn_of_other_labels(label_set: Sequence[str], registry: Registry) -> None:
    """Say so when the live version knows another label set: it answers with its own until one is trained on this."""
    live = registry.current() if label_set else None
    if live is None:
        return
    known, wanted = set(registry.manifest(live).labels), set(label_set)
    changes = [f"does not know {label!r}" for label in sorted(wanted - known)]
    changes += [f"still answers {label!r}" for label in sorted(known - wanted)]
    if changes:
        shown = ", ".join(changes[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
        _logger.warning("the live version %s has another label set than the settings: it %s", live, shown)


def make_teacher(
    config: Config,
    label_set: tuple[str, ...],
    examples: Sequence[tuple[str, str]] = (),
    *,
    evidence: Callable[[str], Sequence[Audit]] = lambda _: (),
    forecasting: bool = False,
) -> Teacher:
    """The teacher of the settings; `examples` are documents with their labels, for its prompt.

    One that is made for `forecasting` needs no API key, and must not be asked. `evidence` tells a cascade of answers
    that both its teachers gave. Raises `ConfigError` where nobody is named.
    """
    settings = config.teacher
    if settings.kind == "replay":
        from askance.teacher.replay import ReplayTeacher

        return ReplayTeacher(
            _recorded_path(config),
            id_field=config.source.id_field,
            field=settings.replay_field,
            model=settings.model,
            latency_seconds=settings.latency_ms / 1000,
            concurrency=settings.concurrency,
        )
    if settings.kind == "openai":
        from askance.teacher.openai import OpenAITeacher

        def one(settings: TeacherConfig) -> OpenAITeacher:
            environment = {settings.api_key_env: "none"} if forecasting else os.environ
            return OpenAITeacher(
                settings, label_set, price=price(config, settings.model), examples=examples, environment=environment
            )

        if settings.first.model is None:
            return one(settings)
        from askance.rules.cascade import Escalation
        from askance.teacher.cascade import CascadeTeacher

        first = one(_first(settings))
        return CascadeTeacher(
            first,
            one(settings),
            label_set,
            Escalation(settings.first.agreement, settings.first.confidence),
            evidence=lambda: evidence(first.name),
        )
    if settings.kind == "human":
        msg = "teacher.kind is human: people are asked by `askance labels export`, and read back by `import`"
        raise ConfigError(msg)
    raise ConfigError(_NOBODY.format(settings.kind))


def make_batches(config: Config, label_set: tuple[str, ...], examples: Sequence[tuple[str, str]] = ()) -> BatchTeacher:
    """The teacher of the settings through its provider's batch API; raises `ConfigError` where there is none."""
    settings = config.teacher
    if settings.kind != "openai":
        msg = f"teacher.kind is {settings.kind}, which has no batch API; choose --teacher openai"
        raise ConfigError(msg)
    if settings.first.model is not None:
        _logger.warning("a batch has one model: %s is asked about everything", settings.model)
    from askance.teacher.openai import OpenAIBatches

    full = price(config, settings.model)
    return OpenAIBatches(settings, label_set, price=full and full.times(config.spend.batch_price), examples=examples)


def batch_worker(config: Config, teacher: BatchTeacher, label_set: tuple[str, ...], ledger: Ledger) -> BatchWorker:
    """The worker that sends batches and settles them."""
    from askance.workers.batch import BatchWorker

    settings = config.teacher
    return BatchWorker(
        ledger=ledger,
        teacher=teacher,
        labels=label_set,
        renamed=config.teacher.present_names,
        caps=caps(config),
        key=teacher.teacher.key if settings.reuse else None,
        alike=settings.near_duplicates,
        audit_share=settings.audit_share,
    )


def examples_of(config: Config, label_set: Collection[str], ledger: Ledger) -> list[tuple[str, str]]:
    """The labelled documents that the prompt shows; one whose label is no more is not among them."""
    count = config.teacher.examples
    return [(row.text, row.label) for row in ledger.labelled(count) if row.label in label_set] if count else []


def _first(settings: TeacherConfig) -> TeacherConfig:
    """The settings of a cascade's first teacher: its own, or else those of the second."""
    first = settings.first
    changes = {"model": first.model, "first": type(first)()}
    changes |= {name: getattr(first, name) for name in ("base_url", "api_key_env") if getattr(first, name) is not None}
    return settings.model_copy(update=changes)


def teach_worker(
    config: Config,
    teacher: Teacher,
    label_set: tuple[str, ...],
    ledger: Ledger,
    telemetry: Telemetry,
    tracer: Tracer,
) -> TeachWorker:
    """The teach worker on its teacher, made anew where the prompt or the cascade's threshold needs the ledger."""
    from askance.rules.pace import Pace, Spacing
    from askance.workers.teach import TeachWorker

    settings = config.teacher
    if settings.examples or settings.first.model is not None:
        teacher = make_teacher(config, label_set, examples_of(config, label_set, ledger), evidence=ledger.evidence)
    return TeachWorker(
        ledger=ledger,
        teacher=teacher,
        labels=label_set,
        renamed=config.teacher.present_names,
        telemetry=telemetry,
        pace=Pace(
            most=settings.concurrency,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            spacing=Spacing(),
        ),
        caps=caps(config),
        second_chance=settings.kind == "openai",
        patience_seconds=settings.patience_seconds,
        # What was recorded would agree with itself, and say nothing.
        audit_share=settings.audit_share if settings.kind == "openai" else 0.0,
        reuse=settings.reuse,
        alike=settings.near_duplicates,
        tracer=tracer,
    )


def augmenter(
    config: Config,
    label_set: tuple[str, ...],
    ledger: AugmentationLedger,
    trainer: Trainer,
    load: Callable[[str], Student],
) -> Augmenter | None:
    """What has the teacher write documents after a training; None where the settings do not ask for it.

    Either way, what an augmentation left behind whose process died is given up.
    """
    ledger.lose_augmentation()
    settings = config.train.augment
    if not settings.enabled:
        return None
    # Not before: whoever has another teacher need not have the package openai.
    from askance.rules.spend import NANOS
    from askance.teacher.openai import OpenAITeacher
    from askance.workers.augment import Augmenter, Plan

    if settings.money is not None and price(config, config.teacher.model) is None:
        msg = f"train.augment.money needs the price of {config.teacher.model!r}, unknown so far; set it in spend.prices"
        raise ConfigError(msg)
    # Of a cascade it is the second teacher that writes and checks.
    writer = OpenAITeacher(config.teacher, label_set, price=price(config, config.teacher.model))
    return Augmenter(
        ledger=ledger,
        writer=writer,
        trainer=trainer,
        load=load,
        labels=label_set,
        plan=Plan(
            rounds=settings.rounds,
            patience=settings.patience,
            classes=settings.classes,
            documents=settings.documents,
            document_tokens=settings.document_tokens,
            limit=Limit(calls=settings.calls, nanos=None if settings.money is None else int(settings.money * NANOS)),
            holdout_share=config.train.holdout_share,
        ),
        caps=caps(config),
    )


def price(config: Config, model: str | None) -> Price | None:
    """A model's price, None when it is unknown; raises `ConfigError` when a cap in money hangs on it."""
    from askance.rules.spend import PRICES, Price

    model = model or ""
    given = config.spend.prices.get(model)
    if given is not None:
        return Price(input=given.input, output=given.output, cached_input=given.cached_input)
    if model in PRICES:
        return PRICES[model]
    spend = config.spend
    for name in ("run_money", "day_money", "total_money"):
        if getattr(spend, name) is not None:
            msg = f"spend.{name} needs the price of {model!r}, which is unknown; set it in spend.prices"
            raise ConfigError(msg)
    _logger.info("the price of %r is unknown, so only its calls and tokens are counted; set it in spend.prices", model)
    return None


def caps(config: Config) -> Caps:
    """What may be spent."""
    from askance.rules.spend import NANOS

    def limit(period: str) -> Limit:
        cap = getattr(config.spend, f"{period}_money")
        return Limit(
            calls=getattr(config.spend, f"{period}_calls"),
            tokens=getattr(config.spend, f"{period}_tokens"),
            nanos=None if cap is None else int(cap * NANOS),
        )

    return Caps(run=limit("run"), day=limit("day"), total=limit("total"))


def _recorded_path(config: Config) -> Path:
    if config.teacher.replay_path is not None:
        return Path(config.teacher.replay_path)
    if config.source.path == "-":
        msg = "the recorded labels are in no file: name one with teacher.replay_path (--replay-file)"
        raise ConfigError(msg)
    return Path(config.source.path)
