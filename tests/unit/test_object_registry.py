"""A registry in an object store: in memory, and on an S3-compatible server (moto) over real HTTP."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import msgspec
import pytest

from askance.directions import Exploration
from askance.errors import ConfigError, DamagedVersionError, RegistryError, RegistryUnreachableError
from askance.registry import StoredRegistry, is_remote, open_registry
from askance.registry.objects import COPIES
from tests.s3 import BUCKET, Server, serving
from tests.unit.test_registry import FILES, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


class Case:
    """A registry with three versions, of which the last is champion, as seen from one machine or from others."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.warnings: list[str] = []
        self.files, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.root = str(path)
        self.registry = self.opened("here")
        self.names = []
        for number in range(3):
            version = self.registry.publish({**FILES, "student.onnx": b"graph %d" % number}, describe()).version
            self.registry.promote(version)
            self.names.append(version)

    def opened(self, machine: str) -> StoredRegistry:
        return open_registry(self.url, cache=self.folder / machine, on_warning=self.warnings.append)

    def path(self, *parts: str) -> str:
        return "/".join((self.root, *parts))


@pytest.fixture
def url(store: str, request: pytest.FixtureRequest) -> str:
    name = uuid.uuid4().hex
    if store == "memory":
        return f"memory://{name}"
    request.getfixturevalue("server")
    return f"s3://{BUCKET}/{name}"


@pytest.fixture
def case(url: str, tmp_path: Path) -> Case:
    return Case(url, tmp_path)


both = pytest.mark.parametrize("store", ["memory", "s3"])
s3 = pytest.mark.parametrize("store", ["s3"])


def test_what_is_no_url_is_a_folder(tmp_path: Path) -> None:
    assert [is_remote(location) for location in ("s3://a/b", "memory://a", "file:///a", "/a", "a/b")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    for location in (str(tmp_path / "a"), f"file://{tmp_path / 'a'}"):
        assert open_registry(location, cache=tmp_path / "cache").location == str(tmp_path / "a")


@both
def test_an_empty_registry_holds_nothing_and_is_not_made_by_looking(url: str, tmp_path: Path) -> None:
    registry = open_registry(url, cache=tmp_path)
    assert (registry.current(), registry.versions(), registry.unpromoted()) == (None, [], None)
    with pytest.raises(RegistryError, match="there is no version 'v0001-00000000'; the latest are: none yet"):
        registry.manifest("v0001-00000000")
    with pytest.raises(RegistryError, match="there is no champion yet"):
        registry.rollback()


@both
def test_every_machine_sees_what_one_has_done(case: Case) -> None:
    other = case.opened("there")
    assert [manifest.version for manifest in other.versions()] == case.names
    assert other.current() == case.names[-1]
    folder = other.verified(case.names[-1])
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "parity.json", "student.onnx"]
    assert (folder / "student.onnx").read_bytes() == b"graph 2"

    assert case.registry.rollback() == case.names[1] == other.current()
    exploration = Exploration(0.1, 1e12)
    case.registry.direct(lambda before: msgspec.structs.replace(before, exploration=exploration))
    assert other.directions().exploration == exploration

    waiting = other.publish(FILES, describe()).version
    assert waiting.startswith("v0004-")
    assert case.registry.unpromoted() == waiting
    assert case.warnings == []


@both
def test_pruned_versions_are_gone_and_their_copies_are_not_enough_to_come_back(case: Case) -> None:
    other = case.opened("there")
    for name in case.names:
        other.verified(name)
    case.registry.rollback()
    case.registry.rollback()
    assert case.registry.prune(keep=1) == [case.names[1]]
    assert [manifest.version for manifest in other.versions()] == [case.names[0], case.names[2]]
    assert case.files.find(case.path("versions", case.names[1])) == []
    with pytest.raises(RegistryError, match="was removed meanwhile"):
        other.promote(case.names[1])
    assert other.current() == case.names[0]


@both
def test_moving_the_pointer_is_one_put(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    puts: list[tuple[str, bytes]] = []
    files = case.registry._store._files  # type: ignore[attr-defined]
    put = files.pipe_file

    def spy(path: str, value: bytes, **arguments: Any) -> None:
        puts.append((path, value))
        put(path, value, **arguments)

    monkeypatch.setattr(files, "pipe_file", spy)
    case.registry.promote(case.names[0])
    assert [path for path, _ in puts] == [case.path("CURRENT")]
    assert case.files.cat_file(case.path("CURRENT")) == puts[0][1]


class Killed(BaseException):
    """Stands for the moment at which the process dies."""


@both
def test_death_between_any_two_puts_leaves_no_half_written_version(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    files = case.registry._store._files  # type: ignore[attr-defined]
    put = files.pipe_file
    left = 0

    def counted(path: str, value: bytes, **arguments: Any) -> None:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        put(path, value, **arguments)

    monkeypatch.setattr(files, "pipe_file", counted)
    for limit in range(4):
        left = limit
        with pytest.raises(Killed):
            case.registry.promote(case.registry.publish({**FILES, "extra": bytes([limit])}, describe()).version)
        other = case.opened(f"after {limit}")
        found = [manifest.version for manifest in other.versions()]
        for version in found:
            other.verified(version)
        # The manifest is the fourth put, which was never made.
        assert (found, other.current()) == (case.names, case.names[-1])
    assert case.files.find(case.path("versions")) != []
    left = 99
    last = case.registry.publish(FILES, describe()).version
    case.registry.publish({**FILES, "student.onnx": b"one more"}, describe())
    folders = {path.split("/")[-2] for path in case.files.find(case.path("versions"))}
    assert folders == {manifest.version for manifest in case.opened("last").versions()} >= {*case.names, last}
    assert case.warnings == []


@both
def test_a_damaged_copy_is_fetched_anew_and_a_damaged_version_is_refused(case: Case) -> None:
    version = case.names[-1]
    folder = case.registry.verified(version)
    (folder / "student.onnx").write_bytes(b"rotten")
    assert (case.registry.verified(version) / "student.onnx").read_bytes() == b"graph 2"
    (folder / "parity.json").unlink()
    (folder / "manifest.json").write_bytes(b"\0\0")
    assert sorted(path.name for path in case.registry.verified(version).iterdir()) == [
        "manifest.json",
        "parity.json",
        "student.onnx",
    ]

    case.files.pipe_file(case.path("versions", version, "student.onnx"), b"rotten")
    other = case.opened("there")
    with pytest.raises(DamagedVersionError, match=r"student\.onnx: its SHA-256 is .* restore the file") as caught:
        other.verified(version)
    assert f"{case.url}/versions/{version}/student.onnx" in str(caught.value)
    # Nothing of it was kept, and who has a good copy goes on with it.
    assert list((case.folder / "there").rglob("student.onnx")) == []
    assert case.registry.verified(version) == folder
    case.files.rm_file(case.path("versions", version, "student.onnx"))
    with pytest.raises(DamagedVersionError, match="cannot be read"):
        other.verified(version)


@both
def test_a_damaged_pointer_falls_back_as_in_a_folder(case: Case) -> None:
    case.files.pipe_file(case.path("CURRENT"), b"garbage")
    assert case.opened("there").current() == case.names[-1]
    assert f"{case.url}/CURRENT: cannot be read" in case.warnings[0]


@pytest.mark.parametrize("store", ["memory"])
def test_only_so_many_copies_are_kept(case: Case) -> None:
    other = case.opened("there")
    folder = other.verified(case.names[0])
    for number in range(COPIES + 3):
        version = case.registry.publish({**FILES, "student.onnx": b"copy %d" % number}, describe()).version
        other.verified(version)
        # The one that is used stays, however old it is.
        os.utime(folder, (2e9, 2e9))
    assert len(list(folder.parent.iterdir())) == COPIES
    assert folder.exists()


@s3
def test_readers_never_see_a_torn_pointer(case: Case) -> None:
    stop = threading.Event()
    seen: set[str | None] = set()
    reading = case.opened("there")

    def read() -> None:
        while not stop.is_set():
            seen.add(reading.current())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(30):
            case.registry.promote(case.names[turn % 3])
    finally:
        stop.set()
        reader.join()
    assert seen <= set(case.names)
    assert len(seen) > 1
    assert not case.warnings


@s3
def test_a_store_that_is_away_changes_nothing_but_what_can_be_changed(case: Case, server: Server) -> None:
    worker = case.opened("there")
    champion = worker.current()
    assert champion == case.names[-1]
    worker.directions()
    copy = worker.verified(champion)
    server.stop()
    try:
        for registry in (worker, case.opened("there")):  # the second is a process that starts meanwhile
            case.warnings.clear()
            for _ in range(2):
                assert registry.current() == champion
            assert registry.verified(champion) == copy
            assert registry.directions() == msgspec.convert({}, type(registry.directions()))
            [warning] = case.warnings
            assert warning.startswith(f"{case.url}: the registry cannot be reached (")
            assert warning.endswith("going on with what it said last")
            assert "hush" not in warning
            changes: tuple[Callable[[], object], ...] = (
                partial(registry.promote, champion),
                registry.rollback,
                partial(registry.publish, FILES, describe()),
                partial(registry.verified, case.names[0]),
                registry.versions,
            )
            for change in changes:
                with pytest.raises(RegistryUnreachableError):
                    change()
        with pytest.raises(RegistryUnreachableError, match="check its address, the credentials and the network"):
            case.opened("a new machine").current()
    finally:
        server.start()
    case.registry.promote(case.names[0])
    assert worker.current() == case.names[0]
    assert case.warnings[-1] == f"{case.url}: the registry can be reached again"


@s3
def test_a_bucket_that_is_not_there_is_no_empty_registry(url: str, tmp_path: Path) -> None:
    registry = open_registry(url.replace(BUCKET, "model"), cache=tmp_path)
    for use in (registry.current, registry.versions, lambda: registry.publish(FILES, describe())):
        with pytest.raises(RegistryUnreachableError, match="bucket does not exist"):
            use()


def test_a_url_that_nothing_opens_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="nosuch://a"):
        open_registry("nosuch://a", cache=tmp_path)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(ConfigError, match=r"install askance\[s3\]"):
        open_registry("s3://a", cache=tmp_path)


PUBLISHER = """
import sys
from pathlib import Path
from askance.registry import open_registry
from tests.unit.test_registry import describe

registry = open_registry(sys.argv[1], cache=Path(sys.argv[2]), on_warning=lambda text: print(text, file=sys.stderr))
turn = 0
while True:
    turn += 1
    files = {"student.onnx": bytes([turn % 256]) * 500_000, "parity.json": b"[]"}
    version = registry.publish(files, describe()).version
    registry.promote(version)
    print(version, flush=True)
"""


@s3
@pytest.mark.slow
def test_kill_9_at_random_moments_leaves_a_whole_registry(url: str, tmp_path: Path) -> None:
    rng = random.Random(11)
    warnings: list[str] = []
    for turn in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, url, str(tmp_path / "train")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        published = process.stdout.readline().strip()
        time.sleep(rng.uniform(0.0, 0.2))
        process.kill()
        output, errors = process.communicate()
        published = [published, *output.split()][-1]
        registry = open_registry(url, cache=tmp_path / f"reader {turn}", on_warning=warnings.append)
        versions = [manifest.version for manifest in registry.versions()]
        for version in versions[-5:]:
            registry.verified(version)
        assert versions.index(published) >= len(versions) - 2
        assert registry.current() in versions[-2:]
        assert (errors, warnings) == ("", [])
