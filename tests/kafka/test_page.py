"""The live page on topics: it reads what the workers publish, in a process that belongs to none of them."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from askance.telemetry import samples
from tests.kafka.fleet import PARTITIONS, Fleet
from tests.kafka.readback import until
from tests.kafka.stream import LABELS, is_poison, label_of, text_of
from tests.paged import asked, shown

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = 1_500


@pytest.mark.asyncio
async def test_the_page_shows_a_run_on_topics(servers: str, state: Path, tmp_path: Path) -> None:
    replay = tmp_path / "teacher.jsonl"
    numbers = [number for number in range(DOCUMENTS) if not is_poison(number)]
    lines = [json.dumps({"id": f"d{n}", "text": text_of(n), "label": label_of(text_of(n))}) for n in numbers]
    replay.write_text("\n".join(lines) + "\n", encoding="utf-8")
    teacher = {"kind": "replay", "replay_path": str(replay), "labels": list(LABELS)}
    sections = {"teacher": teacher, "metrics": {"port": 0}}
    fleet = Fleet(servers, tmp_path, delivery="exactly_once", state=state, budget=["--share", "0.3"], sections=sections)
    async with fleet:
        await fleet.feed(DOCUMENTS)
        fleet.start(1)
        await fleet.until_done(DOCUMENTS)
        fleet.start(2, worker="teach")
        metrics: list[str] = []

        async def told() -> bool:
            metrics[:] = re.findall(r"metrics at (\S+/metrics)", fleet.log)
            return len(metrics) == 2

        await until(told, lambda: fleet.log[-4000:])
        flags = ["--metrics", metrics[0], "--metrics", metrics[1], "--set", "spend.total_calls=9999"]
        predictions = [json.loads(record.value) for record in await fleet.read(fleet.config.kafka.predictions)]
        accepted = sum(prediction["accepted"] for prediction in predictions)
        with shown(tmp_path, *flags) as address:
            figures: dict[str, Any] = {}

            async def complete() -> bool:
                nonlocal figures
                told = await asyncio.to_thread(asked, f"{address}/figures")
                figures = told[1]["figures"]
                labels = figures["standing"]["labels"]
                return labels["labelled"] == accepted and bool(figures["standing"]["learned"]["agreement"])

            await until(complete, lambda: f"{figures}\n{fleet.log[-4000:]}")
            figures = (await asyncio.to_thread(asked, f"{address}/figures"))[1]["figures"]
            counted = samples((await asyncio.to_thread(asked, metrics[1]))[1])
    learned, flow = figures["standing"]["learned"], figures["flow"]
    live = figures["standing"]["live"]
    assert figures["problems"] == []
    assert flow["documents"] == len(predictions)
    assert flow["accepted"] == accepted
    of_documents = [lag for lag in flow["lag"] if lag["topic"] in fleet.config.kafka.documents]
    assert sorted((lag["partition"], lag["records"]) for lag in of_documents) == [
        (str(partition), 0) for partition in range(PARTITIONS)
    ]
    assert sum(learned["uncertainties"]) == len(predictions)
    assert {row["version"]: row["answered"] for row in learned["versions"]}[live] == len(predictions)
    # The topics do not say what was spent: `teach` does.
    [calls] = [sample.value for sample in counted if sample.name == "askance_teacher_calls_total"]
    assert 0 < calls <= accepted
    assert flow["spend"] == {"calls": calls, "tokens": 0, "nanos": 0, "caps": []}
    assert figures["standing"]["spend"] is None
    assert {row["nanos"] for row in learned["classes"]} == {None}
    right = sum(one["label"] == label_of(text_of(int(one["id"][1:]))) for one in predictions) / len(predictions)
    assert learned["agreement"]["low"] <= right <= learned["agreement"]["high"]
