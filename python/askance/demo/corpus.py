"""The demo's documents: docstrings that are already on the machine, labelled with the library or area they are from.

Owns the demo's honesty: nothing is downloaded or imported, the texts are real, the classes overlap as real ones do,
and the teacher's mistakes are drawn by key, so that two machines with the same files see the same demo.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from askance._kernel import uniform
from askance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

AREAS: Mapping[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "scipy.stats": ("scipy/stats",),
    "scipy.signal+ndimage": ("scipy/signal", "scipy/ndimage", "scipy/fft", "scipy/fftpack"),
    "scipy.optimize+linalg": ("scipy/optimize", "scipy/linalg", "scipy/integrate", "scipy/interpolate"),
    "scipy.special+sparse": ("scipy/special", "scipy/sparse", "scipy/spatial", "scipy/cluster"),
    "scikit-learn": ("sklearn",),
    "onnx": ("onnxruntime", "onnx"),
    "openai": ("openai",),
    "pydantic": ("pydantic", "pydantic_core", "pydantic_settings"),
    "concurrency": (
        *("asyncio", "concurrent", "multiprocessing", "threading", "subprocess", "queue", "sched", "selectors"),
        *("_threading_local", "_weakrefset", "signal", "contextlib", "contextvars", "anyio", "joblib"),
    ),
    "network": (
        *("email", "http", "urllib", "mailbox", "imaplib", "smtplib", "poplib", "ftplib", "socket", "socketserver"),
        *("ssl", "ipaddress", "wsgiref", "xmlrpc", "nntplib", "telnetlib", "netrc", "cgi", "webbrowser"),
    ),
    "terminal": (
        *("rich", "typer", "click", "pygments", "argparse", "optparse", "getopt", "getpass", "cmd", "curses"),
        *("code", "codeop", "rlcompleter", "_pyrepl", "shlex", "tty", "pty"),
    ),
}
"""Label to the packages and modules it is taken from: what every Python and askance's own dependencies bring."""

DOCUMENTS_PER_LABEL = 650
LEAST_LABELS = 8
LEAST_DOCUMENTS = 3_000
SHORTEST, LONGEST = 60, 400
"""Characters. Below 60 a docstring says too little of where it is from ("Return the logarithm of x.")."""
TEACHER_ERRORS = 0.03
TEACHER = "demo"

_SKIPPED = frozenset({"test", "tests", "conftest.py", "externals", "_vendor", "__pycache__"})
_UNDERLINE = re.compile(r"[-=~^*]{3,}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Corpus(NamedTuple):
    """How many documents of each label were written, and in how many the teacher is wrong."""

    counts: Mapping[str, int]
    teacher_errors: int

    @property
    def documents(self) -> int:
        """All documents."""
        return sum(self.counts.values())


class _Docstring(NamedTuple):
    id: str
    text: str
    label: str


def tidy(docstring: str) -> str | None:
    """The beginning of a docstring on one line, 60 to 400 characters; None when it says too little.

    >>> tidy("Wait for all futures,   then\\nreturn their results.\\n\\nParameters\\n----------\\nx: int")
    'Wait for all futures, then return their results. Parameters x: int'
    >>> tidy("Return the logarithm of x.") is None
    True
    """
    text = " ".join(_UNDERLINE.sub(" ", docstring).split())
    if len(text) > LONGEST:
        text = text[: LONGEST + 1].rpartition(" ")[0] or text[:LONGEST]
    # A docstring may hold an escaped lone surrogate, which is not text.
    return text if len(text) >= SHORTEST and not _SURROGATE.search(text) else None


def docstrings(source: bytes) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring in a module, and of those `add_newdoc` attaches to compiled functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's invalid escapes
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            return
    for node in ast.walk(tree):
        match node:
            case (
                ast.Module(body=[ast.Expr(value=ast.Constant(value=str(text), lineno=line)), *_])
                | ast.ClassDef(body=[ast.Expr(value=ast.Constant(value=str(text), lineno=line)), *_])
                | ast.FunctionDef(body=[ast.Expr(value=ast.Constant(value=str(text), lineno=line)), *_])
                | ast.AsyncFunctionDef(body=[ast.Expr(value=ast.Constant(value=str(text), lineno=line)), *_])
            ):
                yield line, text
            case ast.Call(func=ast.Name(id="add_newdoc"), args=[*_, ast.Constant(value=str(text), lineno=line)]):
                yield line, text


def build(
    path: Path,
    *,
    seed: int = 0,
    areas: Mapping[str, tuple[str, ...]] = AREAS,
    roots: Sequence[Path] | None = None,
    per_label: int = DOCUMENTS_PER_LABEL,
) -> Corpus:
    """Write the demo's documents to `path`, one JSON object a line, in an order drawn by key.

    `roots` are searched for the areas' files, the first hit wins (default: `sys.path`). The same files and the same
    seed give the same bytes. Raises `UsageError` below 8 labels or 3,000 documents.
    """
    where = [Path(entry) for entry in sys.path if entry] if roots is None else roots
    seen: set[str] = set()
    found: list[_Docstring] = []
    for label, modules in areas.items():
        unseen = (one for one in _area(label, modules, where, seed) if one.text not in seen)
        for one in itertools.islice(unseen, per_label):
            seen.add(one.text)
            found.append(one)
    counts = {label: sum(one.label == label for one in found) for label in areas}
    # A label of a few dozen documents is a dependency that is not there.
    labels = [label for label in areas if counts[label] >= per_label // 10]
    found = [one for one in found if one.label in labels]
    if len(labels) < LEAST_LABELS or len(found) < LEAST_DOCUMENTS:
        msg = (
            f"the demo reads the docstrings of installed packages and found {len(found)} in {len(labels)} areas; "
            f"it needs {LEAST_DOCUMENTS} in {LEAST_LABELS}: `pip install 'askance[train,openai]'`"
        )
        raise UsageError(msg)
    order = np.argsort(_draws("order", seed, len(found)), kind="stable")
    wrong = _draws("teacher is wrong", seed, len(found)) < TEACHER_ERRORS
    shift = 1 + (_draws("wrong label", seed, len(found)) * (len(labels) - 1)).astype(np.int64)
    lines = []
    for place, one in enumerate(found[index] for index in order.tolist()):
        gold = labels.index(one.label)
        answer = labels[(gold + int(shift[place])) % len(labels)] if wrong[place] else one.label
        lines.append(
            {
                "id": one.id,
                "text": one.text,
                "gold": one.label,
                "teachers": [{"model": TEACHER, "label": answer, "confidence": None}],
            }
        )
    path.write_bytes(msgspec.json.Encoder().encode_lines(lines))
    return Corpus({label: counts[label] for label in labels}, int(wrong.sum()))


def _area(label: str, modules: Sequence[str], roots: Sequence[Path], seed: int) -> Iterator[_Docstring]:
    files: list[tuple[Path, Path]] = []
    for module in modules:
        for root in roots:
            if found := _files(root / module):
                files += [(root, file) for file in found]
                break
    for index in np.argsort(_draws(label, seed, len(files)), kind="stable").tolist():
        root, file = files[index]
        name = file.relative_to(root).as_posix()
        for line, docstring in docstrings(file.read_bytes()):
            if (text := tidy(docstring)) is not None:
                yield _Docstring(f"{name}:{line}", text, label)


def _files(module: Path) -> list[Path]:
    """A package's or a module's files, in an order that depends on their names alone."""
    if module.is_dir():
        return sorted(file for file in module.rglob("*.py") if _SKIPPED.isdisjoint(file.relative_to(module).parts))
    file = module.with_suffix(".py")
    return [file] if file.is_file() else []


def _draws(purpose: str, seed: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    offsets = np.arange(count, dtype=np.int64)
    partitions = np.zeros(count, dtype=np.int32)
    return uniform(seed=seed, topic=f"demo: {purpose}", partitions=partitions, offsets=offsets)
