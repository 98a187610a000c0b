"""`askance run`, killed at random moments: every document once, no label paid twice, no half-written version."""

import asyncio
import base64
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from askance.ledger import SqliteLedger
from askance.registry import DirectoryRegistry
from askance.rules.replay import replay
from tests.integration.fake_llm import FakeLLM, answer

KILLS = 20
DOCUMENTS = 6_000
WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "melon", "grape"],
    "metal": ["iron", "copper", "zinc", "silver", "nickel", "lead"],
    "river": ["rhine", "danube", "volga", "seine", "thames", "ebro"],
}
BROKEN = {17: b"{not json", 1234: b'{"id": "d1234", "text": ""}', 5999: b'{"text": "\xff"}'}


def write_documents(path: Path) -> None:
    rng = random.Random(5)
    lines = []
    for number in range(DOCUMENTS):
        label = rng.choice(list(WORDS))
        text = f"{' '.join(rng.choices(WORDS[label], k=3))} {rng.choice(WORDS[rng.choice(list(WORDS))])} {number}"
        lines.append(BROKEN.get(number) or json.dumps({"id": f"d{number}", "text": text}).encode())
    path.write_bytes(b"\n".join(lines) + b"\n")


def label_of(text: str) -> str:
    return next(label for label, words in WORDS.items() if text.split()[0] in words)


@contextmanager
def fake_llm_in_a_thread() -> Iterator[FakeLLM]:
    server = FakeLLM(lambda text: answer(label_of(text), latency_seconds=0.02))
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        done.set()
        thread.join()


class Run:
    """The same command, again and again."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        arguments = [
            "run", "--input", "documents.jsonl", "--output", "predictions.jsonl", "--rate", "300", "--share", "0.1",
            "--labels", "fruit,metal,river", "--teacher", "openai", "--model", "m", "--base-url", base_url,
            "--set", "teacher.audit_share=0", "--set", "train.first_at=30", "--set", "train.growth=1.2",
        ]  # fmt: skip
        self._command = [sys.executable, "-c", "from askance.cli.main import main; main()", *arguments]

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(self._command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def wait_for_lines(self, lines: int) -> None:
        deadline = time.monotonic() + 60
        while self.lines_out < lines:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    @property
    def lines_out(self) -> int:
        output = self.folder / "predictions.jsonl"
        return output.read_bytes().count(b"\n") if output.exists() else 0


def test_kill_9_at_twenty_moments_and_then_the_same_command_again(tmp_path: Path) -> None:
    write_documents(tmp_path / "documents.jsonl")
    rng = random.Random(11)
    with fake_llm_in_a_thread() as server:
        run = Run(tmp_path, server.base_url)
        finished_early = 0
        for number in range(KILLS):
            before = run.lines_out
            process = run.start()
            # Every other one well into streaming, asking and training, however slow the machine; the rest anywhere from
            # the middle of the imports on.
            if number % 2:
                run.wait_for_lines(before + rng.randint(20, 250))
            time.sleep(rng.uniform(0.0, 1.0))
            finished_early += process.poll() is not None
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert finished_early == 0, "the kills came too late to prove anything"
        assert 0 < run.lines_out < DOCUMENTS
        last = run.start()
        assert last.wait(120) == 0, (tmp_path / "log").read_text()

    predictions = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_bytes().splitlines()]
    assert [p["offset"] for p in predictions] == [n for n in range(DOCUMENTS) if n not in BROKEN]
    assert all(p["id"] == f"d{p['offset']}" for p in predictions)
    dead = [json.loads(line) for line in (tmp_path / "dead-letters.jsonl").read_bytes().splitlines()]
    assert {letter["offset"]: base64.b64decode(letter["bytes"]) for letter in dead} == BROKEN
    assert len(dead) == len(BROKEN)

    asked_twice = {text: times for text, times in server.asked.items() if times > 1}
    assert asked_twice == {}
    ledger = SqliteLedger(tmp_path / "askance-state" / "ledger.db")
    counts, rows = ledger.counts(), ledger.labelled()
    ledger.close()
    accepted = [p["offset"] for p in predictions if p["accepted"]]
    assert counts.total == counts.answered == len(accepted)
    assert counts.labelled + counts.lost == counts.total
    assert counts.labelled > 200
    assert {row.coordinates.offset for row in rows} <= set(accepted)

    registry = DirectoryRegistry(tmp_path / "askance-state" / "registry", on_warning=pytest.fail)
    versions = [manifest.version for manifest in registry.versions()]
    assert versions
    assert {path.name for path in (tmp_path / "askance-state" / "registry" / "versions").iterdir()} == set(versions)
    for version in versions:
        registry.verified(version)
    assert registry.current() in versions
    assert set(Counter(p["version"] for p in predictions)) - {None} <= set(versions)
    outcome = replay((tmp_path / "predictions.jsonl").read_bytes().splitlines())
    assert (outcome.checked, outcome.differing) == (len(predictions), 0)


def test_ctrl_c_drains_and_exits_within_five_seconds(tmp_path: Path) -> None:
    write_documents(tmp_path / "documents.jsonl")
    with fake_llm_in_a_thread() as server:
        run = Run(tmp_path, server.base_url)
        process = run.start()
        run.wait_for_lines(500)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0, (tmp_path / "log").read_text()
    lines = (tmp_path / "predictions.jsonl").read_bytes().splitlines()
    ledger = SqliteLedger(tmp_path / "askance-state" / "ledger.db")
    [progress] = ledger.progress().values()
    counts = ledger.counts()
    ledger.close()
    assert progress.documents == len(lines) == progress.next_offset - 1
    assert counts.asked == counts.lost == 0
