"""Makes the teacher and its worker from the settings: who is asked, about which labels, at which price and pace."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from askance.calls import Caps, Limit
from askance.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.config import Config
    from askance.protocols import Ledger, Teacher
    from askance.rules.spend import Price
    from askance.telemetry import Telemetry
    from askance.workers.teach import TeachWorker

_logger = logging.getLogger(__name__)


def labels(config: Config) -> tuple[str, ...]:
    """The label set; raises `ConfigError` when the settings do not tell it."""
    from askance.teacher.replay import distinct_values

    teacher = config.teacher
    if teacher.kind == "none":
        msg = "teacher.kind is none, so there is nobody to ask; choose --teacher openai or --teacher replay"
        raise ConfigError(msg)
    if teacher.labels is not None:
        return teacher.labels
    field = teacher.labels_from_field or (teacher.replay_field if teacher.kind == "replay" else None)
    if field is None:
        msg = "the label set is unknown; name the labels with teacher.labels (--labels) or --labels-from-field"
        raise ConfigError(msg)
    return distinct_values(_recorded_path(config), field)


def make_teacher(
    config: Config,
    label_set: tuple[str, ...],
    examples: Sequence[tuple[str, str]] = (),
    *,
    forecasting: bool = False,
) -> Teacher:
    """The teacher of the settings; `examples` are documents with their labels, for its prompt.

    One that is made for `forecasting` needs no API key, and must not be asked.
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

        environment = {settings.api_key_env: "none"} if forecasting else os.environ
        return OpenAITeacher(settings, label_set, price=price(config), examples=examples, environment=environment)
    raise AssertionError(settings.kind)


def teach_worker(
    config: Config, teacher: Teacher, label_set: tuple[str, ...], ledger: Ledger, telemetry: Telemetry
) -> TeachWorker:
    """The teach worker on its teacher, which is made anew where the prompt shows labels of the ledger."""
    from askance.rules.pace import Pace, Spacing
    from askance.workers.teach import TeachWorker

    settings = config.teacher
    if settings.examples:
        newest = ledger.labelled(settings.examples)
        teacher = make_teacher(config, label_set, [(row.text, row.label) for row in newest])
    return TeachWorker(
        ledger=ledger,
        teacher=teacher,
        labels=label_set,
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
    )


def price(config: Config) -> Price | None:
    """The model's price, None when it is unknown; raises `ConfigError` when a cap in money hangs on it."""
    from askance.rules.spend import PRICES, Price

    model = config.teacher.model or ""
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
