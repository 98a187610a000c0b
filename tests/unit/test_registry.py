from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from askance.errors import DamagedVersionError, RegistryError
from askance.manifest import FeaturizerConfig, Manifest, Verdict
from askance.registry import DirectoryRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FILES = {"student.onnx": b"a graph", "parity.json": b"[]"}


def describe(*, promoted: bool = True) -> Callable[[str, Mapping[str, str]], Manifest]:
    def manifest(version: str, digests: Mapping[str, str]) -> Manifest:
        return Manifest(
            version=version,
            created_at="2025-01-01T00:00:00+00:00",
            student="logistic",
            labels=("a", "b"),
            temperature=1.0,
            featurizer=FeaturizerConfig(),
            featurizer_digest="",
            parent=None,
            trained_on=2,
            held_out=0,
            training_digest="",
            parity_error=0.0,
            agreement=None,
            verdict=Verdict(promoted=promoted, why="a test"),
            files=dict(digests),
        )

    return manifest


class Case:
    """A registry in a folder of its own, with three versions of which the last is champion."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.warnings: list[str] = []
        self.registry = DirectoryRegistry(root, on_warning=self.warnings.append)
        self.names = []
        for number in range(3):
            version = self.registry.publish({**FILES, "student.onnx": b"graph %d" % number}, describe()).version
            self.registry.promote(version)
            self.names.append(version)

    def reopened(self) -> DirectoryRegistry:
        return DirectoryRegistry(self.root, on_warning=self.warnings.append)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "registry")


def test_an_empty_registry_creates_nothing(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path / "none")
    assert registry.current() is None
    assert registry.versions() == []
    with pytest.raises(RegistryError, match="there is no version 'v0001-00000000'; the latest are: none yet"):
        registry.manifest("v0001-00000000")
    assert list(tmp_path.iterdir()) == []


def test_versions_are_numbered_named_by_content_and_ordered(case: Case) -> None:
    assert [name[:6] for name in case.names] == ["v0001-", "v0002-", "v0003-"]
    assert [manifest.version for manifest in case.registry.versions()] == case.names
    assert case.registry.current() == case.names[-1]
    same = case.registry.publish({**FILES, "student.onnx": b"graph 2"}, describe()).version
    assert same == "v0004-" + case.names[-1][-8:]
    folder = case.registry.verified(same)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "parity.json", "student.onnx"]
    assert not case.warnings


def test_numbers_past_9999_still_sort_by_age(case: Case) -> None:
    case.root.joinpath("versions", case.names[-1]).rename(case.root / "versions" / "v9999-00000000")
    assert case.registry.publish(FILES, describe()).version.startswith("v10000-")
    assert case.registry.versions()[-1].version.startswith("v10000-")


def test_publishing_promotes_nothing(case: Case) -> None:
    case.registry.publish(FILES, describe())
    assert case.registry.current() == case.names[-1]


def test_rollback_walks_back_and_then_says_there_is_nothing_left(case: Case) -> None:
    assert case.registry.rollback() == case.names[1]
    assert case.reopened().current() == case.names[1]
    assert case.registry.rollback() == case.names[0]
    with pytest.raises(RegistryError, match=f"nothing to roll back to: {case.names[0]} has no champion before it"):
        case.registry.rollback()
    assert case.registry.current() == case.names[0]


def test_rollback_without_a_champion_says_so(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no champion yet"):
        DirectoryRegistry(tmp_path).rollback()


def test_rollback_passes_over_a_damaged_champion(case: Case) -> None:
    case.root.joinpath("versions", case.names[1], "student.onnx").write_bytes(b"other")
    assert case.registry.rollback() == case.names[0]
    assert "student.onnx" in case.warnings[0]


def test_promoting_the_champion_again_does_not_fill_its_history(case: Case) -> None:
    case.registry.promote(case.names[-1])
    assert case.registry.rollback() == case.names[1]


def test_a_changed_file_is_named_with_its_digests_and_a_remedy(case: Case) -> None:
    path = case.root / "versions" / case.names[0] / "student.onnx"
    path.write_bytes(b"graph X")
    with pytest.raises(DamagedVersionError, match=r"student\.onnx: its SHA-256 is .* restore the file") as caught:
        case.registry.verified(case.names[0])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DamagedVersionError):
        case.registry.promote(case.names[0])
    assert case.registry.current() == case.names[-1]


def test_a_missing_file_is_named(case: Case) -> None:
    case.root.joinpath("versions", case.names[0], "parity.json").unlink()
    with pytest.raises(DamagedVersionError, match=r"parity\.json: cannot be read \(No such file"):
        case.registry.verified(case.names[0])


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": "v0001-00000000"}', b"\xff\xfe", b"[]"])
def test_an_unreadable_manifest_is_warned_of_once_and_left_out(case: Case, content: bytes) -> None:
    case.root.joinpath("versions", case.names[1], "manifest.json").write_bytes(content)
    for _ in range(2):
        assert [manifest.version for manifest in case.registry.versions()] == [case.names[0], case.names[2]]
    assert len(case.warnings) == 1
    assert case.names[1] in case.warnings[0]


def test_a_manifest_of_another_version_is_refused(case: Case) -> None:
    stolen = case.root.joinpath("versions", case.names[0], "manifest.json").read_bytes()
    case.root.joinpath("versions", case.names[1], "manifest.json").write_bytes(stolen)
    with pytest.raises(DamagedVersionError, match=f"the manifest is that of '{case.names[0]}'"):
        case.registry.verified(case.names[1])


@pytest.mark.parametrize("name", ["../versions", "", ".", "v0001", "v0001-zzzzzzzz", "/etc"])
def test_a_name_is_not_a_path(case: Case, name: str) -> None:
    with pytest.raises(RegistryError, match="there is no version"):
        case.registry.manifest(name)


@pytest.mark.parametrize("content", [b"", b"\x00\x01garbage", b'{"version": 3}', b'"v0001-00000000"', b"\xff"])
def test_a_garbage_pointer_falls_back_to_the_newest_promoted_version(case: Case, content: bytes) -> None:
    refused = case.registry.publish(FILES, describe(promoted=False)).version
    case.root.joinpath("CURRENT").write_bytes(content)
    registry = case.reopened()
    assert registry.current() == case.names[-1] != refused
    assert registry.current() == case.names[-1]
    assert len(case.warnings) == 1
    assert "CURRENT: cannot be read" in case.warnings[0]
    assert f"falling back to {case.names[-1]}" in case.warnings[0]


def test_a_pointer_to_a_missing_version_falls_back_to_the_former_champion(case: Case) -> None:
    case.registry.promote(case.names[0])
    case.root.joinpath("CURRENT").write_text(
        json.dumps({"version": "v0009-00000000", "history": [case.names[0], case.names[1]]})
    )
    registry = case.reopened()
    assert registry.current() == case.names[1]
    assert "names 'v0009-00000000', which is missing" in case.warnings[0]
    # Former champions that are damaged are passed over, too.
    case.root.joinpath("versions", case.names[1], "student.onnx").unlink()
    assert case.reopened().current() == case.names[0]


def test_a_fallback_is_never_a_damaged_version(case: Case) -> None:
    case.root.joinpath("CURRENT").write_bytes(b"garbage")
    case.root.joinpath("versions", case.names[-1], "student.onnx").write_bytes(b"other")
    assert case.reopened().current() == case.names[1]


def test_promoting_repairs_a_damaged_pointer(case: Case) -> None:
    case.root.joinpath("CURRENT").write_bytes(b"garbage")
    case.registry.promote(case.names[-1])
    case.warnings.clear()
    assert case.reopened().current() == case.names[-1]
    assert not case.warnings


def test_a_garbage_pointer_with_nothing_to_fall_back_to_is_told(tmp_path: Path) -> None:
    warnings: list[str] = []
    tmp_path.joinpath("CURRENT").write_bytes(b"garbage")
    assert DirectoryRegistry(tmp_path, on_warning=warnings.append).current() is None
    assert "there is no good version to fall back to" in warnings[0]


def test_a_registry_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.joinpath("registry").write_text("a file where the folder should be")
    with pytest.raises(RegistryError, match="cannot be written"):
        DirectoryRegistry(tmp_path / "registry").publish(FILES, describe())


def test_readers_never_see_a_torn_pointer(case: Case) -> None:
    stop = threading.Event()
    seen: set[str | None] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(DirectoryRegistry(case.root, on_warning=case.warnings.append).current())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(200):
            case.registry.promote(case.names[turn % 3])
    finally:
        stop.set()
        reader.join()
    assert seen <= set(case.names)
    assert len(seen) > 1
    assert not case.warnings


class Killed(BaseException):
    """Stands for the moment at which the process dies."""


def test_death_between_any_two_steps_leaves_no_half_written_version(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every durable step of publishing and promoting is once the last one."""
    steps = 0
    limit = 0

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > limit:
                raise Killed
            return step(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    died = 0
    while True:
        steps = 0
        try:
            case.registry.promote(case.registry.publish(FILES, describe()).version)
        except Killed:
            died += 1
        registry = case.reopened()
        for manifest in registry.versions():
            registry.verified(manifest.version)
        assert registry.current() in {manifest.version for manifest in registry.versions()}
        if died <= limit:
            break
        limit += 1
    assert died > 8
    assert not case.warnings
    assert list(case.root.joinpath("staging").glob("*")) == []


PUBLISHER = """
import sys
from pathlib import Path
from askance.manifest import FeaturizerConfig, Manifest, Verdict
from askance.registry import DirectoryRegistry

registry = DirectoryRegistry(Path(sys.argv[1]), on_warning=lambda text: print(text, file=sys.stderr, flush=True))
turn = 0
while True:
    turn += 1
    files = {"student.onnx": bytes([turn % 256]) * 2_000_000, "parity.json": b"[]"}
    manifest = registry.publish(files, lambda version, digests: Manifest(
        version=version, created_at="", student="logistic", labels=("a", "b"), temperature=1.0,
        featurizer=FeaturizerConfig(), featurizer_digest="", parent=None, trained_on=2, held_out=0,
        training_digest="", parity_error=0.0, agreement=None, verdict=Verdict(promoted=True, why=""),
        files=dict(digests)))
    registry.promote(manifest.version)
    print(manifest.version, flush=True)
"""


def test_kill_9_at_random_moments_leaves_a_whole_registry(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    warnings: list[str] = []
    rng = random.Random(11)
    interrupted = 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        published = process.stdout.readline().strip()
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        output, errors = process.communicate()
        published = [published, *output.split()][-1]

        interrupted += any(root.joinpath("staging").glob("*"))
        registry = DirectoryRegistry(root, on_warning=warnings.append)
        versions = [manifest.version for manifest in registry.versions()]
        for version in versions:
            registry.verified(version)
        # What was reported as published is there; at most one more was under way.
        assert versions.index(published) >= len(versions) - 2
        assert registry.current() in versions[-2:]
        assert (errors, warnings) == ("", [])
    assert interrupted
    DirectoryRegistry(root).publish(FILES, describe())
    assert not any(root.joinpath("staging").glob("*"))


def test_versions_that_were_passed_over_do_not_wait_for_promotion(tmp_path: Path) -> None:
    empty = DirectoryRegistry(tmp_path / "empty", on_warning=pytest.fail)
    empty.pass_over()
    assert not (tmp_path / "empty").exists()
    case = Case(tmp_path)
    best, loser = (case.registry.publish(FILES, describe()).version for _ in range(2))
    case.registry.promote(best)
    assert case.registry.unpromoted() == loser
    case.registry.pass_over()
    assert case.registry.unpromoted() is None
    assert case.registry.current() == best
    later = case.registry.publish(FILES, describe()).version
    assert case.registry.unpromoted() == later
