"""Fine-tuning: any sequence classifier of Hugging Face, by name or from a folder. The home of torch and transformers.

The best state is chosen, and the temperature found, by documents that no step learnt from: one of the five folds of the
training rows. The held-out labels stay out of it; they judge the version afterwards.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import transformers

from askance.errors import TrainingError
from askance.student.session import GRAPH
from askance.student.tokens import TOKENIZER, Tokenizer
from askance.training.calibration import fit_temperature, tempered
from askance.training.families import NEVER
from askance.training.inputs import balanced
from askance.training.transformer_export import to_onnx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from askance.training.spec import TransformerSpec

WEIGHTS = ("model.safetensors", "config.json")
"""What the next version starts from; a `classify` worker does not read it."""

WARM_UP = 0.1
"""Part of the steps in which the learning rate rises; then it falls to 0."""

WEIGHT_DECAY = 0.01
GRADIENT_NORM = 1.0


class Documents(NamedTuple):
    """n training documents."""

    texts: Sequence[str]
    targets: NDArray[np.int64]
    """(n,) columns of the label set."""
    weights: NDArray[np.float64]
    """(n,) 0: not fitted on."""
    folds: NDArray[np.int64]
    """(n,) fold 0 chooses the best state and calibrates; whatever their weight, its documents do the latter."""


class Start(NamedTuple):
    """An earlier version to go on from."""

    folder: Path
    labels: Sequence[str]
    """Its labels, by the names they have now."""


class Transformer:
    """A fine-tuned classifier; implements `askance.training.fitting.Trained` but for `reads`."""

    def __init__(
        self, model: Any, tokenizer: bytes, max_tokens: int, absent: NDArray[np.bool_], files: Mapping[str, bytes]
    ) -> None:
        self.max_tokens = max_tokens
        self.temperature = 1.0
        self.files = dict(files)
        self._model = model
        self._tokenizer = Tokenizer(tokenizer, max_tokens=max_tokens)
        self._mask = np.where(absent, NEVER, 0.0)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, K) by torch, `NEVER` for classes without labels; no document is padded."""
        logits = np.empty((len(texts), len(self._mask)))
        self._model.eval()
        with torch.inference_mode():
            for tokens in self._tokenizer.groups(texts):
                found = self._model(**_on(self._model, tokens.ids, np.ones_like(tokens.ids))).logits
                logits[tokens.rows] = found.float().cpu().numpy()
        return logits + self._mask

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, K)."""
        return tempered(self.logits(texts), 1.0)


def train(
    spec: TransformerSpec, documents: Documents, labels: Sequence[str], *, seed: int, start: Start | None = None
) -> Transformer:
    """A classifier of the K `labels`, fine-tuned, calibrated and exported; raises `TrainingError`.

    Classes count alike, and documents by their weights. Training ends when `spec.patience` epochs have not lowered the
    loss on fold 0, and the state with the lowest is kept. The same documents, start, seed and threads give the same
    student on the same machine.
    """
    # What these libraries print would end up in the job's reply.
    with contextlib.redirect_stdout(sys.stderr):
        return _train(spec, documents, labels, seed=seed, start=start)


def _train(
    spec: TransformerSpec, documents: Documents, labels: Sequence[str], *, seed: int, start: Start | None
) -> Transformer:
    learnt = np.flatnonzero((documents.weights > 0.0) & (documents.folds != 0))
    present = np.unique(documents.targets[learnt])
    if len(present) < 2:
        msg = (
            f"too few classes: the {len(learnt)} labels to fine-tune on name {len(present)} and at least 2 are "
            "needed; wait for more labels"
        )
        raise TrainingError(msg)
    transformers.utils.logging.set_verbosity_error()
    transformers.set_seed(seed)
    torch.set_num_threads(spec.threads)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    model, tokenizer = _loaded(spec.model, labels, start)
    max_tokens = min(spec.max_tokens, _longest(model))
    absent = np.setdiff1d(np.arange(len(labels)), present)
    mask = np.zeros(len(labels), dtype=bool)
    mask[absent] = True
    student = Transformer(model, tokenizer, max_tokens, mask, {})
    judged = np.flatnonzero((documents.folds == 0) & np.isin(documents.targets, present))
    chosen_by = judged[documents.weights[judged] > 0.0]
    _fine_tune(student, spec, documents, learnt, chosen_by, seed=seed, tokenizer=tokenizer)
    model.cpu()
    if len(judged):
        unseen = student.logits([documents.texts[row] for row in judged.tolist()])
        student.temperature = fit_temperature(unseen, documents.targets[judged])
    bias = np.where(mask, NEVER, 0.0).astype(np.float32) if mask.any() else None
    student.files = {GRAPH: to_onnx(model, bias), TOKENIZER: tokenizer}
    if spec.start == "champion":
        student.files |= _weights(model)
    return student


def _loaded(name: str, labels: Sequence[str], start: Start | None) -> tuple[Any, bytes]:
    """The model with a head of K columns on the device, and its `tokenizer.json`."""
    try:
        source = name if start is None else str(start.folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, use_fast=True)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=len(labels), ignore_mismatched_sizes=True
        )
        content = tokenizer.backend_tokenizer.to_str().encode()
    except (OSError, ValueError, KeyError, AttributeError) as exc:
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        msg = f"{name!r} is not a sequence classifier with a fast tokenizer that can be had here ({reason})"
        raise TrainingError(msg) from exc
    if start is not None:
        _carry_over(model, start, labels)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), content


def _carry_over(model: Any, start: Start, labels: Sequence[str]) -> None:
    """Fill the rows of the head that belong to labels the earlier version had; the others stay as drawn.

    Where two of its labels are one now, the first one's row is taken.
    """
    earlier = transformers.AutoModelForSequenceClassification.from_pretrained(str(start.folder)).state_dict()
    state = model.state_dict()
    place = {label: row for row, label in reversed(list(enumerate(start.labels)))}
    pairs = [(row, place[label]) for row, label in enumerate(labels) if label in place]
    rows, old = (torch.tensor(column, dtype=torch.long) for column in zip(*pairs, strict=True)) if pairs else ((), ())
    for name, tensor in state.items():
        before = earlier.get(name)
        is_head = before is not None and tensor.ndim > 0 and before.shape[:1] == (len(start.labels),)
        if pairs and is_head and tensor.shape == (len(labels), *before.shape[1:]):
            tensor[rows] = before[old]
    model.load_state_dict(state)


def half_precision(device: str) -> Any:
    """The 16-bit type that the steps multiply in: bfloat16 or float16 on a GPU, None (32 bits) on a processor."""
    if device != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _longest(model: Any) -> int:
    """Tokens that the model's positions reach, less the two that RoBERTa's kind leave unused."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return 1 << 30 if not positions or positions < 8 else int(positions) - 2


def _fine_tune(
    student: Transformer,
    spec: TransformerSpec,
    documents: Documents,
    learnt: NDArray[np.int64],
    judged: NDArray[np.int64],
    *,
    seed: int,
    tokenizer: bytes,
) -> None:
    model = student._model  # noqa: SLF001 - this module's own
    shares = balanced(np.unique(documents.targets[learnt], return_inverse=True)[1], documents.weights[learnt])
    rows = _tokens([documents.texts[row] for row in learnt.tolist()], tokenizer, student.max_tokens)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.learning_rate, weight_decay=WEIGHT_DECAY)
    steps = spec.epochs * -(-len(learnt) // spec.batch)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(WARM_UP * steps), steps)
    mask = torch.tensor(student._mask, dtype=torch.float32, device=model.device)  # noqa: SLF001
    half = half_precision(model.device.type)
    # The gradients of float16 would vanish unscaled; bfloat16 has the range of float32.
    scaler = torch.amp.GradScaler(model.device.type, enabled=half == torch.float16)
    best, lowest, waited = None, np.inf, 0
    for _ in range(spec.epochs):
        model.train()
        for batch in _batches(rows, spec.batch, rng):
            feed = _padded(model, [rows[place] for place in batch])
            with torch.autocast(model.device.type, dtype=half, enabled=half is not None):
                logits = model(**feed).logits + mask
            targets = torch.tensor(documents.targets[learnt[batch]], device=model.device)
            losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
            loss = (losses * torch.tensor(shares[batch], dtype=torch.float32, device=model.device)).mean()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        if not len(judged):
            continue
        loss_now = _loss(student, documents, judged)
        if loss_now < lowest:
            best, lowest, waited = copy.deepcopy(model.state_dict()), loss_now, 0
        else:
            waited += 1
            if waited >= spec.patience:
                break
    if best is not None:
        model.load_state_dict(best)
    model.eval()


def _loss(student: Transformer, documents: Documents, judged: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood: classes alike and documents by their weights, as in training."""
    targets = documents.targets[judged]
    probabilities = student.probabilities([documents.texts[row] for row in judged.tolist()])
    likelihoods = np.log(np.maximum(probabilities[np.arange(len(judged)), targets], 1e-12))
    shares = balanced(np.unique(targets, return_inverse=True)[1], documents.weights[judged])
    return float(-(likelihoods * shares).mean())


def _tokens(texts: Sequence[str], tokenizer: bytes, max_tokens: int) -> list[NDArray[np.int64]]:
    rows: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)] * len(texts)
    for tokens in Tokenizer(tokenizer, max_tokens=max_tokens).groups(texts):
        for row, ids in zip(tokens.rows.tolist(), tokens.ids, strict=True):
            rows[row] = ids
    return rows


def _batches(rows: Sequence[NDArray[np.int64]], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """All rows once, at random; within a stretch of batches those of like length together, so that little is padded."""
    order = rng.permutation(len(rows))
    stretch = 16 * size
    batches = []
    for start in range(0, len(order), stretch):
        part = order[start : start + stretch]
        part = part[np.argsort([len(rows[row]) for row in part], kind="stable")]
        batches += [part[place : place + size] for place in range(0, len(part), size)]
    for place in rng.permutation(len(batches)):
        yield batches[place]


def _padded(model: Any, rows: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), getattr(model.config, "pad_token_id", None) or 0, dtype=np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return _on(model, ids, mask)


def _on(model: Any, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "input_ids": torch.tensor(ids, device=model.device),
        "attention_mask": torch.tensor(mask, device=model.device),
    }


def _weights(model: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        model.save_pretrained(name, safe_serialization=True)
        return {file: (Path(name) / file).read_bytes() for file in WEIGHTS}
