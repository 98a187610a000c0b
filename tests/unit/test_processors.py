"""How many processors a process may use, by both versions of control groups."""

import os
from pathlib import Path

import pytest

from askance.processors import Processors, processors


def group(mount: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(content)


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/", {}, None),
        # The least of a group's and those of the groups above it.
        ("0::/pod/container", {"pod/cpu.max": "50000 100000", "pod/container/cpu.max": "400000 100000"}, 0.5),
        ("0::/pod/container", {"pod/cpu.max": "max 100000", "pod/container/cpu.max": "400000 100000"}, 4.0),
        # A path of the host's that is not mounted here: what is mounted is this process's own.
        ("0::/not/here", {"cpu.max": "200000 100000"}, 2.0),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 2.5),
        ("4:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "-1", "cpu,cpuacct/a/cpu.cfs_period_us": "1"}, None),
        ("3:memory:/a", {"memory/a/cpu.cfs_quota_us": "100", "memory/a/cpu.cfs_period_us": "100"}, None),
        ("0::/", {"cpu.max": "garbage"}, None),
        ("0::/", {"cpu.max": "5 0"}, None),
    ],
)
def test_the_limits_of_control_groups_are_read(
    tmp_path: Path, own: str, files: dict[str, str], quota: float | None
) -> None:
    group(tmp_path / "mount", files)
    (tmp_path / "own").write_text(own + "\n")
    assert processors(tmp_path / "mount", tmp_path / "own").quota == quota


def test_without_control_groups_there_is_the_affinity(tmp_path: Path) -> None:
    found = processors(tmp_path, tmp_path / "nothing")
    assert found == Processors(len(os.sched_getaffinity(0)), None)
    assert found.usable == found.allowed


def test_usable_is_the_smaller_of_both() -> None:
    assert Processors(8, 2.5).usable == 2.5
    assert Processors(2, 2.5).usable == 2
