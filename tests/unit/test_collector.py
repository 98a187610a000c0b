"""The garbage collector stays out of the data plane's way while it runs, and has its own limits back afterwards."""

import asyncio
import gc
from pathlib import Path

import pytest

from askance.app import execute
from askance.config import Config
from askance.records import Coordinates, Document, Record
from askance.workers.classify import ClassifyWorker


def test_records_and_documents_are_not_tracked() -> None:
    record = Record(Coordinates("t", 0, 0), b"value", b"key", (("name", b"value"),), 1)
    assert not gc.is_tracked(record)
    assert not gc.is_tracked(Document("id", "text", record))


def test_the_limit_of_young_objects_is_raised_for_as_long_as_documents_are_classified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "documents.jsonl"
    source.write_text('{"text": "one"}\n')
    settings = {
        "state": str(tmp_path / "state"),
        "source": {"path": str(source), "rate": 0},
        "sink": {"path": str(tmp_path / "predictions.jsonl")},
    }
    during: list[tuple[int, int, int]] = []
    run = ClassifyWorker.run

    async def watched(worker: ClassifyWorker, stop: asyncio.Event) -> None:
        during.append(gc.get_threshold())
        await run(worker, stop)

    monkeypatch.setattr(ClassifyWorker, "run", watched)
    before = gc.get_threshold()
    summary = execute(Config.model_validate(settings), frozenset({"classify"}))
    assert summary.documents == 1
    assert during[0][0] >= 100_000
    assert gc.get_threshold() == before
