"""`askance teach --dry-run` on a topic: what asking would cost, without asking, committing or making anything."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.kafka.fleet import COMMAND, Fleet, environment

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = ("--teacher", "openai", "--model", "gpt-4o-mini", "--labels", "one,two", "--share", "0.1")


def dry(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "teach", "--dry-run", *FLAGS, *more], cwd=folder, capture_output=True, text=True, check=False,
        timeout=120, env=environment(),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_dry_run_looks_at_the_topics_first_documents(servers: str, state: Path, tmp_path: Path) -> None:
    async with Fleet(servers, tmp_path, delivery="at_least_once", state=state) as fleet:
        empty = await asyncio.to_thread(dry, tmp_path)
        assert empty.returncode != 0
        assert f"there is no document to look at in Kafka: {fleet.name}.documents; put some there" in empty.stderr
        await fleet.feed(1_500)
        done = await asyncio.to_thread(dry, tmp_path, "--json")
        assert done.returncode == 0, done.stderr
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        groups = {name for name, _ in await admin.list_consumer_groups()}
        await admin.close()
    found = json.loads(done.stdout)
    assert found["source"] == f"Kafka: {fleet.name}.documents"
    assert 800 < found["sampled"] <= 1_000, "poison is not asked about"
    assert found["queries"] == found["calls"] == pytest.approx(100.0)
    assert found["nanos"] == pytest.approx(150 * found["prompt_tokens"] + 600 * found["completion_tokens"])
    assert 0 < found["nanos"] < found["worst_nanos"]
    assert fleet.name not in groups, "it joins no group and commits nothing"
    assert not (tmp_path / "state" / "teach.db").exists()
