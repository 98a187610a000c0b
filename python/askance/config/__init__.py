"""Every setting, in one tree: `askance.yaml`, overridden by the environment, overridden by flags.

An unknown key is an error that names the nearest known one. No setting holds a secret: the teacher's API key is read
from the environment variable that `teacher.api_key_env` names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from askance.config.base import Section
from askance.config.gate import BudgetConfig, GateConfig
from askance.config.kafka import KafkaConfig
from askance.config.stream import SinkConfig, SourceConfig
from askance.config.student import GuardConfig, SelectionConfig, StudentConfig, TrainConfig
from askance.config.teacher import PriceConfig, SpendConfig, TeacherConfig

__all__ = [
    "BudgetConfig",
    "Config",
    "GateConfig",
    "GuardConfig",
    "KafkaConfig",
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


class Config(Section):
    """All settings."""

    state: Path = Path("askance-state")
    """The folder with the ledger (`ledger.db`) and the registry (`registry/`)."""
    batch: Annotated[int, Field(ge=1, le=65_536)] = 512
    """Documents scored together at most."""
    linger_ms: Annotated[float, Field(ge=0.0)] = 20.0
    """How long a batch waits for its first document."""
    source: SourceConfig = SourceConfig()
    sink: SinkConfig = SinkConfig()
    student: StudentConfig = StudentConfig()
    gate: GateConfig = GateConfig()
    budget: BudgetConfig = BudgetConfig()
    teacher: TeacherConfig = TeacherConfig()
    spend: SpendConfig = SpendConfig()
    train: TrainConfig = TrainConfig()
    guard: GuardConfig = GuardConfig()
    kafka: KafkaConfig = KafkaConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.budget.kind == "share" and self.gate.floor is not None and self.gate.floor > self.budget.share:
            msg = (
                f"gate.floor is {self.gate.floor:g}, above budget.share {self.budget.share:g}: the floor alone would "
                "spend more than the budget; lower the floor or raise the share"
            )
            raise ValueError(msg)
        if self.source.path == "-" and self.source.follow:
            msg = "source.follow needs a file: standard input is followed anyway; drop it"
            raise ValueError(msg)
        if self.teacher.labels and self.teacher.labels_from_field:
            msg = "teacher.labels and teacher.labels_from_field exclude each other: keep one"
            raise ValueError(msg)
        return self

    @property
    def floor(self) -> float:
        """The exploration floor in force."""
        if self.gate.floor is not None:
            return self.gate.floor
        return self.budget.share / 20 if self.budget.kind == "share" else 0.0
