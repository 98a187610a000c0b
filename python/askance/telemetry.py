"""Every metric, named in one place. Loss is always counted: no record, query or version disappears without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class Telemetry:
    """The metrics of one process, in a registry of their own (nothing global)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.documents = Counter("askance_documents", "Documents with a delivered prediction.", registry=self.registry)
        self.accepted = Counter(
            "askance_accepted", "Documents the gate accepted for the teacher.", registry=self.registry
        )
        self.dead_letters = Counter(
            "askance_dead_letters", "Records that could not be processed.", ["reason"], registry=self.registry
        )
        self.unanswered = Counter(
            "askance_unanswered", "Predictions without a label.", ["reason"], registry=self.registry
        )
        self.standings = Counter(
            "askance_contract_predictions", "Predictions under a contract.", ["standing"], registry=self.registry
        )
        self.batches = Histogram(
            "askance_batch_seconds",
            "From a batch's first byte decoded to its last prediction encoded.",
            registry=self.registry,
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0),
        )
        self.gate_scale = Gauge("askance_gate_scale", "The gate's scale s.", registry=self.registry)
        self.gate_closed = Counter(
            "askance_gate_closed_documents", "Documents drawn at propensity 0.", registry=self.registry
        )
        self.rebuilds = Counter(
            "askance_stream_rebuilds", "Times the connection to the brokers was built anew.", registry=self.registry
        )
        self.stalls = Counter("askance_stream_stalls", "Times there was lag and nothing came.", registry=self.registry)
        self.lag = Gauge(
            "askance_lag_records",
            "Records of a held partition that were not fetched yet.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self.refused = Counter(
            "askance_refused_positions",
            "Partitions of a batch that were taken away, or failed, before it was delivered; fetched again.",
            registry=self.registry,
        )
        self.swaps = Counter("askance_swaps", "Versions swapped in.", registry=self.registry)
        self.swap_failures = Counter(
            "askance_swap_failures", "Versions that could not be loaded.", registry=self.registry
        )
        self.pending = Gauge("askance_pending_queries", "Queries waiting for the teacher.", registry=self.registry)
        self.labels = Counter("askance_labels", "Queries that ended.", ["outcome"], registry=self.registry)
        self.copies = Counter(
            "askance_copied_labels", "Queries that ended with a like one's label, at no cost.", registry=self.registry
        )
        self.unsettled = Counter(
            "askance_unsettled_calls", "Calls whose answer the ledger would not take.", registry=self.registry
        )
        self.teacher_seconds = Histogram(
            "askance_teacher_seconds", "From asking the teacher to its answer.", registry=self.registry
        )
        self.calls = Counter("askance_teacher_calls", "Calls to the teacher.", ["outcome"], registry=self.registry)
        self.retries = Counter(
            "askance_teacher_retries", "Queries given back to be asked again.", registry=self.registry
        )
        self.tokens = Counter("askance_spent_tokens", "Tokens spent on the teacher.", registry=self.registry)
        self.nanos = Counter(
            "askance_spent_nanos", "Money spent, in billionths of the price table's unit.", registry=self.registry
        )
        self.overspent = Counter(
            "askance_calls_above_reservation", "Calls that cost more than their worst case.", registry=self.registry
        )
        self.slots = Gauge("askance_teacher_slots", "Calls that may be under way at once.", registry=self.registry)
        self.rollbacks = Counter("askance_rollbacks", "Versions taken back by the guard.", registry=self.registry)
        self.contracts_broken = Counter(
            "askance_contracts_broken", "Thresholds that audits showed to break the contract.", registry=self.registry
        )
        self.drift_alarms = Counter(
            "askance_drift_alarms", "Changes of the stream that were told.", ["kind"], registry=self.registry
        )
        self.trainings = Counter("askance_trainings", "Trainings that ended.", ["outcome"], registry=self.registry)
        self.training_seconds = Histogram(
            "askance_training_seconds",
            "From starting a training to its version or its error.",
            registry=self.registry,
            buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
        )

    def application(self) -> WSGIApplication:
        """What serves these metrics over HTTP, in the format that the reader asks for."""
        return make_wsgi_app(self.registry)

    def dead_letter_total(self) -> int:
        """Dead letters, whatever the reason."""
        samples = [sample for metric in self.dead_letters.collect() for sample in metric.samples]
        return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))

    def value(self, name: str, **labels: str) -> float:
        """A sample's present value, 0 when it has none yet; raises `ValueError` for a name that is no metric."""
        value = self.registry.get_sample_value(name, labels)
        if value is None:
            if not any(name.startswith(metric.name) for metric in self.registry.collect()):
                msg = f"there is no metric {name!r}; see askance/telemetry.py"
                raise ValueError(msg)
            return 0.0
        return value


class Sample(NamedTuple):
    """One line of `/metrics`."""

    name: str
    labels: dict[str, str]
    value: float


def samples(text: str) -> list[Sample]:
    """What a `/metrics` in the text format says; raises `ValueError` for what is not in that format."""
    return [
        Sample(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
