"""The batch API over real HTTP: reserved at its price, found again after any crash, settled once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from askance.calls import BatchStatus, Caps, Limit, Order, Spend
from askance.config import TeacherConfig
from askance.errors import TeacherError
from askance.ledger import SqliteLedger
from askance.records import LabelCounts
from askance.rules.spend import Price
from askance.teacher.openai import OpenAIBatches
from askance.workers.batch import BatchWorker
from tests.doubles import query
from tests.integration.fake_llm import Behaviour, FakeLLM, answer, says, status

if TYPE_CHECKING:
    from collections.abc import Iterator

LABELS = ("yes", "no")
PRICE = Price(1.0, 2.0)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


class Batching:
    """A worker that is pointed at the server; ended with `async with`."""

    def __init__(self, server: FakeLLM, ledger: SqliteLedger, *, caps: Caps = Caps(), **settings: object) -> None:  # noqa: B008
        config = TeacherConfig(
            **{"kind": "openai", "model": "fake", "base_url": server.base_url, "timeout_seconds": 5.0} | settings
        )
        self.teacher = OpenAIBatches(config, LABELS, price=PRICE.times(0.5), environment={})
        self.worker = BatchWorker(
            ledger=ledger,
            teacher=self.teacher,
            labels=LABELS,
            caps=caps,
            key=self.teacher.teacher.key,
            now=lambda: 1.0e9,
        )

    async def __aenter__(self) -> BatchWorker:
        return self.worker

    async def __aexit__(self, *exc_info: object) -> None:
        await self.teacher.aclose()


@pytest.mark.asyncio
async def test_documents_go_out_in_one_file_and_their_labels_come_back(ledger: SqliteLedger) -> None:
    ledger.commit([*(query(n) for n in range(9)), query(9, "document 0")], (), None)
    async with FakeLLM(lambda text: answer("no" if text.endswith("3") else "yes")) as server:
        async with Batching(server, ledger) as worker:
            batch = await worker.submit("token", 100)
            assert batch is not None
            assert (batch.status, batch.id, batch.calls) == (BatchStatus.SUBMITTED, "batch-0", 9)
            assert ledger.counts() == LabelCounts(pending=1, asked=9), "the same text is not asked about twice"
            reserved = ledger.spent()
            assert reserved.calls == 9
            [(still, state)] = await worker.collect()
            assert (still.status, state.has_ended, state.total) == (BatchStatus.SUBMITTED, False, 9)
        lines = server.provider.lines(server.provider.batches["batch-0"])
        assert lines[0]["url"] == "/v1/chat/completions"
        assert lines[0]["body"]["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"] == [
            "yes",
            "no",
        ]
        server.provider.finish(server.provider.batches["batch-0"])
        async with Batching(server, ledger) as another:
            [(done, _)] = await another.collect()
            assert (done.status, done.open_calls, done.error) == (BatchStatus.ENDED, 0, None)
            assert await another.collect() == []
    assert ledger.counts() == LabelCounts(labelled=10)
    assert [row.label for row in ledger.labelled() if row.text == "document 3"] == ["no"]
    [row] = ledger.spend_report("teacher")
    assert row.nanos == 500 * row.prompt_tokens + 1000 * row.completion_tokens, "half of the price"
    assert ledger.spent() == Spend(9, row.prompt_tokens + row.completion_tokens, row.nanos)
    assert reserved.nanos > row.nanos


@pytest.mark.asyncio
async def test_each_line_ends_as_its_call_would(ledger: SqliteLedger) -> None:
    ledger.commit(
        [query(n, text) for n, text in enumerate(["good", "bad", "refused", "late", "lost", "broken"])], (), None
    )
    async with FakeLLM() as server, Batching(server, ledger) as worker:
        server.script("bad", says("no JSON"))
        server.script("refused", status(400, message="no"))
        server.script("broken", Behaviour(body=b'{"unlike": "a completion"}'))
        await worker.submit("token", 100)
        provider = server.provider
        names = {
            json.loads(json.dumps(line))["custom_id"]: n
            for n, line in enumerate(provider.lines(provider.batches["batch-0"]))
        }
        by_place = {place: name for name, place in names.items()}
        provider.finish(
            provider.batches["batch-0"],
            status="expired",
            errors={by_place[3]: "batch_expired"},
            dropped=frozenset({by_place[4]}),
        )
        [(batch, _)] = await worker.collect()
    assert (batch.status, batch.error) == (BatchStatus.ENDED, "expired")
    found = dict(ledger._connection.execute("SELECT text, status FROM queries"))
    assert found == {
        "good": "labelled",
        "bad": "pending",  # a second chance
        "refused": "failed",
        "late": "pending",
        "lost": "pending",
        "broken": "failed",
    }
    spent = ledger.spent()
    worst = worker._teacher.teacher.worst([query(0, "broken")])
    assert spent.nanos >= worst.nanos, "what perhaps was answered counts at its worst"
    assert spent.calls == 4, "nobody bills what was not done"


@pytest.mark.asyncio
async def test_a_batch_that_the_provider_refuses_costs_nothing(ledger: SqliteLedger) -> None:
    ledger.commit([query(0)], (), None)
    async with FakeLLM() as server, Batching(server, ledger) as worker:
        await worker.submit("token", 100)
        batch = server.provider.batches["batch-0"]
        batch.status, batch.errors = "failed", [{"code": "token_limit_exceeded", "message": "too many tokens enqueued"}]
        [(ended, _)] = await worker.collect()
    assert (ended.status, ended.error) == (BatchStatus.ENDED, "too many tokens enqueued")
    assert (ledger.counts(), ledger.spent()) == (LabelCounts(pending=1), Spend())


@pytest.mark.asyncio
async def test_a_cap_bounds_a_batch(ledger: SqliteLedger) -> None:
    ledger.commit([query(n) for n in range(50)], (), None)
    async with FakeLLM() as server, Batching(server, ledger, caps=Caps(total=Limit(calls=20))) as worker:
        batch = await worker.submit("token", 100)
        assert batch is not None
        assert batch.calls == 20
        assert await worker.submit("another", 100) is None
        assert len(server.provider.batches) == 1
    assert ledger.spent().calls == 20


@pytest.mark.asyncio
async def test_a_batch_whose_name_was_never_heard_is_found_and_not_sent_again(ledger: SqliteLedger) -> None:
    ledger.commit([query(n) for n in range(5)], (), None)
    async with FakeLLM() as server, Batching(server, ledger) as worker:
        server.admin["POST", "/v1/batches"].append(Behaviour(dropped=True))
        with pytest.raises(TeacherError, match="run the command again"):
            await worker.submit("token", 100)
        ledger.commit([query(9)], (), None)
        await worker.submit("another", 100)
        assert ledger.abandon_orphans() == 0, "a teach worker that starts leaves batches alone"
        assert len(server.provider.batches) == 2
        for batch in server.provider.batches.values():
            server.provider.finish(batch)
        assert {batch.status for batch, _ in await worker.collect()} == {BatchStatus.ENDED}
        assert len(server.provider.batches) == 2
    assert ledger.counts() == LabelCounts(labelled=6)
    assert max(server.asked.values()) == 1


@pytest.mark.asyncio
async def test_one_that_never_arrived_is_sent(ledger: SqliteLedger) -> None:
    ledger.commit([query(n) for n in range(5)], (), None)
    async with FakeLLM() as server, Batching(server, ledger) as worker:
        server.admin["POST", "/v1/files"].append(status(503))
        with pytest.raises(TeacherError, match=r"503|failed"):
            await worker.submit("token", 100)
        assert server.provider.batches == {}
        [(batch, state)] = await worker.collect()
        assert (batch.status, state) == (BatchStatus.SUBMITTED, None)
        assert server.provider.batches["batch-0"].metadata == {"askance": "token"}
        server.provider.finish(server.provider.batches["batch-0"])
        await worker.collect()
    assert ledger.counts() == LabelCounts(labelled=5)


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "says_"), [(401, "put a valid API key"), (403, "use a key"), (404, "no batch API")])
async def test_what_every_batch_would_meet_is_one_line(ledger: SqliteLedger, code: int, says_: str) -> None:
    ledger.commit([query(0)], (), None)
    async with FakeLLM() as server, Batching(server, ledger) as worker:
        server.admin["POST", "/v1/files"].append(status(code))
        with pytest.raises(TeacherError, match=says_) as caught:
            await worker.submit("token", 100)
    assert "\n" not in str(caught.value)


@pytest.mark.asyncio
async def test_a_teacher_and_a_batch_share_one_ledger(ledger: SqliteLedger) -> None:
    ledger.commit([query(n) for n in range(4)], (), None)
    async with FakeLLM() as server, Batching(server, ledger) as worker:
        (call,) = ledger.reserve(Order(calls=1, now=1.0e9, teacher="live"), lambda _: Spend(1)).calls
        batch = await worker.submit("token", 100)
        assert batch is not None
        assert batch.calls == 3
        ledger.release([call])
        server.provider.finish(server.provider.batches["batch-0"])
        await worker.collect()
    assert ledger.counts() == LabelCounts(pending=1, labelled=3)


def live(folder: Path, base_url: str, word: str) -> None:
    """One life of the command: `submit` or `collect`."""

    async def run() -> None:
        ledger = SqliteLedger(folder / "ledger.db")
        config = TeacherConfig(kind="openai", model="fake", base_url=base_url, timeout_seconds=5.0)
        teacher = OpenAIBatches(config, LABELS, price=PRICE, environment={})
        worker = BatchWorker(ledger=ledger, teacher=teacher, labels=LABELS)
        if word == "submit":
            await worker.submit(f"token-{os.getpid()}", 40)
        else:
            await worker.collect()
        await teacher.aclose()
        ledger.close()

    asyncio.run(run())


def nursery(folder: Path, base_url: str) -> None:
    """For every word on standard input a life; its number is said, and once it is over, how it ended."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(folder, base_url, line.strip())
                code = 0
            finally:
                os._exit(code)
        os.write(1, f"{child}\n".encode())
        os.write(1, f"{os.waitpid(child, 0)[1]}\n".encode())


@pytest.mark.slow
@pytest.mark.asyncio
async def test_killed_at_any_request_nothing_is_sent_or_paid_twice(tmp_path: Path, ledger: SqliteLedger) -> None:
    dice = random.Random(3)
    ledger.commit([query(n) for n in range(400)], (), None)
    kills = 0
    async with FakeLLM() as server, asyncio.timeout(120):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.test_batches", str(tmp_path), server.base_url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for life in range(60):
            process.stdin.write(b"submit\n" if life % 3 == 0 else b"collect\n")
            child = int(await process.stdout.readline())
            over = asyncio.create_task(process.stdout.readline())
            if life < 50:
                some = asyncio.create_task(server.arrived(len(server.requests) + dice.randint(1, 4)))
                await asyncio.wait({over, some}, return_when=asyncio.FIRST_COMPLETED)
                some.cancel()
                await asyncio.sleep(dice.uniform(0.0, 0.004))
                # It may be over without our having read so yet.
                if not over.done():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                        kills += 1
            await over
            for batch in server.provider.batches.values():
                if batch.status == "in_progress" and dice.random() < 0.7:
                    server.provider.finish(batch)
        for _ in range(20):
            for batch in server.provider.batches.values():
                if batch.status == "in_progress":
                    server.provider.finish(batch)
            if not any(batch.status is not BatchStatus.ENDED for batch in ledger.batches()):
                break
            process.stdin.write(b"collect\n")
            await process.stdout.readline()
            await process.stdout.readline()
        process.stdin.close()
        await process.wait()
    counts = ledger.counts()
    assert kills > 10
    assert counts.lost == counts.failed == counts.asked == 0
    assert counts.labelled + counts.pending == 400
    assert counts.labelled > 200
    assert max(server.asked.values()) == 1, "a document was in two batches"
    assert counts.labelled == len(server.asked), "an answer that was paid for was dropped"


if __name__ == "__main__":
    nursery(Path(sys.argv[1]), sys.argv[2])
