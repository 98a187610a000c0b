"""On topics, too, the labels say how good a student is on the whole stream, and take a version back that got worse."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from askance.registry import DirectoryRegistry
from tests.kafka.fleet import COMMAND, Fleet, environment
from tests.kafka.readback import until
from tests.kafka.stream import LABELS, is_poison, label_of, text_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

BEFORE, AFTER = 4_000, 4_000
MEANING = dict(zip(LABELS, LABELS[1:] + LABELS[:1], strict=True))
"""What a label means from then on."""


def taught(number: int) -> str:
    label = label_of(text_of(number))
    return label if number < BEFORE else MEANING[label]


async def asked(fleet: Fleet, *words: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND, *words], cwd=fleet.folder, capture_output=True, text=True, check=False,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def estimate(fleet: Fleet, version: str) -> dict[str, Any]:
    """What `askance estimate` says once the train worker has read everything."""
    found: dict[str, Any] = {}

    async def complete() -> bool:
        nonlocal found
        found = json.loads(await asked(fleet, "estimate", "--version", version, "--json"))
        return found["documents"] == len(expected) and set(found["queries"]) == {"labelled"}

    predictions = [json.loads(record.value) for record in await fleet.read(fleet.config.kafka.predictions)]
    expected = [one for one in predictions if one["version"] == version]
    await until(complete, lambda: f"{found} of {len(expected)}\n{fleet.log[-4000:]}")
    agreement = sum(one["label"] == taught(int(one["id"][1:])) for one in expected) / len(expected)
    assert found["uncovered"] == 0
    assert found["agreement"]["low"] <= agreement <= found["agreement"]["high"]
    naive = [one for one in expected if one["accepted"]]
    assert found["queries"]["labelled"] == len(naive)
    return found


async def test_a_topics_labels_estimate_the_student_and_take_it_back(servers: str, state: Path, tmp_path: Path) -> None:
    replay = tmp_path / "teacher.jsonl"
    numbers = [number for number in range(BEFORE + AFTER) if not is_poison(number)]
    lines = [json.dumps({"id": f"d{n}", "text": text_of(n), "label": taught(n)}) for n in numbers]
    replay.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sections = {
        "teacher": {"kind": "replay", "replay_path": str(replay), "labels": list(LABELS)},
        "train": {"first_at": 10**6, "every": 10**6},
        "guard": {"interval_seconds": 0.5},
    }
    fleet = Fleet(servers, tmp_path, delivery="exactly_once", state=state, budget=["--share", "0.2"], sections=sections)
    registry = DirectoryRegistry(tmp_path / "state" / "registry", on_warning=pytest.fail)
    [first, *_, last] = [manifest.version for manifest in registry.versions()]
    registry.promote(last)
    async with fleet:
        await fleet.feed(BEFORE)
        fleet.start(1, 2)
        fleet.start(3, worker="teach")
        fleet.start(4, worker="train")
        await fleet.until_done(BEFORE)
        good = await estimate(fleet, last)
        assert good["agreement"]["value"] > 0.8
        assert registry.current() == last

        await fleet.feed(AFTER)

        async def is_taken_back() -> bool:
            return registry.current() == first

        await until(is_taken_back, lambda: fleet.log[-4000:])
        await fleet.until_done(BEFORE + AFTER)
        await fleet.stop(1, 2, 3, 4)
    assert f"version {last} is taken back, {first} is live again: live agreement is" in fleet.log
    report = await asked(fleet, "report", "-o", "report.html")
    assert f"{len(numbers):,} documents" in report


async def test_under_a_contract_the_teachers_answer_follows_each_provisional_one(
    servers: str, state: Path, tmp_path: Path
) -> None:
    count = 600
    replay = tmp_path / "teacher.jsonl"
    numbers = [number for number in range(count) if not is_poison(number)]
    lines = [json.dumps({"id": f"d{n}", "text": text_of(n), "label": taught(n)}) for n in numbers]
    replay.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sections = {
        "teacher": {"kind": "replay", "replay_path": str(replay), "labels": list(LABELS)},
        "contract": {"agreement": 0.95},
    }
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state, sections=sections) as fleet:
        await fleet.feed(count)
        fleet.start(1)
        fleet.start(2, worker="teach")
        predictions: list[dict[str, Any]] = []

        async def all_are_settled() -> bool:
            nonlocal predictions
            predictions = [json.loads(each.value) for each in await fleet.read(fleet.config.kafka.predictions)]
            return len(predictions) >= 2 * len(numbers)

        await until(all_are_settled, lambda: f"{len(predictions)} predictions\n{fleet.log[-4000:]}")
        await fleet.stop(1, 2)
        keys = {each.key for each in await fleet.read(fleet.config.kafka.predictions)}
    standings: dict[str, list[str]] = {}
    for one in predictions:
        standings.setdefault(one["id"], []).append(one["standing"])
        if one["standing"] == "settled":
            assert one["label"] == taught(int(one["id"][1:]))
    assert standings == {f"d{number}": ["provisional", "settled"] for number in numbers}
    assert b"key-1" in keys
