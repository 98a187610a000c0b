"""Makes each part from the settings; together with `app` and `teaching`, the only place that names adapters."""

from askance.assembly.serving import budget, collector_at_rest, contract, decoder, gate, load, load_live, seed_set
from askance.assembly.state import (
    alone,
    dead_letter_path,
    dead_letters_name,
    exclusive,
    ledger,
    ledger_path,
    on_kafka,
    predictions_name,
    registry,
    registry_poll_seconds,
)
from askance.assembly.streams import backlog, create_topics, label_view, lanes, stream
from askance.assembly.training import guard, rollout, schedule, trainer

__all__ = [
    "alone",
    "backlog",
    "budget",
    "collector_at_rest",
    "contract",
    "create_topics",
    "dead_letter_path",
    "dead_letters_name",
    "decoder",
    "exclusive",
    "gate",
    "guard",
    "label_view",
    "lanes",
    "ledger",
    "ledger_path",
    "load",
    "load_live",
    "on_kafka",
    "predictions_name",
    "registry",
    "registry_poll_seconds",
    "rollout",
    "schedule",
    "seed_set",
    "stream",
    "trainer",
]
