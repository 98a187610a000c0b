"""A linear student as an ONNX graph, written by hand: an embedding bag.

    ids (n, L) int32 ── Gather(remap) ── Gather(rows) ── (n, L, K) ─┐
    weights (n, L) float32 ── Unsqueeze ─────────────── (n, 1, L) ── MatMul ── Squeeze ── Add(bias) ── logits (n, K)

`remap` takes each of the 2^bits buckets to a row; row 0 is zeros and serves every bucket that training never saw.
This module is the one home of the onnx package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from askance.training.logistic import Linear

OPSET = 17
IR_VERSION = 8
"""Both are read by every onnxruntime from 1.13 on; nothing newer is needed."""


def to_onnx(linear: Linear, *, bits: int) -> bytes:
    """The graph, with `2**bits` buckets; the same bytes for the same student."""
    classes = len(linear.bias)
    remap = np.zeros(2**bits, dtype=np.int32)
    remap[linear.buckets] = np.arange(1, len(linear.buckets) + 1, dtype=np.int32)
    rows = np.concatenate([np.zeros((1, classes), dtype=np.float32), linear.rows])
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["remap", "ids"], ["places"]),
            helper.make_node("Gather", ["rows", "places"], ["gathered"]),
            helper.make_node("Unsqueeze", ["weights", "one"], ["lying"]),
            helper.make_node("MatMul", ["lying", "gathered"], ["summed"]),
            helper.make_node("Squeeze", ["summed", "one"], ["sums"]),
            helper.make_node("Add", ["sums", "bias"], ["logits"]),
        ],
        "askance-linear",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT32, ["n", "L"]),
            helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["n", "L"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        [
            numpy_helper.from_array(remap, "remap"),
            numpy_helper.from_array(rows, "rows"),
            numpy_helper.from_array(linear.bias, "bias"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="askance"
    )
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised
