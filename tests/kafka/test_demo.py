"""`make kafka-demo`: the loop closes on a real broker, with every worker a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.fleet import environment

DEMO = Path(__file__).parents[2] / "deploy" / "kafka" / "demo.py"


@pytest.mark.slow
def test_the_loop_closes_on_kafka(servers: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400,
        env=environment(),
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "yes            versions swapped in while the stream ran" in done.stdout
    assert "yes            accuracy of the last version less the first's" in done.stdout
