"""The demo's corpus: real docstrings, found without importing anything, the same wherever the files are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from askance.demo import corpus
from askance.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = '''"""A module docstring that is certainly long enough to become a document of the demo."""
class Thing:
    """A class docstring that is certainly long enough to become a document of the demo."""
    async def wait(self):
        """A method docstring that is certainly long enough to become a document of the demo."""
def short(): "Too short."
def plain(): return "a string that is certainly long enough but that is not the docstring of anything"
add_newdoc("package", "compiled", r"""A compiled function's docstring, certainly long enough for the demo.""")
broken = "\\d"
'''


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def tree(root: Path, *, libraries: int = 10, modules: int = 40, functions: int = 10) -> dict[str, tuple[str, ...]]:
    """Made-up libraries, so that a test does not hang on what is installed."""
    for library in range(libraries):
        for module in range(modules):
            folder = root / f"library{library}" / ("tests" if module == 0 else "code")
            folder.mkdir(parents=True, exist_ok=True)
            functions_ = "\n".join(
                f'def f{number}():\n    """Function {number} of module {module} of library {library}, '
                'which does nothing at all but does it well."""'
                for number in range(functions)
            )
            (folder / f"m{module}.py").write_text(
                f'"""The same words in every module of every library, {"x" * 40}"""\n{functions_}\n'
            )
    return {f"label {library}": (f"library{library}",) for library in range(libraries)}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[corpus.Corpus, Path]:
    path = tmp_path_factory.mktemp("corpus") / "documents.jsonl"
    return corpus.build(path), path


def test_docstrings_are_found_wherever_python_and_numpy_keep_them() -> None:
    with_line = dict(corpus.docstrings(SOURCE.encode()))
    assert set(with_line) == {1, 3, 5, 6, 8}
    assert with_line[5].startswith("A method docstring")


@pytest.mark.parametrize("source", [b"def (:", b"\x00", b"\xff\xfe", b"# coding: nonsense\n", b"(" * 500])
def test_a_file_that_does_not_parse_has_no_docstrings(source: bytes) -> None:
    assert list(corpus.docstrings(source)) == []


def test_texts_are_one_line_within_the_limits() -> None:
    tidied = corpus.tidy("word " * 500)
    assert tidied is not None
    assert len(tidied) <= corpus.LONGEST
    assert tidied.endswith("word")
    assert corpus.tidy("x" * 5_000) == "x" * corpus.LONGEST
    assert corpus.tidy("short") is None
    assert corpus.tidy("a lone surrogate \ud800 in a text that is otherwise quite long enough to be used") is None


def test_the_real_corpus_is_large_balanced_and_clean(real: tuple[corpus.Corpus, Path]) -> None:
    built, path = real
    rows = read(path)
    assert len(rows) == built.documents >= corpus.LEAST_DOCUMENTS
    counts = Counter(row["gold"] for row in rows)
    assert counts == Counter(built.counts)
    assert len(counts) >= corpus.LEAST_LABELS
    assert max(counts.values()) <= corpus.DOCUMENTS_PER_LABEL
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["text"] for row in rows}) == len(rows)
    for row in rows:
        assert corpus.SHORTEST <= len(row["text"]) <= corpus.LONGEST
        assert row["text"] == " ".join(row["text"].split())
        assert "/tests/" not in row["id"]


def test_the_teacher_is_wrong_three_times_in_a_hundred(real: tuple[corpus.Corpus, Path]) -> None:
    built, path = real
    rows = read(path)
    wrong = 0
    for row in rows:
        (teacher,) = row["teachers"]
        assert teacher["model"] == corpus.TEACHER
        assert teacher["confidence"] is None
        assert teacher["label"] in built.counts
        wrong += teacher["label"] != row["gold"]
    assert wrong == built.teacher_errors
    assert 0.02 < wrong / len(rows) < 0.04


def test_the_order_mixes_the_labels(real: tuple[corpus.Corpus, Path]) -> None:
    built, path = real
    first = Counter(row["gold"] for row in read(path)[:1_000])
    for label, count in built.counts.items():
        assert first[label] == pytest.approx(1_000 * count / built.documents, abs=45)


def test_the_same_files_give_the_same_bytes_and_another_seed_another_order(tmp_path: Path) -> None:
    areas = tree(tmp_path)
    written = []
    for seed in (0, 0, 1):
        path = tmp_path / "documents.jsonl"
        corpus.build(path, seed=seed, areas=areas, roots=[tmp_path])
        written.append(path.read_bytes())
    assert written[0] == written[1] != written[2]
    assert sorted(json.loads(line)["text"] for line in written[0].splitlines()) == sorted(
        json.loads(line)["text"] for line in written[2].splitlines()
    )
    # Nor does the order hang on string hashing.
    script = (
        "import sys, pathlib; from askance.demo import corpus; root = pathlib.Path(sys.argv[1]);"
        "areas = {f'label {n}': (f'library{n}',) for n in range(10)};"
        "corpus.build(root / 'again.jsonl', areas=areas, roots=[root])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=environment, timeout=60)
    assert (tmp_path / "again.jsonl").read_bytes() == written[0]


def test_texts_are_taken_once_and_tests_are_skipped(tmp_path: Path) -> None:
    areas = tree(tmp_path)
    built = corpus.build(tmp_path / "documents.jsonl", areas=areas, roots=[tmp_path])
    rows = read(tmp_path / "documents.jsonl")
    assert built.documents == 10 * 39 * 10 + 1
    assert sum("same words" in row["text"] for row in rows) == 1
    assert not any("/tests/" in row["id"] for row in rows)


def test_a_missing_dependency_means_a_class_less(tmp_path: Path) -> None:
    areas = tree(tmp_path) | {"not installed": ("nowhere", "not/there")}
    built = corpus.build(tmp_path / "documents.jsonl", areas=areas, roots=[tmp_path / "absent", tmp_path])
    assert "not installed" not in built.counts
    assert len(built.counts) == 10


@pytest.mark.parametrize(("libraries", "functions"), [(7, 20), (10, 5)])
def test_too_little_text_is_a_usage_error(tmp_path: Path, libraries: int, functions: int) -> None:
    areas = tree(tmp_path, libraries=libraries, functions=functions)
    path = tmp_path / "documents.jsonl"
    with pytest.raises(UsageError, match=r"found \d+ in \d+ areas; it needs 3000 in 8"):
        corpus.build(path, areas=areas, roots=[tmp_path])
    assert not path.exists()


def test_nothing_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from askance.demo import corpus; corpus.build(pathlib.Path(sys.argv[1]), per_label=300);"
        "loaded = {'scipy', 'sklearn', 'openai', 'onnx', 'rich', 'imaplib'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "documents.jsonl")], check=True, timeout=120)
