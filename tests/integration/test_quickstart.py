"""The quickstart, walked: an sdist, a wheel of it, a clean environment, and every command as it stands on the page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.integration.fake_llm import Behaviour, FakeLLM, answer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quickstart.md"
# What of the tickets that the page writes tells their label.
WORDS = {"charged": "billing", "invoice": "billing", "refund": "billing", "down for": "outage", "Error": "outage"}
WORDS |= {"has not loaded": "outage", "How do I": "how to", "Where can": "how to", "Can I": "how to"}


def built(folder: Path) -> tuple[Path, Path]:
    """An sdist, or the one that `SDIST` names, and the wheel that is built from what is in it alone."""
    maturin = Path(sys.executable).parent / "maturin"
    if given := os.environ.get("SDIST"):
        sdist = Path(given)
    else:
        subprocess.run([maturin, "sdist", "--out", folder], check=True, cwd=ROOT)
        (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    # The crates that others wrote are not compiled anew.
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target")}
    source = folder / sdist.name.removesuffix(".tar.gz")
    command = [maturin, "build", "--release", "--out", folder]
    subprocess.run(command, check=True, cwd=source, env=environment)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def steps() -> list[str]:
    """The commands of the page's sections, but for how to get askance and which LLM it is."""
    sections = re.split(r"^## \d+\. ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    fences = [re.findall(r"^```bash\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL) for section in sections]
    assert fences[1][0].count("pip install") == 1
    assert fences[4][0].count("export") == 3
    found = [*fences[2], *fences[3], *fences[4][1:], *fences[5], *fences[6], *fences[7]]
    assert len(found) == 6
    return found


def reply(text: str) -> Behaviour:
    label = next((label for word, label in WORDS.items() if word in text), "other")
    return answer(label, latency_seconds=0.1)


async def walked(folder: Path, python: Path) -> list[str]:
    """What each step says, on stdout; a step that fails fails the walk."""
    said = []
    async with FakeLLM(reply) as server:
        environment = {
            "HOME": str(folder),
            "PATH": f"{python.parent}:{os.defpath}",
            "LLM_URL": server.base_url,
            "LLM_MODEL": "my-model",
            "OPENAI_API_KEY": "none",
        }
        for step in steps():
            process = await asyncio.create_subprocess_exec(
                *("bash", "-euo", "pipefail", "-c", step),
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            out, err = await process.communicate()
            assert process.returncode == 0, f"{step}\n{out.decode()}\n{err.decode()}"
            said.append(out.decode())
        assert 64 <= len(server.requests) <= 1000
    return said


@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_quickstart_can_be_walked_from_a_wheel_in_a_clean_environment(tmp_path: Path) -> None:
    sdist, wheel = await asyncio.to_thread(built, tmp_path / "dist")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert any(name.endswith(".cyclonedx.json") for name in names), "the wheel says which crates it is made of"
    assert {"askance/py.typed", "askance/report.html", "askance/_kernel.pyi"} <= set(names)
    assert not [name for name in names if "test" in name]
    assert sdist.stat().st_size < 2_000_000

    clean = tmp_path / "clean"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-m", "venv", clean], check=True)
    python = clean / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{wheel}[train,openai]"]
    await asyncio.to_thread(subprocess.run, install, check=True)
    await asyncio.to_thread(subprocess.run, [python, "-m", "pip", "check"], check=True)

    folder = tmp_path / "walk"
    folder.mkdir()
    said = await walked(folder, python)

    assert "calls" in said[2]
    assert "documents      3,000" in said[3]
    first = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    again = [json.loads(line) for line in (folder / "labelled.jsonl").read_text(encoding="utf-8").splitlines()]
    tickets = [json.loads(line) for line in (folder / "tickets.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(first) == len(again) == len(tickets) == 3_000
    unlabelled = sum(prediction["label"] is None for prediction in first)
    assert f"no label       {unlabelled:,} of this run's" in said[3]
    right = sum(
        prediction["label"] == json.loads(reply(ticket["body"]).content or "")["label"]
        for prediction, ticket in zip(again, tickets, strict=True)
    )
    # What the teacher says of such tickets is easily learnt; the last of the 3,000 must be labelled, too.
    assert right >= 2_850
    assert "3,000 decisions checked" in said[4]
    assert ": 0 differ" in said[4]
    assert "3,000 documents" in (folder / "run.html").read_text(encoding="utf-8")
    shutil.rmtree(clean)
