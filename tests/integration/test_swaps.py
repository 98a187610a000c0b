"""A hot swap without a ripple: the next version is made ready off the loop, and 200 swaps leave nothing behind."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from askance.registry import DirectoryRegistry
from askance.student import onnx
from askance.student.slot import Slot
from askance.telemetry import Telemetry
from askance.training.parity import parity_documents
from askance.workers.watch import watch
from tests.unit.test_student import CONFIG, TEXTS, describe, in_memory, random_student, to_onnx

pytestmark = pytest.mark.slow

SWAPS, SETTLED = 200, 50
CLASSES = 150
WEIGHTS_MB = 2**CONFIG.bits * CLASSES * 4 / 2**20


def resident_mb() -> float:
    """What is in use: garbage collected, and what the allocator only keeps for later given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def publish(registry: DirectoryRegistry, seed: int) -> str:
    linear = random_student(CLASSES, seed)
    files = {
        "student.onnx": to_onnx(linear, bits=CONFIG.bits),
        "parity.json": msgspec.json.encode(parity_documents(in_memory(linear), TEXTS)),
    }
    return registry.publish(files, partial(describe, classes=CLASSES)).version


def swapped(folder: Path) -> tuple[list[bool], float, list[float]]:
    """Swap and score; which loads held nothing up, how many swaps were counted, and the memory after each, in MB."""
    registry = DirectoryRegistry(folder / "registry")
    versions = [publish(registry, seed) for seed in range(4)]
    students = [onnx.load(registry.verified(version), registry.manifest(version)) for version in versions]
    expected = {student.version: student.logits(TEXTS) for student in students}
    del students
    telemetry, slot = Telemetry(), Slot()
    on_the_loop = threading.get_ident()
    scored_since = threading.Event()
    unheld: list[bool] = []

    def load(version: str) -> onnx.OnnxStudent:
        scored_since.clear()
        student = onnx.load(registry.verified(version), registry.manifest(version))
        # Loading has not ended for the watch until this returns: the stream must go on meanwhile.
        unheld.append(threading.get_ident() != on_the_loop and scored_since.wait(30))
        return student

    async def swap_and_score() -> list[float]:
        stop = asyncio.Event()
        watching = asyncio.create_task(
            watch(registry=registry, load=load, slot=slot, telemetry=telemetry, interval_seconds=0.001, stop=stop)
        )
        resident: list[float] = []
        for swap in range(SWAPS):
            wanted = versions[swap % len(versions)]
            registry.promote(wanted)
            while slot.student is None or slot.student.version != wanted:
                student = slot.student
                if student is not None:
                    # Whatever is live while another is made ready answers as it always does.
                    np.testing.assert_array_equal(student.logits(TEXTS), expected[student.version])
                scored_since.set()
                await asyncio.sleep(0.001)
            np.testing.assert_array_equal(slot.student.logits(TEXTS), expected[wanted])
            resident.append(resident_mb())
        stop.set()
        await watching
        return resident

    resident = asyncio.run(swap_and_score())
    return unheld, telemetry.swaps._value.get(), resident


def test_200_swaps_do_not_hold_up_the_loop_and_leave_no_growth(tmp_path: Path) -> None:
    # A process of its own: this one's memory also moves by what other tests have left to be collected.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        unheld, swaps, resident = pool.submit(swapped, tmp_path).result()
    assert unheld == [True] * SWAPS
    assert swaps == SWAPS
    grown = np.polyfit(np.arange(SWAPS - SETTLED), resident[SETTLED:], 1)[0]
    print(
        f"{resident[SETTLED]:.0f} MB after {SETTLED} swaps, {resident[-1]:.0f} at the end: {1000 * grown:.0f} KB a swap"
    )
    # What is kept of a version is its weights at least; what else moves from swap to swap came to a tenth of them.
    assert grown < 0.25 * WEIGHTS_MB, f"{grown:.3f} MB a swap; a version's weights are {WEIGHTS_MB:.1f} MB"
