"""A fine-tuned classifier as an ONNX graph, by optimum; and the same in whole numbers of 8 bits, by onnxruntime."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimum.exporters.onnx import onnx_export_from_model

from askance.training.graph import with_bias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OUTPUT = "model.onnx"


def to_onnx(model: Any, bias: NDArray[np.float32] | None) -> bytes:
    """The graph from tokens to `logits`, (n, K), with a (K,) bias added where there is one."""
    # What the exporter's parts say to each other of their future; whether the graph is right is for the parity check.
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("optimum").setLevel(logging.ERROR)
        onnx_export_from_model(model, name, task="text-classification", do_validation=False)
        content = (Path(name) / OUTPUT).read_bytes()
    return content if bias is None else with_bias(content, bias)


def quantized(graph: bytes) -> bytes:
    """The graph with its matrices in 8 bits, a scale a column; activations are rounded as they come (dynamic).

    The weights use 7 of the bits: with all 8, processors without VNNI saturate sums that others do not, and what the
    gate found on the training machine would not hold on the one that serves.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory() as name:
        whole, small = Path(name) / "whole.onnx", Path(name) / "small.onnx"
        whole.write_bytes(graph)
        quantize_dynamic(whole, small, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
        return small.read_bytes()
