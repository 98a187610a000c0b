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
import numpy as np

from askance import labelset
from askance.augmentation import GENERATED_TOPIC
from askance.errors import RegistryError, TrainingError
from askance.ledger import SqliteLedger
from askance.manifest import Manifest, Verdict
from askance.records import Coordinates, Labelled
from askance.registry import open_registry
from askance.rules.split import is_held_out
from askance.student import features, onnx
from askance.student.session import GRAPH
from askance.training import evaluation, fitting, parity
from askance.training.selecting import weights_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from askance.augmentation import Generated
    from askance.manifest import Features
    from askance.registry import StoredRegistry
    from askance.training.spec import Spec

AGREEING = 0.995
"""Least share of the holdout to which a student in 8 bits answers like the one in 32."""


def train(spec: Spec, *, on_warning: Callable[[str], None] = lambda _: None) -> Manifest:
    """Fit, calibrate, export, check, evaluate and publish; nothing is promoted.

    The same rows, settings and champion give the same files, to the byte. Raises `TrainingError` (nothing to train
    on), `ParityError` (the export is refused) or `RegistryError` (it cannot be written).
    """
    with closing(SqliteLedger(Path(spec.ledger), renamed=spec.renamed)) as ledger:
        rows = ledger.labelled(spec.newest)
        generated = ledger.generated()
    registry = open_registry(spec.registry, cache=Path(spec.registry_cache), on_warning=on_warning)
    training, held_out = split(rows, labels=spec.labels, share=spec.holdout_share)
    augmented = _augmented(generated, spec)
    _check_that_it_is_new([*training, *augmented], spec, registry)
    champion = registry.current()
    weights = _weights(training, spec, registry, champion)
    learnt = [*training, *augmented]
    if weights is not None:
        weights = np.concatenate([weights, np.ones(len(augmented))])
    start = _start(spec, registry, champion)
    trained = fitting.fit(
        spec, [row.text for row in learnt], [row.label for row in learnt], weights, start=start and start[1]
    )
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
        training_digest=_digest(learnt, spec),
        label_set=labelset.number_of(spec.labels, registry.versions()),
        renamed=spec.renamed,
        generated=len(augmented),
        dropped=0 if weights is None else int((weights == 0.0).sum()),
        parity_error=0.0,
        agreement=None,
        verdict=Verdict(promoted=False, why="not judged yet"),
        files={},
        features=trained.reads.features,
        encoder=trained.reads.encoder,
        max_tokens=trained.reads.max_tokens,
        base=trained.reads.base,
        started_from=start and start[0],
        holdout_share=spec.holdout_share,
    )
    challenger = onnx.assemble(draft, trained.files)
    texts = [row.text for row in held_out or training]
    parity_error = parity.check_parity(trained, challenger, texts, tolerance=spec.parity_tolerance)
    files = dict(trained.files)
    if spec.kind == "transformer" and spec.transformer.int8:
        challenger, files = _quantized(challenger, draft, files, texts, on_warning)
    exact = parity.is_exact(challenger, texts)
    files[onnx.PARITY] = msgspec.json.encode(parity.parity_documents(challenger, texts))
    verdict = _judge(challenger, champion, registry, held_out, spec, draft)
    estimate = evaluation.agreement(challenger, held_out)

    def describe(version: str, digests: Mapping[str, str]) -> Manifest:
        return msgspec.structs.replace(
            draft,
            version=version,
            parity_error=parity_error,
            int8=files[GRAPH] != trained.files[GRAPH],
            exact_replay=exact,
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
    read = (newest.encoder.name if newest.encoder else newest.base), newest.max_tokens
    learnt = (newest.training_digest, newest.student, newest.labels, newest.featurizer, newest.features, read)
    kind: Features = spec.features
    reads = (spec.encoder, spec.max_tokens) if spec.features == "encoder" else ("", 0)
    if spec.kind == "transformer":  # whose settings are part of the digest
        kind, reads = "tokens", read
    same = (_digest(training, spec), spec.kind, spec.labels, spec.featurizer, kind, reads)
    if learnt == same and registry.is_whole(newest.version):
        msg = f"{newest.version} was trained on the very same {len(training):,} labels; nothing new was learnt"
        raise TrainingError(msg)


def _augmented(generated: Sequence[Generated], spec: Spec) -> list[Labelled]:
    """What the teacher wrote and confirmed, as rows to train on; a text that would be held out is not among them."""
    return [
        Labelled(Coordinates(GENERATED_TOPIC, 0, one.number), one.text, one.wanted, None, None, 1.0, None)
        for one in generated
        if one.is_learnt and one.wanted in spec.labels and not is_held_out(one.text, spec.holdout_share)
    ]


def _start(spec: Spec, registry: StoredRegistry, champion: str | None) -> tuple[str, tuple[Path, list[str]]] | None:
    """The champion's name, folder and labels, by their names of now, if a transformer can go on from its weights."""
    if champion is None or spec.kind != "transformer" or spec.transformer.start != "champion":
        return None
    try:
        folder, manifest = registry.verified(champion), registry.manifest(champion)
    except RegistryError:
        return None
    if manifest.base != spec.transformer.model or "model.safetensors" not in manifest.files:
        return None
    # It was trained on texts that a larger share would hold out now.
    if manifest.holdout_share is None or manifest.holdout_share < spec.holdout_share:
        return None
    return champion, (folder, [spec.renamed.get(label, label) for label in manifest.labels])


def _quantized(
    whole: onnx.OnnxStudent,
    draft: Manifest,
    files: dict[str, bytes],
    texts: Sequence[str],
    on_warning: Callable[[str], None],
) -> tuple[onnx.OnnxStudent, dict[str, bytes]]:
    """The same student in 8 bits, or itself, with a warning, where that one answers too often otherwise."""
    from askance.training.transformer_export import quantized

    smaller = {**files, GRAPH: quantized(files[GRAPH])}
    student = onnx.assemble(draft, smaller)
    share = parity.agreeing(student, whole, texts)
    if share < AGREEING:
        on_warning(
            f"the student is published in 32 bits: in 8 it gave the same answer to {share:.2%} of {len(texts):,} "
            f"documents, less than {AGREEING:.1%}"
        )
        return whole, files
    return student, smaller


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
    draft: Manifest,
) -> Verdict:
    if champion is None:
        return Verdict(promoted=True, why="the first version")
    try:
        manifest = registry.manifest(champion)
        student = onnx.load(registry.verified(champion), manifest)
    except RegistryError as exc:
        return Verdict(promoted=True, why=f"the champion cannot be used: {exc}", champion=champion)
    # A rename improves nothing, and yet the stream is to have the labels that are asked for now.
    rule = spec.promote if set(manifest.labels) == set(draft.labels) else "unless_worse"
    return evaluation.judge(challenger, student, held_out, rule=rule, margin=spec.not_worse_by, renamed=spec.renamed)


def _digest(training: Sequence[Labelled], spec: Spec) -> str:
    state = hashlib.sha256(msgspec.json.encode([(*row.coordinates, row.label) for row in training]))
    if spec.selection is not None:
        state.update(msgspec.json.encode((spec.selection, spec.rescored)))
    if spec.kind == "transformer":
        state.update(msgspec.json.encode(spec.transformer))
    return state.hexdigest()
