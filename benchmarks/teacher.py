"""How near the teach worker comes to what its slots allow, and whether it keeps its cap: `make bench-teacher`.

A fake server in a process of its own answers each call after 300 ms; the worker has 64 slots, a real ledger on the disk
and one core. Ideal is 64 / 0.3 s = 213.3 labels a second. The baseline is the SDK alone: 64 coroutines that do nothing
but ask. A second run has a cap that would be exceeded; the server's own count says what was truly billed.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from askance.calls import Caps, Limit
from askance.config import TeacherConfig
from askance.errors import TeacherError
from askance.ledger import SqliteLedger
from askance.rules.pace import Pace, Spacing
from askance.rules.spend import NANOS, Price
from askance.teacher.openai import OpenAITeacher
from askance.telemetry import Telemetry
from askance.workers.teach import TeachWorker
from tests.doubles import query
from tests.integration.fake_llm import FakeLLM, answer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SLOTS, LATENCY_SECONDS = 64, 0.3
IDEAL = SLOTS / LATENCY_SECONDS
DOCUMENTS = 60 * SLOTS
LABELS = ("yes", "no")
PRICE = Price(input=0.15, output=0.6)
CAP = NANOS // 100


def serve(pipe: Connection, core: int | None) -> None:
    """The server's process; on request it says how many calls it has answered."""
    pin(core)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with FakeLLM(answer("yes", latency_seconds=LATENCY_SECONDS)) as server:
            pipe.send(server.base_url)
            while await loop.run_in_executor(None, pipe.recv):
                pipe.send(sum(server.asked.values()))

    asyncio.run(main())


def pin(core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})


def teacher(base_url: str) -> OpenAITeacher:
    config = TeacherConfig(kind="openai", model="fake", base_url=base_url, concurrency=SLOTS)
    return OpenAITeacher(config, LABELS, price=PRICE, environment={})


async def teach(folder: Path, base_url: str, documents: int, caps: Caps) -> tuple[float, SqliteLedger]:
    """Seconds that the whole worker takes."""
    ledger = SqliteLedger(folder / "ledger.db")
    ledger.commit(
        [query(n, f"document {n}: " + "some words of a usual text " * 10) for n in range(documents)], (), None
    )
    worker = TeachWorker(
        ledger=ledger,
        teacher=teacher(base_url),
        labels=LABELS,
        telemetry=Telemetry(),
        caps=caps,
        pace=Pace(most=SLOTS, spacing=Spacing()),
    )
    drain = asyncio.Event()
    drain.set()
    began = time.perf_counter()
    try:
        await worker.run(drain=drain, stop=asyncio.Event())
    except TeacherError as exc:
        assert "total_money" in str(exc)  # noqa: PT017 - a benchmark that was stopped by its cap
    return time.perf_counter() - began, ledger


async def sdk_alone(base_url: str, documents: int) -> float:
    """Seconds that the SDK takes without a ledger, a cap or a retry."""
    asked = iter(range(documents))
    one = teacher(base_url)

    async def ask() -> None:
        for n in asked:
            await one.ask([query(n)])

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(SLOTS)))
    seconds = time.perf_counter() - began
    await one.aclose()
    return seconds


def main() -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else [None]
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, cores[-1]), daemon=True)
    server.start()
    base_url = ours.recv()
    pin(cores[0])

    def answered() -> int:
        ours.send(True)
        return int(ours.recv())

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(sdk_alone(base_url, SLOTS))  # connections, imports
        baseline = DOCUMENTS / asyncio.run(sdk_alone(base_url, DOCUMENTS))
        before_cpu = time.process_time()
        seconds, ledger = asyncio.run(teach(Path(folder), base_url, DOCUMENTS, Caps()))
        cpu = time.process_time() - before_cpu
        with closing(ledger):
            assert ledger.counts().labelled == DOCUMENTS
            row = ledger.spend_report("teacher")[0]
        labels_per_second = DOCUMENTS / seconds

        before = answered()
        (Path(folder) / "capped").mkdir()
        _, ledger = asyncio.run(teach(Path(folder) / "capped", base_url, 20 * SLOTS, Caps(total=Limit(nanos=CAP))))
        with closing(ledger):
            # What one call costs by the server's own count, times the calls it has answered.
            billed = (answered() - before) * row.nanos / row.calls
            ledgers = ledger.spent().nanos
            left = ledger.counts().pending
    ours.send(False)
    over = max(0.0, max(billed, ledgers) - CAP) / NANOS
    print(f"ideal               {IDEAL:7.1f} labels/s: {SLOTS} slots of {LATENCY_SECONDS:g} s")
    print(f"the SDK alone       {baseline:7.1f} labels/s, {baseline / IDEAL:.3f} of ideal")
    print(
        f"the teach worker    {labels_per_second:7.1f} labels/s, {labels_per_second / IDEAL:.3f} of ideal, "
        f"{cpu / seconds:.0%} of one core"
    )
    print(f"capped at {CAP / NANOS:.4f}    billed {billed / NANOS:.4f}, ledger {ledgers / NANOS:.4f}, {left:,} left")
    print(
        json.dumps(
            {
                "bench": "teacher",
                "labels_per_second_over_ideal": round(labels_per_second / IDEAL, 3),
                "spend_over_cap": int(over) if over == int(over) else over,
            }
        )
    )


if __name__ == "__main__":
    main()
