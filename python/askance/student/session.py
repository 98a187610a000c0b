"""Sessions of onnxruntime, whose one home this is: one thread, one processor, errors in one line.

What a damaged file makes onnxruntime say is translated into one line that names the file and the remedy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnxruntime  # type: ignore[import-untyped]

from askance.errors import DamagedVersionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

RUNTIME: str = onnxruntime.__version__

GRAPH = "student.onnx"

REMEDY = "go back with `askance models rollback`, or delete the version's folder and train again"

ROW_WIDTH = "row_width"
"""The key in a graph's metadata of how many numbers it gathers for a feature, which bounds how much runs at once."""


class Session:
    """A graph that is ready to run; thread-safe."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs: list[str] = [value.name for value in session.get_inputs()]
        self.outputs: dict[str, list[Any]] = {value.name: value.shape for value in session.get_outputs()}
        properties = session.get_modelmeta().custom_metadata_map
        self.row_width = int(properties.get(ROW_WIDTH, "1"))

    def run(self, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """One output for these inputs."""
        (result,) = self._session.run([output], feed)
        array: NDArray[Any] = result
        return array


def open_session(source: Path | bytes) -> Session:
    """A single-threaded session on a graph in a file, or in memory; raises `DamagedVersionError`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # Fatal: what is wrong is raised, and told once.
    try:
        return Session(
            onnxruntime.InferenceSession(
                source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
            )
        )
    except Exception as exc:
        name = GRAPH if isinstance(source, bytes) else source
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        msg = f"{name}: not a graph that onnxruntime {onnxruntime.__version__} can load ({reason}); {REMEDY}"
        raise DamagedVersionError(msg) from exc
