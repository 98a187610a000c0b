"""Training on one machine, classifying on another, a registry in an object store between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import fsspec
import pytest

from tests.integration.test_run import COMMAND, run, write
from tests.s3 import BUCKET, Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("ASKANCE_REGISTRY", f"s3://{BUCKET}/askance")
    with serving() as server:
        yield server


def models(folder: Path, *arguments: str) -> str:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [*COMMAND, "models", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    ).stdout


class Classifying:
    """`askance classify` on a file that grows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = 0
        folder.mkdir(exist_ok=True)
        folder.joinpath("documents.jsonl").touch()
        self.log = (folder / "log").open("a+", encoding="utf-8")
        self.start()

    def start(self) -> None:
        command = [*COMMAND, "classify", "--input", "documents.jsonl", "--output", "predictions.jsonl", "--follow"]
        self.process = subprocess.Popen(command, cwd=self._folder, stderr=self.log)

    def predictions(self) -> list[tuple[str, str | None]]:
        """Identifier and version of each."""
        path = self._folder / "predictions.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [(row["id"], row["version"]) for row in rows]

    def add(self, count: int) -> set[str | None]:
        """Documents until as many predictions are there; the versions that made these."""
        write(self._folder / "more.jsonl", range(self._written, self._written + count))
        with (self._folder / "documents.jsonl").open("ab") as file:
            file.write((self._folder / "more.jsonl").read_bytes())
        self._written += count
        deadline = time.monotonic() + 60
        while len(self.predictions()) < self._written and time.monotonic() < deadline:
            time.sleep(0.05)
        found = self.predictions()
        assert [identifier for identifier, _ in found] == [f"more-{number}" for number in range(self._written)]
        return {version for _, version in found[-count:]}

    def add_until(self, version: str) -> None:
        deadline = time.monotonic() + 60
        while self.add(5) != {version}:
            assert time.monotonic() < deadline, (version, self.said())

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.said()


def test_what_one_machine_trains_another_classifies_with_and_goes_on_without_the_store(
    tmp_path: Path, server: Server
) -> None:
    trainer = tmp_path / "trainer"
    trainer.mkdir()
    easy = ("train.promote=not_worse_by", "train.not_worse_by=0.9", "budget.share=0.5")
    for name in ("first.jsonl", "second.jsonl"):
        write(trainer / name, range(900))
        trained = run(trainer, "--rate", "0", *(word for setting in easy for word in ("--set", setting)), name=name)
        assert trained.returncode == 0, trained.stderr
    assert not (trainer / "askance-state" / "registry").exists()
    listed = json.loads(models(tmp_path / "operator", "list", "--json"))
    champion = next(version["version"] for version in listed if version["live"])
    assert sum(version["verdict"]["promoted"] for version in listed) > 1
    files = fsspec.filesystem("s3").find(f"{BUCKET}/askance/versions/{champion}")
    assert [path.split("/")[-1] for path in files] == ["manifest.json", "parity.json", "student.onnx"]

    # The watch follows a change made by a third machine, and no document is lost or doubled.
    classifying = Classifying(tmp_path / "classifier")
    try:
        assert classifying.add(50) == {champion}
        before = json.loads(models(tmp_path / "operator", "rollback", "--json"))["live"]
        assert before != champion
        classifying.add_until(before)

        # Neither a stream under way nor a start waits for a store that is away.
        server.stop()
        assert classifying.add(50) == {before}
        classifying.stop()
        classifying.start()
        assert classifying.add(50) == {before}
        server.start()
        models(tmp_path / "operator", "promote", champion)
        classifying.add_until(champion)
        classifying.stop()
        assert "going on with what it said last" in classifying.said()
        assert "can be reached again" in classifying.said()
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in classifying.said()
    finally:
        classifying.process.kill()
        classifying.process.wait()
        classifying.log.close()
