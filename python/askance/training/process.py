"""Training in a process of its own, so that the stream never stutters."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from askance.errors import ParityError, TrainingError
from askance.registry import open_registry
from askance.training.spec import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from askance.manifest import Manifest
    from askance.training.spec import Spec

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class ProcessTrainer:
    """Implements `askance.protocols.Trainer`: each training is one `python -m askance.training.job`."""

    def __init__(self, spec: Spec, *, on_warning: Callable[[str], None] = lambda _: None) -> None:
        self._spec = spec
        self._on_warning = on_warning

    async def train(self) -> Manifest:
        """A new published version; raises `TrainingError`. Cancelled, it kills the process before it returns."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # A module in the working folder never hides a library.
            "-m",
            "askance.training.job",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for the parent, which then cancels this.
        )
        try:
            output, errors = await _converse(process, msgspec.json.encode(self._spec) + b"\n")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        version = self._version(output, errors, process.returncode)
        return await asyncio.to_thread(self._manifest, version)

    def _manifest(self, version: str) -> Manifest:
        return open_registry(self._spec.registry, cache=Path(self._spec.registry_cache)).manifest(version)

    def _version(self, output: bytes, errors: bytes, code: int | None) -> str:
        try:
            reply = msgspec.json.decode(output, type=Reply)
        except msgspec.DecodeError as exc:
            last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            ended = f"was killed by signal {-code}" if code and code < 0 else f"ended with code {code}"
            msg = f"the training process {ended}: {last[0]}"
            raise TrainingError(msg) from exc
        for warning in reply.warnings:
            self._on_warning(warning)
        if reply.version is None:
            raise (ParityError if reply.refused_parity else TrainingError)(reply.error)
        return reply.version


async def _converse(process: asyncio.subprocess.Process, line: bytes) -> tuple[bytes, bytes]:
    """Send the job its line, keep its input open until it ends, and return what it wrote."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise AssertionError
    process.stdin.write(line)
    reading = asyncio.gather(process.stdout.read(), process.stderr.read())
    output, errors = await reading
    await process.wait()
    process.stdin.close()
    return output, errors
