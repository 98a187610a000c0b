"""Every setting, in one tree: `askance.yaml`, overridden by the environment, overridden by flags.

An unknown key is an error that names the nearest known one. No setting holds a secret: the teacher's API key is read
from the environment variable that `teacher.api_key_env` names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from askance.config.base import Positive, Section
from askance.config.gate import BudgetConfig, ContractConfig, GateConfig
from askance.config.kafka import KafkaConfig
from askance.config.page import PageConfig
from askance.config.stream import MetricsConfig, SinkConfig, SourceConfig
from askance.config.student import AugmentConfig, GuardConfig, SelectionConfig, StudentConfig, TrainConfig
from askance.config.teacher import PriceConfig, SpendConfig, TeacherConfig

__all__ = [
    "AugmentConfig",
    "BudgetConfig",
    "Config",
    "ContractConfig",
    "GateConfig",
    "GuardConfig",
    "KafkaConfig",
    "Logs",
    "MetricsConfig",
    "PageConfig",
    "PriceConfig",
    "Section",
    "SelectionConfig",
    "SinkConfig",
    "SourceConfig",
    "SpendConfig",
    "StudentConfig",
    "TeacherConfig",
    "TrainConfig",
]

Measure = Literal["entropy", "margin", "least_confidence"]
Disagreement = Literal["vote_entropy", "consensus_kl"]
Logs = Literal["auto", "text", "json"]


class Config(Section):
    """All settings."""

    state: Path = Path("askance-state")
    """The folder with the ledger (`ledger.db`) and, unless `registry` says otherwise, the registry (`registry/`)."""
    registry: str | None = None
    """Where student versions are: a folder, or the URL of an object store (`s3://bucket/path` with the extra `s3`, or
    any that fsspec knows), of which the state folder then keeps copies. Credentials come from the environment, as the
    store's own tools read them. Default: `registry/` in the state folder."""
    batch: Annotated[int, Field(ge=1, le=65_536)] = 4096
    """Documents scored together at most; as many as have come, never waiting for more."""
    latency_target_ms: Positive = 100.0
    """How long scoring a batch may take: fewer documents are taken together when it takes longer, as with a large
    student under load."""
    linger_ms: Annotated[float, Field(ge=0.0)] = 20.0
    """How long a batch waits for its first document."""
    logs: Logs = "auto"
    """How the workers log, on standard error: `text` for people, `json` for a JSON object a line; `auto` is text on a
    terminal and JSON elsewhere."""
    source: SourceConfig = SourceConfig()
    sink: SinkConfig = SinkConfig()
    student: StudentConfig = StudentConfig()
    gate: GateConfig = GateConfig()
    budget: BudgetConfig = BudgetConfig()
    contract: ContractConfig = ContractConfig()
    teacher: TeacherConfig = TeacherConfig()
    spend: SpendConfig = SpendConfig()
    train: TrainConfig = TrainConfig()
    guard: GuardConfig = GuardConfig()
    kafka: KafkaConfig = KafkaConfig()
    metrics: MetricsConfig = MetricsConfig()
    page: PageConfig = PageConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.budget.kind == "share" and self.gate.floor is not None and self.gate.floor > self.budget.share:
            msg = (
                f"gate.floor is {self.gate.floor:g}, above budget.share {self.budget.share:g}: the floor alone would "
                "spend more than the budget; lower the floor or raise the share"
            )
            raise ValueError(msg)
        _check_acquisition(self)
        if self.train.augment.enabled and (self.teacher.kind != "openai" or self.kafka.bootstrap.servers is not None):
            msg = "train.augment.enabled needs a teacher that can write, teacher.kind openai, and a local run: drop it"
            raise ValueError(msg)
        _check_registry(self.registry)
        if self.student.features == "encoder" and self.student.encoder.model is None:
            msg = "student.features is encoder, and student.encoder.model names none: name a folder or a hub's model"
            raise ValueError(msg)
        if self.source.path == "-" and self.source.follow:
            msg = "source.follow needs a file: standard input is followed anyway; drop it"
            raise ValueError(msg)
        if self.teacher.labels and self.teacher.labels_from_field:
            msg = "teacher.labels and teacher.labels_from_field exclude each other: keep one"
            raise ValueError(msg)
        if (
            self.contract.agreement is not None
            and self.contract.on_escalation == "hold"
            and self.kafka.bootstrap.servers
        ):
            msg = "contract.on_escalation is hold, which works on files only; on Kafka use correct"
            raise ValueError(msg)
        return self

    @property
    def registry_location(self) -> str:
        """Where student versions are."""
        return self.registry or str(self.state / "registry")

    @property
    def rollout(self) -> Literal["direct", "shadow", "canary"]:
        """How new versions go live."""
        return self.train.rollout or ("direct" if self.contract.agreement is None else "shadow")

    @property
    def drift_floor(self) -> float:
        """The exploration floor after a drift alarm."""
        return self.budget.share / 2 if self.guard.drift_floor is None else self.guard.drift_floor

    @property
    def measure(self) -> Measure:
        """The uncertainty measure in force; with a committee, that of its live member."""
        given = self.gate.measure
        return given if given in ("margin", "least_confidence") else "entropy"

    @property
    def disagreement(self) -> Disagreement | None:
        """The committee's measure, if there is one."""
        given = self.gate.measure
        return given if given in ("vote_entropy", "consensus_kl") else None

    @property
    def exponent(self) -> float:
        """The exponent in force: 0 for `random`, for which every document is of one uncertainty."""
        if self.gate.measure == "random":
            return 0.0
        return 1.0 if self.gate.exponent is None else self.gate.exponent

    @property
    def floor(self) -> float:
        """The exploration floor in force."""
        if self.gate.floor is not None:
            return self.gate.floor
        return self.budget.share / 20 if self.budget.kind == "share" else 0.0


def _check_registry(registry: str | None) -> None:
    address = urlsplit(registry or "")
    if address.scheme and address.password is not None:
        msg = "registry holds a password; keys come only from the environment, as the store's own tools read them"
        raise ValueError(msg)


def _check_acquisition(config: Config) -> None:
    gate, budget = config.gate, config.budget
    if gate.measure == "random" and budget.kind == "m-raru":
        msg = "gate.measure is random and budget.kind m-raru: every document would be asked about; name a budget"
        raise ValueError(msg)
    if gate.measure == "random" and gate.exponent is not None:
        msg = "gate.exponent shapes an uncertainty, and gate.measure random has none: drop one of them"
        raise ValueError(msg)
    if gate.seed_documents and budget.kind != "share":
        msg = f"gate.seed_documents spends budget.advance, which budget.kind {budget.kind} has not: drop it"
        raise ValueError(msg)
    if 0 < gate.seed_documents < budget.advance:
        msg = (
            f"gate.seed_documents is {gate.seed_documents:,}, below budget.advance {budget.advance:,}: there is "
            "nothing to choose; raise it to a thousand or so"
        )
        raise ValueError(msg)
    if budget.class_targets and budget.kind == "m-raru":
        msg = "budget.class_targets needs a budget to divide, and budget.kind m-raru has none: drop one of them"
        raise ValueError(msg)
    total = sum(budget.class_targets.values())
    if total > 1.0:
        msg = f"budget.class_targets add up to {total:g}, more than all queries: lower them to 1 at most"
        raise ValueError(msg)
    unknown = sorted(set(budget.class_targets) - set(config.teacher.labels or budget.class_targets))
    if unknown:
        msg = f"budget.class_targets names {unknown[0]!r}, which is none of teacher.labels"
        raise ValueError(msg)
