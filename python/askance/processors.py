"""How many processors this process may use: what the machine gives, by affinity and by control group."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


class Processors(NamedTuple):
    """What a process may compute on."""

    allowed: int
    """Processors it may be scheduled on."""
    quota: float | None
    """How many processors' time its control groups let it have; None: no limit."""

    @property
    def usable(self) -> float:
        """How many it can keep busy."""
        return self.allowed if self.quota is None else min(self.allowed, self.quota)


def processors(mount: Path = _MOUNT, own: Path = _OWN) -> Processors:
    """Of this process. A group's limit holds for those below it, so the least counts; what cannot be read is none."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return Processors(allowed, None)
    limits: list[float] = []
    for line in lines:
        # hierarchy:controllers:path; version 2 is hierarchy 0 and names no controllers.
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mount / controllers if controllers else mount
        if controllers and not root.is_dir():
            root = mount / "cpu"
        group = root / path.lstrip("/")
        limits += [limit for folder in (group, *group.parents) if folder.is_relative_to(root) for limit in _of(folder)]
    return Processors(allowed, min(limits, default=None))


def _of(folder: Path) -> list[float]:
    """The group's limit: version 2's one file, or version 1's two; none, or one."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        # "max" and -1 are no limit.
        return [] if quota in ("max", "-1") else [int(quota) / int(period)]
    except (OSError, ValueError, ZeroDivisionError):
        return []
