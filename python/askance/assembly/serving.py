"""What a `classify` worker decides with: students, the gate, its budget and seed set, the contract."""

from __future__ import annotations

import gc
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from askance.codec import DocumentDecoder
from askance.errors import RegistryError
from askance.manifest import FeaturizerConfig
from askance.rules.budget import PerSecondBudget, ShareBudget, Unlimited
from askance.rules.gate import Gate
from askance.rules.serving import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from askance.config import Config
    from askance.protocols import Registry, Student
    from askance.rules.budget import Budget
    from askance.rules.seeding import SeedSet

_logger = logging.getLogger(__name__)


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


def featurizer_config(config: Config) -> FeaturizerConfig:
    """How documents become features."""
    return FeaturizerConfig(bits=config.student.bits, ngram_max=config.student.ngram_max)


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
        features.build(featurizer_config(config)).transform,
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


def contract(config: Config) -> Contract | None:
    """The agreement contract, as far as the data plane is concerned."""
    settings = config.contract
    if settings.agreement is None:
        return None
    return Contract(settings.audit_share, settings.on_escalation == "hold", settings.deadline_seconds)


# The batches under way hold about 80,000 objects, and let go of them without the collector's help. Python's own limit
# of 700 made it go through them time and again, which took a sixth of the processor time.
_YOUNG_OBJECTS = 200_000


@contextmanager
def collector_at_rest(*, classifies: bool) -> Iterator[None]:
    """Keep the garbage collector from what stands by now and, where documents are classified, from the batches."""
    # Full collections must not go through it again and again, on the event loop too.
    gc.collect()
    gc.freeze()
    thresholds = gc.get_threshold()
    if classifies:
        gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
