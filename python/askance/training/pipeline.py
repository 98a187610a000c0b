"""One training from start to end: the ledger's labels in, a published version out.

Owns the invariant that held-out labels are never trained on: rows are split by `askance.rules.split` before anything
else sees them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from askance.errors import RegistryError, TrainingError
from askance.ledger import SqliteLedger
from askance.manifest import Manifest, Verdict
from askance.registry import open_registry
from askance.rules.split import is_held_out
from askance.student import features, onnx
from askance.training import evaluation, fitting, parity
from askance.training.selecting import weights_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from askance.records import Labelled
    from askance.registry import StoredRegistry
    from askance.training.spec import Spec


def train(spec: Spec, *, on_warning: Callable[[str], None] = lambda _: None) -> Manifest:
    """Fit, calibrate, export, check, evaluate and publish; nothing is promoted.

    The same rows, settings and champion give the same files, to the byte. Raises `TrainingError` (nothing to train
    on), `ParityError` (the export is refused) or `RegistryError` (it cannot be written).
    """
    with closing(SqliteLedger(Path(spec.ledger))) as ledger:
        rows = ledger.labelled(spec.newest)
    registry = open_registry(spec.registry, cache=Path(spec.registry_cache), on_warning=on_warning)
    training, held_out = split(rows, labels=spec.labels, share=spec.holdout_share)
    _check_that_it_is_new(training, spec, registry)
    champion = registry.current()
    weights = _weights(training, spec, registry, champion)
    trained = fitting.fit(spec, [row.text for row in training], [row.label for row in training], weights)
    draft = Manifest(
        version="the challenger",
        created_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        student=spec.kind,
        labels=spec.labels,
        temperature=trained.temperature,
        featurizer=spec.featurizer,
        featurizer_digest=features.digest(spec.featurizer),
        parent=champion,
        trained_on=len(training),
        held_out=len(held_out),
        training_digest=_digest(training, spec),
        dropped=0 if weights is None else int((weights == 0.0).sum()),
        parity_error=0.0,
        agreement=None,
        verdict=Verdict(promoted=False, why="not judged yet"),
        files={},
        features=trained.reads.features,
        encoder=trained.reads.encoder,
        max_tokens=trained.reads.max_tokens,
    )
    challenger = onnx.assemble(draft, trained.files)
    texts = [row.text for row in held_out or training]
    parity_error = parity.check_parity(trained, challenger, texts, tolerance=spec.parity_tolerance)
    documents = parity.parity_documents(challenger, texts)
    files = {**trained.files, onnx.PARITY: msgspec.json.encode(documents)}
    verdict = _judge(challenger, champion, registry, held_out, spec)
    estimate = evaluation.agreement(challenger, held_out)

    def describe(version: str, digests: Mapping[str, str]) -> Manifest:
        return msgspec.structs.replace(
            draft,
            version=version,
            parity_error=parity_error,
            agreement=estimate,
            verdict=verdict,
            files=dict(digests),
        )

    return registry.publish(files, describe)


def split(rows: Sequence[Labelled], *, labels: Sequence[str], share: float) -> tuple[list[Labelled], list[Labelled]]:
    """Rows to train on and rows held out, each in the order of their coordinates.

    Rows whose label is not in the label set are in neither. The order in which the labels came does not matter.
    """
    known = set(labels)
    training: list[Labelled] = []
    held_out: list[Labelled] = []
    for row in sorted(rows, key=lambda row: row.coordinates):
        if row.label in known:
            (held_out if is_held_out(row.text, share) else training).append(row)
    return training, held_out


def _check_that_it_is_new(training: Sequence[Labelled], spec: Spec, registry: StoredRegistry) -> None:
    """Nothing is gained by a version that would be the newest one over again, unless that one is damaged."""
    versions = registry.versions()
    if not versions:
        return
    newest = versions[-1]
    read = newest.encoder.name if newest.encoder else "", newest.max_tokens
    learnt = (newest.training_digest, newest.student, newest.labels, newest.featurizer, newest.features, read)
    reads = (spec.encoder, spec.max_tokens) if spec.features == "encoder" else ("", 0)
    same = (_digest(training, spec), spec.kind, spec.labels, spec.featurizer, spec.features, reads)
    if learnt == same and registry.is_whole(newest.version):
        msg = f"{newest.version} was trained on the very same {len(training):,} labels; nothing new was learnt"
        raise TrainingError(msg)


def _weights(
    training: Sequence[Labelled], spec: Spec, registry: StoredRegistry, champion: str | None
) -> NDArray[np.float64] | None:
    """How much each row counts, 0 where `train.selection` leaves it out; None: all alike."""
    if spec.selection is None:
        return None
    student = None
    if spec.rescored is not None and champion is not None:
        with contextlib.suppress(RegistryError):  # a champion that cannot be used cannot be asked either
            student = onnx.load(registry.verified(champion), registry.manifest(champion))
    return weights_of(
        training, labels=spec.labels, rule=spec.selection, champion=student, measure=spec.rescored or "entropy"
    )


def _judge(
    challenger: onnx.OnnxStudent,
    champion: str | None,
    registry: StoredRegistry,
    held_out: Sequence[Labelled],
    spec: Spec,
) -> Verdict:
    if champion is None:
        return Verdict(promoted=True, why="the first version")
    try:
        student = onnx.load(registry.verified(champion), registry.manifest(champion))
    except RegistryError as exc:
        return Verdict(promoted=True, why=f"the champion cannot be used: {exc}", champion=champion)
    return evaluation.judge(challenger, student, held_out, rule=spec.promote, margin=spec.not_worse_by)


def _digest(training: Sequence[Labelled], spec: Spec) -> str:
    state = hashlib.sha256(msgspec.json.encode([(*row.coordinates, row.label) for row in training]))
    if spec.selection is not None:
        state.update(msgspec.json.encode((spec.selection, spec.rescored)))
    return state.hexdigest()
