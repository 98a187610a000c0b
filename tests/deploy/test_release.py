"""The release workflow, read as it is: what is tested is what is uploaded, and each job may do what it must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
JOBS: dict[str, dict[str, Any]] = FLOW["jobs"]


def uploaded(job: str) -> str:
    [path] = [step["with"]["path"] for step in JOBS[job]["steps"] if "upload-artifact" in step.get("uses", "")]
    return str(path)


def test_the_sdist_that_is_tested_is_the_one_that_is_uploaded() -> None:
    [walk] = [step["run"] for step in JOBS["sdist"]["steps"] if "test_quickstart" in step.get("run", "")]

    assert f'SDIST="$(ls "$PWD"/{uploaded("sdist")})"' in walk
    assert 'environ.get("SDIST")' in (ROOT / "tests" / "integration" / "test_quickstart.py").read_text(encoding="utf-8")


def test_bills_of_materials_go_where_the_packages_are() -> None:
    [bill] = [step["run"] for step in JOBS["wheel"]["steps"] if "cyclonedx-py" in step.get("run", "")]
    assert '-o "dist/' in bill
    assert uploaded("wheel") == "dist/*"

    [fetched] = [
        step["with"]["path"] for step in JOBS["github"]["steps"] if "download-artifact" in step.get("uses", "")
    ]
    [release] = [step["run"] for step in JOBS["github"]["steps"] if "run" in step]
    assert release.startswith("gh release create")
    assert f" {fetched}/*/*" in release
    # `publish` runs on a tag alone, and whatever needs it with it.
    assert JOBS["github"]["needs"] == "publish"
    assert JOBS["publish"]["if"] == "startsWith(github.ref, 'refs/tags/v')"


def test_only_what_writes_may() -> None:
    assert FLOW["permissions"] == {"contents": "read"}
    assert {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job} == {
        "publish": {"id-token": "write"},
        "github": {"contents": "write"},
    }
