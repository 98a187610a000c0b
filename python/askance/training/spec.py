"""What goes into a training job, and what comes out: one JSON line each way."""

from __future__ import annotations

from typing import Literal

import msgspec

from askance.manifest import FeaturizerConfig
from askance.rules.gate import Measure  # noqa: TC001 - msgspec resolves it at run time
from askance.rules.promotion import PromotionRule  # noqa: TC001 - as above
from askance.rules.selection import SelectionRule  # noqa: TC001 - as above

Family = Literal["logistic", "svm", "lda", "rf", "gbdt"]


Kind = Literal["logistic", "svm", "lda", "rf", "gbdt", "transformer"]


class TransformerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a transformer is fine-tuned."""

    model: str = "distilbert-base-uncased"
    """A folder, or a name on the hub."""
    max_tokens: int = 128
    start: Literal["scratch", "champion"] = "champion"
    """From the model as it comes, or from the live version where that is one of its kind."""
    epochs: int = 10
    patience: int = 2
    batch: int = 16
    learning_rate: float = 5e-5
    threads: int = 1
    int8: bool = False


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a training depends on besides the ledger's rows and the registry's champion."""

    ledger: str
    """Path of the ledger."""
    registry: str
    """Path or URL of the registry."""
    registry_cache: str = ""
    """Path of the folder for copies of what a URL holds."""
    labels: tuple[str, ...]
    """The label set, in the order of the logits' columns."""
    kind: Kind = "logistic"
    """The student family."""
    features: Literal["hashed", "encoder"] = "hashed"
    """What the families take."""
    encoder: str = ""
    """A folder, or a name on the hub."""
    max_tokens: int = 128
    """Documents are cut to so many, where tokens are read."""
    embeddings: str | None = None
    """The folder where an encoder's vectors are kept for the next training."""
    transformer: TransformerSpec = TransformerSpec()
    featurizer: FeaturizerConfig = FeaturizerConfig()
    renamed: dict[str, str] = {}
    """Labels of an earlier label set, and what they are called now; two with one new name are merged."""
    holdout_share: float = 0.2
    promote: PromotionRule = "unless_worse"
    not_worse_by: float = 0.005
    parity_tolerance: float = 1e-4
    seed: int = 0
    newest: int | None = None
    """So many labels at most, the newest ones; None: all."""
    selection: SelectionRule | None = None
    """None: every label counts alike."""
    rescored: Measure | None = None
    """Select by the champion's uncertainty of this measure, instead of the one that was recorded."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Either the name of the version that was published, or why there is none."""

    version: str | None = None
    error: str | None = None
    refused_parity: bool = False
    """Whether the error is that the exported student does not answer like the trained one."""
    warnings: tuple[str, ...] = ()
    """What the job found damaged in the registry and worked around."""
