"""Fifty SIGKILLs with a thousand calls under way: what was truly billed never exceeds the cap, nor does the ledger.

Run as a program, this file is the nursery: it imports everything once and forks a worker for each life. The teacher
writes a line for every call it bills to a file of its own, so the truth does not come from the ledger.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

LIVES = 50
CONCURRENCY = 1000
WORST = 1000
ALLOWANCE = 1_300_000
"""More than the thousand calls of a life at their worst, less than what a life would spend if it might."""


class BillingTeacher:
    """Answers in its own time and bills between half the worst and the worst, on a file no kill can take back."""

    name, concurrency, documents_per_call, key = "billing", CONCURRENCY, 1, None

    def __init__(self, bill: Path) -> None:
        self._bill = os.open(bill, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._dice = random.Random(os.getpid())

    def worst(self, queries):
        from askance.calls import Spend

        return Spend(1, 0, WORST * len(queries))

    async def ask(self, queries):
        from askance.calls import Attempt, Charge
        from askance.records import Answer

        await asyncio.sleep(self._dice.uniform(0.0, 0.02))
        cost = self._dice.randint(WORST // 2, WORST)
        os.write(self._bill, b"%d\n" % cost)
        await asyncio.sleep(self._dice.uniform(0.0, 0.02))
        return Attempt((Answer("yes"),), charges=(Charge("billing", 1, nanos=cost),))

    async def aclose(self) -> None:
        os.close(self._bill)


def live(folder: Path) -> None:
    """One life: it may spend the allowance, then it ends with the cap's own line, or it is killed."""
    from askance.calls import Caps, Limit
    from askance.errors import TeacherError
    from askance.ledger import SqliteLedger
    from askance.telemetry import Telemetry
    from askance.workers.teach import TeachWorker

    async def run() -> None:
        ledger = SqliteLedger(folder / "ledger.db")
        cap = ledger.spent().nanos + ALLOWANCE
        (folder / "cap").write_text(str(cap))
        worker = TeachWorker(
            ledger=ledger,
            teacher=BillingTeacher(folder / "bill"),
            labels=("yes", "no"),
            telemetry=Telemetry(),
            caps=Caps(total=Limit(nanos=cap)),
        )
        drain = asyncio.Event()
        drain.set()
        try:
            await worker.run(drain=drain, stop=asyncio.Event())
        except TeacherError as exc:
            assert "total_money" in str(exc)  # noqa: PT017 - this is no test, but one of its lives
        ledger.close()

    asyncio.run(run())


def nursery(folder: Path) -> None:
    import askance.workers.teach  # noqa: F401 - imported once, for all lives

    child = 0
    for line in sys.stdin:
        if line.strip() == "bear":
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    live(folder)
                    code = 0
                finally:
                    os._exit(code)
            os.write(1, f"{child}\n".encode())
        else:
            os.write(1, f"{os.waitpid(child, 0)[1]}\n".encode())


def test_fifty_kills_with_a_thousand_calls_under_way_never_spend_above_the_cap(tmp_path: Path) -> None:
    from askance.ledger import SqliteLedger
    from tests.doubles import query

    dice = random.Random(20_261_122)
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.commit([query(i) for i in range((LIVES + 1) * 2 * ALLOWANCE // WORST)], (), None)
    bill = tmp_path / "bill"
    bill.touch()
    with subprocess.Popen(
        [sys.executable, __file__, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for life in range(LIVES + 1):
            before = bill.stat().st_size
            process.stdin.write("bear\n")
            worker = int(process.stdout.readline())
            if life < LIVES:
                # From the first bill on, some milliseconds into whatever follows it.
                while bill.stat().st_size == before:
                    time.sleep(0.001)
                time.sleep(dice.uniform(0.0, 0.03))
                os.kill(worker, signal.SIGKILL)
            process.stdin.write("bury\n")
            assert int(process.stdout.readline()) == (signal.SIGKILL if life < LIVES else 0)
            cap = int((tmp_path / "cap").read_text())
            billed = sum(map(int, bill.read_text().split()))
            spent = ledger.spent().nanos
            assert billed <= spent <= cap, f"life {life}"
        process.stdin.close()
    counts = ledger.counts()
    rows = ledger.spend_report("teacher")
    ledger.close()
    assert counts.lost >= LIVES * 200, "the kills hit nothing"
    assert counts.pending > 0, "no cap was ever reached"
    assert sum(row.nanos for row in rows) == spent, "every call is accounted for, orphans at their worst"
    assert billed > 0.4 * spent


if __name__ == "__main__":
    nursery(Path(sys.argv[1]))
