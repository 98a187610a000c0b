"""Reads a frozen sentence encoder from a local folder or, by name, from Hugging Face's hub."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from askance.errors import DamagedVersionError, RegistryError, TrainingError
from askance.manifest import EncoderConfig
from askance.student.encoder import ENCODER, Encoder
from askance.student.session import open_session
from askance.student.tokens import INPUTS, TOKENIZER, Tokenizer
from askance.training import encoder_graph

if TYPE_CHECKING:
    from askance.student.session import Session

GRAPHS = (ENCODER, "model.onnx", "onnx/model.onnx")
WEIGHTS = "model.safetensors"
DESCRIPTIONS = ["config.json", "modules.json", TOKENIZER, "1_Pooling/config.json"]
POOLED = ("sentence_embedding", "vectors", "embeddings", "text_embeds")
"""Outputs, (n, d), that need no pooling; the first three names are those of common exports."""


class Read(NamedTuple):
    """An encoder, and the files a version needs to have it."""

    encoder: Encoder
    config: EncoderConfig
    files: dict[str, bytes]


def read(name: str, *, max_tokens: int) -> Read:
    """The encoder in a folder, or of this name on the hub; raises `TrainingError` with the remedy.

    A folder holds `tokenizer.json`, and either a graph (`encoder.onnx`, `model.onnx` or `onnx/model.onnx`) or the
    weights of a BERT (`config.json`, `model.safetensors`). Tokens are pooled as the `1_Pooling/config.json` of
    sentence-transformers says, by default to their mean; vectors are made of unit length unless `modules.json` is
    there and has no such module.
    """
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    try:
        tokenizer = (folder / TOKENIZER).read_bytes()
        graph = _graph(folder, max_tokens)
    except OSError as exc:
        msg = f"the encoder {name!r}: {exc.filename} cannot be read ({exc.strerror}); it needs {TOKENIZER} and a graph"
        raise TrainingError(msg) from exc
    try:
        session = open_session(graph)
        output, pooling = _output(session, folder)
        config = EncoderConfig(
            name=name, digest="", output=output, pooling=pooling, unit=_is_unit(folder), width=_width(session, output)
        )
        state = hashlib.sha256(graph)
        state.update(hashlib.sha256(tokenizer).digest())
        state.update(msgspec.json.encode((msgspec.structs.replace(config, name=""), max_tokens)))
        config = msgspec.structs.replace(config, digest=state.hexdigest())
        encoder = Encoder(session, Tokenizer(tokenizer, max_tokens=max_tokens), config)
    except RegistryError as exc:
        msg = f"the encoder {name!r} cannot be used: {exc}"
        raise TrainingError(msg) from exc
    return Read(encoder, config, {ENCODER: graph, TOKENIZER: tokenizer})


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*DESCRIPTIONS, *GRAPHS]))
        if not any((folder / graph).exists() for graph in GRAPHS):
            folder = Path(snapshot_download(name, allow_patterns=[*DESCRIPTIONS, WEIGHTS]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as exc:
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        msg = f"the encoder {name!r} is no folder here, and the hub did not give it ({reason}); name a local folder"
        raise TrainingError(msg) from exc
    return folder


def _graph(folder: Path, max_tokens: int) -> bytes:
    for name in GRAPHS:
        if (folder / name).exists():
            return (folder / name).read_bytes()
    config = _description(folder / "config.json")
    return encoder_graph.bert(config, (folder / WEIGHTS).read_bytes(), max_tokens=max_tokens)


def _description(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as exc:
        msg = f"{path} is not a JSON object ({exc})"
        raise TrainingError(msg) from exc


def _output(session: Session, folder: Path) -> tuple[str, Any]:
    for name in POOLED:
        if name in session.outputs:
            return name, "none"
    path = folder / "1_Pooling" / "config.json"
    modes = _description(path) if path.exists() else {}
    mode = "pooling_mode_"
    chosen = {name.removeprefix(mode) for name, on in modes.items() if name.startswith(mode) and on}
    known = {"mean_tokens": "mean", "cls_token": "cls"}
    if not chosen <= set(known) or len(chosen) > 1:
        msg = f"{path}: pools by {', '.join(sorted(chosen))}; mean_tokens and cls_token are known"
        raise TrainingError(msg)
    return next(iter(session.outputs)), known[chosen.pop()] if chosen else "mean"


def _is_unit(folder: Path) -> bool:
    path = folder / "modules.json"
    return not path.exists() or b"Normalize" in path.read_bytes()


def _width(session: Session, output: str) -> int:
    # What the graph says of its output may be a name; what it gives is a number.
    ids = np.zeros((1, 2), dtype=np.int64)
    feed = {name: ids for name in session.inputs if name in INPUTS}
    try:
        return int(session.run(output, feed).shape[-1])
    except Exception as exc:
        msg = f"{ENCODER}: the graph fails on two tokens ({exc})"
        raise DamagedVersionError(msg) from exc
