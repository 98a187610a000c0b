"""The layer table of ARCHITECTURE.md: who may import whom, and the one home of every third-party library."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2] / "python"

# From the ground up. A module imports from layers below its own, and from its own package.
LAYERS = (
    (
        "values",
        "errors records predictions calls augmentation labelset config directions manifest codec health telemetry keys "
        "lastrun logs tracing settings summary processors _kernel",
    ),
    ("protocols", "protocols"),
    ("rules", "rules charts report"),
    ("workers and adapters", "workers stream student teacher ledger registry training endpoint page"),
    ("app", "assembly teaching app forecast replaying deadletters showing api doctor"),
    ("demo", "demo"),
    ("cli", "cli"),
)
LEVELS = {name: level for level, (_, names) in enumerate(LAYERS) for name in names.split()}
# Within these layers modules may build on each other (never in a circle).
FREE_WITHIN = {LEVELS[name] for name in ("records", "rules", "app")}
# Adapters and workers never import each other, but for these.
# Training featurizes, and judges what it exported, with the very code that serves it.
TRAINING = {("training", "student"), ("training", "ledger"), ("training", "registry")}
SLOT = {("workers", "student.slot")}  # the slot is a value that two workers share; it loads nothing
ASSEMBLY = {("cli", "registry")}  # `askance models` needs a registry and nothing else that runs
ADAPTERS = {"stream", "student", "teacher", "ledger", "registry", "training", "endpoint", "page"}
NAMING = {"assembly", "teaching", "app", "forecast", "replaying", "deadletters", "showing", "api", "doctor"}

EVERYWHERE = frozenset({"msgspec", "numpy"})
HOMES = {
    "aiokafka": {"stream.kafka"},
    "fsspec": {"registry.objects"},
    "huggingface_hub": {"training.encoders"},
    "onnx": {"training.graph"},
    "onnxruntime": {"student.session", "training.transformer_export"},  # it brings the quantization of graphs
    "optimum": {"training.transformer_export"},
    "openai": {"teacher.openai"},
    "opentelemetry": {"tracing"},
    "prometheus_client": {"telemetry"},
    "pydantic": {"config", "keys", "settings", "cli.config"},
    "pydantic_settings": {"settings"},
    "rich": {"cli"},
    "scipy": {"training"},
    "sklearn": {"training"},
    "safetensors": {"training.encoder_graph"},
    "tokenizers": {"student.tokens"},
    "starlette": {"page"},
    "torch": {"training.transformer"},
    "transformers": {"training.transformer"},
    "typer": {"cli"},
    "uvicorn": {"page"},
    "yaml": {"settings"},
}


class Import(NamedTuple):
    importer: str
    imported: str
    line: int
    for_typing: bool
    lazy: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root / "askance").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path: Path, root: Path) -> Iterator[Import]:
    """Everything the file imports, as dotted names; those of askance without the leading `askance.`."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    module = module_of(path, root)
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    guarded: set[ast.AST] = set()
    nested: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            guarded.update(inner for statement in node.body for inner in ast.walk(statement))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nested.update(ast.walk(node))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ["askance", *package.split(".")] if package else ["askance"]
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            # `from askance.student import onnx` imports the module askance.student.onnx, if there is one.
            for alias in node.names:
                inner = root.joinpath(*base.split("."), alias.name)
                is_module = any(p.exists() for p in (inner, inner.with_suffix(".py"), inner.with_suffix(".pyi")))
                names.append(f"{base}.{alias.name}" if is_module else base)
        for name in dict.fromkeys(names):
            imported = "" if name == "askance" else name.removeprefix("askance.")
            yield Import(
                module, imported if name.startswith("askance") else name, node.lineno, node in guarded, node in nested
            )


def is_ours(name: str) -> bool:
    return name == "" or name.split(".")[0] in LEVELS


def within(name: str, home: str) -> bool:
    return name == home or name.startswith(f"{home}.")


def complaint(found: Import) -> str | None:
    """What is wrong with an import, or None."""
    if not is_ours(found.imported):
        library = found.imported.split(".")[0]
        if library in sys.stdlib_module_names or library in EVERYWHERE or library == "__future__":
            return None
        if library not in HOMES:
            return f"{found}: {library} has no home; give it one here and a reason in ARCHITECTURE.md"
        if any(within(found.importer, home) for home in HOMES[library]):
            return None
        return f"{found}: the home of {library} is {', '.join(sorted(HOMES[library]))}"
    if found.imported == "" or found.importer == "":
        return None
    if found.for_typing and within(found.imported, "protocols"):
        return None
    above, below = found.importer.split(".")[0], found.imported.split(".")[0]
    if above == below:
        # Workers share nothing but streams and the registry, `watch` and `classify` not even code.
        return f"{found}: workers do not know each other" if above == "workers" else None
    allowed = TRAINING | SLOT | ASSEMBLY
    if any(within(found.importer, importer) and within(found.imported, imported) for importer, imported in allowed):
        return None
    if LEVELS[below] > LEVELS[above]:
        return f"{found}, which is in a layer above"
    if LEVELS[below] == LEVELS[above] and LEVELS[above] not in FREE_WITHIN:
        return f"{found}: adapters and workers never import each other"
    if below in ADAPTERS and above not in NAMING:
        return f"{found}: only app, assembly and teaching name adapters"
    return None


def all_imports(root: Path = ROOT) -> list[Import]:
    return [found for path in sorted((root / "askance").rglob("*.py")) for found in imports_of(path, root)]


def test_every_module_stands_in_a_layer() -> None:
    modules = {
        module_of(path, ROOT).split(".")[0] for path in (ROOT / "askance").rglob("*.py*") if path.suffix != ".pyc"
    }

    assert modules - {""} <= set(LEVELS)


def test_modules_import_only_from_layers_below() -> None:
    complaints = [problem for found in all_imports() if (problem := complaint(found))]

    assert not complaints, "\n".join(complaints)


def cycle_of(imports: list[Import]) -> list[str] | None:
    """A circle of imports that Python would run into, or None; what only type checkers see makes none."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.imported and is_ours(found.imported) and not found.for_typing and found.importer != found.imported:
            graph.setdefault(found.importer, set()).add(found.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return None


def test_there_are_no_cycles() -> None:
    assert cycle_of(all_imports()) is None


def test_the_command_line_imports_its_commands_only_when_they_are_called() -> None:
    eager = [
        str(found)
        for found in all_imports()
        if found.importer in {"", "errors", "cli", "cli.main", "cli.options"} or within(found.importer, "cli.commands")
        if not (found.lazy or found.for_typing)
        if found.imported not in {"", "errors", "cli", "cli.options"} and not within(found.imported, "cli.commands")
        if found.imported.split(".")[0] not in {*sys.stdlib_module_names, "typer"}
    ]

    assert not eager


@pytest.mark.parametrize(
    ("path", "line", "says"),
    [
        ("rules/gate.py", "import askance.workers.teach", "layer above"),
        ("rules/gate.py", "from askance.ledger import SqliteLedger", "layer above"),
        ("records.py", "from askance import protocols", "layer above"),
        ("records.py", "from askance.protocols import Sink", "layer above"),
        ("teacher/replay.py", "from askance.student.onnx import load", "never import each other"),
        ("training/job.py", "from askance.teacher.openai import OpenAITeacher", "never import each other"),
        ("workers/teach.py", "from askance.ledger.sqlite import SqliteLedger", "never import each other"),
        ("workers/teach.py", "from . import train", "do not know each other"),
        ("workers/teach.py", "from askance import app", "layer above"),
        ("app.py", "from askance.cli.main import main", "layer above"),
        ("cli/run.py", "from askance.ledger import SqliteLedger", "only app, assembly and teaching"),
        ("cli/run.py", "import openai", "home of openai"),
        ("rules/gate.py", "import sklearn.linear_model", "home of sklearn"),
        ("rules/gate.py", "import left_pad", "has no home"),
        ("records.py", "if TYPE_CHECKING:\n    from askance.app import execute", "layer above"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, path: str, line: str, says: str) -> None:
    for name in ("ledger/sqlite", "workers/teach", "workers/train", "student/onnx", "app", "protocols", path[:-3]):
        file = tmp_path / "askance" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "askance" / path).write_text(line, encoding="utf-8")

    complaints = [problem for found in all_imports(tmp_path) if (problem := complaint(found))]

    assert len(complaints) == 1
    assert says in complaints[0]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("records.py", "if TYPE_CHECKING:\n    from askance.protocols import Sink"),
        ("training/job.py", "from askance.student.features import transform"),
        ("training/job.py", "from askance.ledger import SqliteLedger"),
        ("student/session.py", "from askance.student.features import transform\nimport onnxruntime"),
        ("teacher/openai.py", "from .prompt import messages\nfrom openai import AsyncOpenAI"),
        ("app.py", "from askance.student import onnx"),
        ("cli/run.py", "from askance import app, settings\nimport json"),
    ],
)
def test_a_right_import_is_let_through(tmp_path: Path, path: str, line: str) -> None:
    file = tmp_path / "askance" / path
    file.parent.mkdir(parents=True)
    file.write_text(line, encoding="utf-8")

    assert [problem for found in all_imports(tmp_path) if (problem := complaint(found))] == []


def test_a_cycle_is_found(tmp_path: Path) -> None:
    (tmp_path / "askance").mkdir()
    (tmp_path / "askance" / "codec.py").write_text("from askance import records", encoding="utf-8")
    (tmp_path / "askance" / "records.py").write_text("def f():\n    from askance.codec import x", encoding="utf-8")

    assert cycle_of(all_imports(tmp_path)) is not None
