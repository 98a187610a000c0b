"""ONNX graphs, written by hand, node by node. This module is the home of onnx.

The hashed features' front is an embedding bag:

    ids (n, L) int32 ── Gather(remap) ── Gather(rows) ── (n, L, c) ─┐
    weights (n, L) float32 ── Unsqueeze ─────────────── (n, 1, L) ── MatMul ── Squeeze ── (n, c)

`remap` takes each of the 2^bits buckets to a row; row 0 is zeros and serves every bucket that training never saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from askance.student.session import ROW_WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.training.trees import Trees

OPSET = 17
TREES_OPSET = 3
IR_VERSION = 8
"""All are read by every onnxruntime from 1.13 on; nothing newer is needed."""

LANES = 16
"""float32 numbers of the widest registers, those of AVX-512."""


class Graph:
    """A graph under construction; the same calls give the same bytes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: dict[str, onnx.ValueInfoProto] = {}
        self._row_width = 1

    def put(self, array: NDArray[Any] | np.generic) -> str:
        """A constant; returns its name."""
        name = f"c{len(self._constants)}"
        # Not `ascontiguousarray`, which makes a vector of a number.
        self._constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output; returns the output's name."""
        name = f"x{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def input(self, name: str, kind: TensorProto.DataType, shape: list[str | int]) -> str:
        """Declare an input of the graph, once; returns its name."""
        self._inputs.setdefault(name, helper.make_tensor_value_info(name, kind, shape))
        return name

    def vectors(self, width: int) -> str:
        """The input `vectors`, (n, width) float32."""
        return self.input("vectors", TensorProto.FLOAT, ["n", width])

    def tokens(self) -> str:
        """The input `input_ids`, (n, L) int64."""
        return self.input("input_ids", TensorProto.INT64, ["n", "L"])

    def bag(self, buckets: NDArray[np.int32], rows: NDArray[np.float32], *, bits: int) -> str:
        """The sums of weight times row over each document's features, (n, c); `rows` (m, c) belong to `buckets`."""
        ids = self.input("ids", TensorProto.INT32, ["n", "L"])
        weights = self.input("weights", TensorProto.FLOAT, ["n", "L"])
        remap = np.zeros(2**bits, dtype=np.int32)
        remap[buckets] = np.arange(1, len(buckets) + 1, dtype=np.int32)
        self._row_width = max(self._row_width, rows.shape[1])
        table = np.concatenate([np.zeros((1, rows.shape[1]), dtype=np.float32), rows])
        gathered = self.add("Gather", self.put(table), self.add("Gather", self.put(remap), ids))
        one = self.put(np.array([1], dtype=np.int64))
        return self.add("Squeeze", self.add("MatMul", self.add("Unsqueeze", weights, one), gathered), one)

    def transcendental(self, operator: str, x: str, *, width: int) -> str:
        """A function of each number of (n, width), the same to the bit wherever in a batch the row stands.

        onnxruntime takes such functions several numbers at once and the last few one by one, by another approximation.
        So rows are padded until each is a whole number of the widest registers; then no number is among the last few.
        """
        missing = -width % LANES
        if not missing:
            return self.add(operator, x)
        pads = self.put(np.array([0, 0, 0, missing], dtype=np.int64))
        padded = self.add("Pad", x, pads, self.put(np.array(1.0, dtype=np.float32)))
        start, end, axis = (self.put(np.array([number], dtype=np.int64)) for number in (0, width, 1))
        return self.add("Slice", self.add(operator, padded), start, end, axis)

    def trees(self, x: str, trees: Trees, *, targets: int) -> str:
        """The sums of the leaves that (n, r) float32 rows fall into, (n, targets)."""
        leaf = trees.left < 0
        return self.add(
            "TreeEnsembleRegressor",
            x,
            domain="ai.onnx.ml",
            n_targets=targets,
            aggregate_function="SUM",
            post_transform="NONE",
            nodes_treeids=trees.tree.tolist(),
            nodes_nodeids=trees.node.tolist(),
            nodes_modes=["LEAF" if last else "BRANCH_LEQ" for last in leaf],
            nodes_featureids=np.where(leaf, 0, trees.feature).tolist(),
            nodes_values=np.where(leaf, 0.0, trees.threshold).astype(np.float32).tolist(),
            nodes_truenodeids=np.where(leaf, 0, trees.left).tolist(),
            nodes_falsenodeids=np.where(leaf, 0, trees.right).tolist(),
            nodes_missing_value_tracks_true=[0] * len(leaf),
            nodes_hitrates=[1.0] * len(leaf),
            target_treeids=trees.tree[trees.leaf_row].tolist(),
            target_nodeids=trees.node[trees.leaf_row].tolist(),
            target_ids=trees.leaf_target.tolist(),
            target_weights=trees.leaf_value.astype(np.float32).tolist(),
        )

    def serialised(self, value: str, *, name: str, width: int, between: Sequence[str] = ()) -> bytes:
        """The graph whose one output, called `name`, is `value`, (n, *between, width) float32."""
        nodes = [*self._nodes, helper.make_node("Identity", [value], [name])]
        graph = helper.make_graph(
            nodes,
            "askance",
            list(self._inputs.values()),
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *between, width])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain for node in nodes):
            opsets.append(helper.make_opsetid("ai.onnx.ml", TREES_OPSET))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="askance")
        helper.set_model_props(model, {ROW_WIDTH: str(self._row_width)})
        onnx.checker.check_model(model)
        serialised: bytes = model.SerializeToString()
        return serialised


def with_bias(model: bytes, bias: NDArray[np.float32]) -> bytes:
    """Another's graph with a (K,) bias added to its output `logits`."""
    proto = onnx.load_from_string(model)
    for node in proto.graph.node:
        for names in (node.output, node.input):
            for place, name in enumerate(names):
                if name == "logits":
                    names[place] = "logits_before_bias"
    proto.graph.initializer.append(numpy_helper.from_array(bias, "logits_bias"))
    proto.graph.node.append(helper.make_node("Add", ["logits_before_bias", "logits_bias"], ["logits"]))
    onnx.checker.check_model(proto)
    serialised: bytes = proto.SerializeToString()
    return serialised
