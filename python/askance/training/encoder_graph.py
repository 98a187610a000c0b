"""BERT's encoder as an ONNX graph, written by hand from a folder of Hugging Face's weights; no torch.

The architecture is that of Devlin et al., BERT (2019), which most small sentence encoders share (MiniLM, BGE, GTE, E5).
The graph takes `input_ids` of documents of one length, unpadded, so that it needs no mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors.numpy import load

from askance.errors import TrainingError
from askance.training.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

OUTPUT = "last_hidden_state"


class Shape(NamedTuple):
    """What of `config.json` shapes the arithmetic."""

    layers: int
    heads: int
    width: int
    epsilon: float


def bert(config: Mapping[str, Any], weights: bytes, *, max_tokens: int) -> bytes:
    """The graph from `input_ids` (n, L), L at most `max_tokens`, to `last_hidden_state` (n, L, width).

    `config` is what `config.json` holds and `weights` a safetensors file. Raises `TrainingError` for another
    architecture than BERT's.
    """
    kind, activation = config.get("model_type"), config.get("hidden_act", "gelu")
    positions = config.get("position_embedding_type", "absolute")
    if kind != "bert" or activation != "gelu" or positions != "absolute":
        msg = (
            f"an encoder of type {kind!r} with the activation {activation!r} and {positions} positions cannot be read "
            "from its weights; export it to ONNX (`optimum-cli export onnx`) and name that folder"
        )
        raise TrainingError(msg)
    tensors = {name.removeprefix("bert."): tensor.astype(np.float32) for name, tensor in load(weights).items()}
    shape = Shape(
        config["num_hidden_layers"], config["num_attention_heads"], config["hidden_size"], config["layer_norm_eps"]
    )
    try:
        return _Bert(tensors, shape).graph(max_tokens)
    except KeyError as exc:
        msg = f"the encoder's weights lack {exc.args[0]!r}: they are not those of a BERT"
        raise TrainingError(msg) from exc


class _Bert:
    def __init__(self, tensors: Mapping[str, NDArray[np.float32]], shape: Shape) -> None:
        self._tensors = tensors
        self._shape = shape
        self._graph = Graph()

    def graph(self, max_tokens: int) -> bytes:
        graph, tensors = self._graph, self._tensors
        ids = graph.tokens()
        words = tensors["embeddings.word_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        length = graph.add("Gather", graph.add("Shape", ids), graph.put(np.array([1])), axis=0)
        positions = graph.put(tensors["embeddings.position_embeddings.weight"][:max_tokens])
        here = graph.add("Slice", positions, graph.put(np.array([0])), length)
        hidden = graph.add("Add", graph.add("Gather", graph.put(words), ids), here)
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        for number in range(self._shape.layers):
            hidden = self._layer(hidden, f"encoder.layer.{number}.")
        return graph.serialised(hidden, name=OUTPUT, width=self._shape.width, between=("L",))

    def _layer(self, hidden: str, prefix: str) -> str:
        graph, (_, heads, width, _) = self._graph, self._shape
        query, key, value = (
            self._heads(self._linear(hidden, f"{prefix}attention.self.{part}"), turned=part == "key")
            for part in ("query", "key", "value")
        )
        scale = graph.put(np.float32((width / heads) ** -0.5))
        shares = graph.add("Softmax", graph.add("Mul", graph.add("MatMul", query, key), scale), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
        mixed = graph.add("Reshape", mixed, graph.put(np.array([0, 0, width])))
        mixed = self._linear(mixed, f"{prefix}attention.output.dense")
        hidden = self._norm(graph.add("Add", hidden, mixed), f"{prefix}attention.output.LayerNorm")
        inner = self._gelu(self._linear(hidden, f"{prefix}intermediate.dense"))
        inner = self._linear(inner, f"{prefix}output.dense")
        return self._norm(graph.add("Add", hidden, inner), f"{prefix}output.LayerNorm")

    def _linear(self, x: str, name: str) -> str:
        graph = self._graph
        product = graph.add("MatMul", x, graph.put(self._tensors[f"{name}.weight"].T))
        return graph.add("Add", product, graph.put(self._tensors[f"{name}.bias"]))

    def _norm(self, x: str, name: str) -> str:
        scale, bias = (self._graph.put(self._tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self._graph.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=self._shape.epsilon)

    def _heads(self, x: str, *, turned: bool) -> str:
        _, heads, width, _ = self._shape
        apart = self._graph.add("Reshape", x, self._graph.put(np.array([0, 0, heads, width // heads])))
        return self._graph.add("Transpose", apart, perm=[0, 2, 3, 1] if turned else [0, 2, 1, 3])

    def _gelu(self, x: str) -> str:
        graph = self._graph
        error = graph.add("Erf", graph.add("Div", x, graph.put(np.float32(2**0.5))))
        half = graph.add("Mul", x, graph.put(np.float32(0.5)))
        return graph.add("Mul", half, graph.add("Add", error, graph.put(np.float32(1.0))))
