"""A real teach worker, killed with SIGKILL at random moments and started again, asks nothing twice.

Run as a program, this file is the nursery: it imports everything once and forks a worker for each life, so that fifteen
lives take seconds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest

QUERIES = 450
LIVES = 15
CONCURRENCY = 6


def live(ledger_path: Path, base_url: str) -> None:
    """One life of the worker: until every query has ended, or until it is killed."""
    from askance.config import TeacherConfig
    from askance.ledger import SqliteLedger
    from askance.teacher.openai import OpenAITeacher
    from askance.telemetry import Telemetry
    from askance.workers.teach import TeachWorker

    async def run() -> None:
        config = TeacherConfig(kind="openai", model="fake", base_url=base_url, concurrency=CONCURRENCY)
        teacher = OpenAITeacher(config, ("yes", "no"), environment={})
        ledger = SqliteLedger(ledger_path)
        worker = TeachWorker(ledger=ledger, teacher=teacher, labels=("yes", "no"), telemetry=Telemetry())
        drain = asyncio.Event()
        drain.set()
        await worker.run(drain=drain, stop=asyncio.Event())
        ledger.close()

    asyncio.run(run())


def nursery(ledger_path: Path, base_url: str) -> None:
    """For every `bear` on standard input a worker, for every `bury` the exit status of the last one.

    A dead worker stays a zombie until it is buried, so a late kill can only ever hit the worker it was meant for.
    """
    import openai.resources.chat  # noqa: F401 - all imported once, for all lives

    child = 0
    for line in sys.stdin:
        if line.strip() == "bear":
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    live(ledger_path, base_url)
                    os.write(1, b"done\n")
                    code = 0
                finally:
                    os._exit(code)
            os.write(1, f"{child}\n".encode())
        else:
            os.write(1, f"{os.waitpid(child, 0)[1]}\n".encode())


@pytest.mark.asyncio
async def test_a_worker_killed_at_random_moments_asks_nothing_twice(tmp_path: Path) -> None:
    from askance.ledger import SqliteLedger
    from tests.doubles import query
    from tests.integration.fake_llm import Behaviour, FakeLLM, answer

    dice = random.Random(20_260_726)

    def behaviour(_: str) -> Behaviour:
        return answer("yes", latency_seconds=dice.uniform(0.0, 0.01))

    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(i) for i in range(QUERIES)], (), None)
    kills = 0
    async with FakeLLM(behaviour) as server, asyncio.timeout(120):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            str(tmp_path / "ledger.db"),
            server.base_url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

        async def told(word: str | None = None) -> str:
            if word is not None:
                process.stdin.write(f"{word}\n".encode())
            return (await process.stdout.readline()).decode().strip()

        for life in range(LIVES + 1):
            worker = int(await told("bear"))
            done = asyncio.create_task(told())
            if life < LIVES:
                # At some request, and then some milliseconds into whatever follows it.
                some = asyncio.create_task(server.arrived(len(server.requests) + dice.randint(1, 9)))
                await asyncio.wait({done, some}, return_when=asyncio.FIRST_COMPLETED)
                some.cancel()
                await asyncio.sleep(dice.uniform(0.0, 0.01))
                os.kill(worker, signal.SIGKILL)
            else:
                assert await done == "done"
            done.cancel()
            await asyncio.gather(done, return_exceptions=True)
            exit_status = int(await told("bury"))
            assert exit_status == (signal.SIGKILL if life < LIVES else 0)
            kills += life < LIVES
        process.stdin.close()
        await process.wait()
    counts = ledger.counts()
    ledger.close()
    assert kills == LIVES
    assert max(server.asked.values()) == 1, "a document was asked twice"
    assert counts.labelled + counts.lost == QUERIES
    assert counts.labelled <= len(server.asked), "a label that nobody gave"
    # A kill costs at most what was under way.
    assert 0 < counts.lost <= LIVES * CONCURRENCY
    assert counts.labelled >= QUERIES - LIVES * CONCURRENCY


if __name__ == "__main__":
    nursery(Path(sys.argv[1]), sys.argv[2])
