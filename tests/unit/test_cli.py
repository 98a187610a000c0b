"""The command line: what it prints, what it turns into settings, what it refuses, and what it does not import."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from askance import __version__, app, settings
from askance.cli import config as config_command
from askance.cli import main as command_line
from askance.cli.commands import workers
from askance.cli.progress import Progress
from askance.errors import DamagedVersionError, RegistryError, UsageError
from askance.manifest import Estimate, FeaturizerConfig, Manifest, Verdict
from askance.records import LabelCounts
from askance.registry import DirectoryRegistry
from askance.summary import Snapshot, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from askance.config import Config

SUMMARY = Summary(
    documents=10,
    accepted=2,
    dead_letters=0,
    documents_now=10,
    seconds=1.0,
    labels=LabelCounts(labelled=2),
    versions=0,
    promoted=0,
    live=None,
    live_agreement=None,
    stream_agreement=None,
    swaps=0,
    predictions="-",
    dead_letter_path="dead-letters.jsonl",
)
SNAPSHOT = Snapshot(
    seconds=1.0,
    documents=10,
    accepted=2,
    dead_letters=0,
    documents_per_second=10.0,
    labels=LabelCounts(labelled=2),
    version=None,
    swaps=0,
    agreement=None,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # The width of a terminal that wraps no flag.
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


class Execution:
    """Stands in for `askance.app.execute` and remembers what it was called with."""

    def __init__(self) -> None:
        self.config: Config
        self.workers: frozenset[str]
        self.once: bool
        self.summary = SUMMARY

    def __call__(
        self,
        config: Config,
        workers: frozenset[str],
        *,
        listener: Callable[[Snapshot], None] | None = None,
        once: bool = False,
    ) -> Summary:
        self.config, self.workers, self.once = config, workers, once
        assert listener is not None
        for _ in range(10):
            listener(SNAPSHOT)
        return self.summary


@pytest.fixture
def execution(monkeypatch: pytest.MonkeyPatch) -> Execution:
    double = Execution()
    monkeypatch.setattr(app, "execute", double)
    return double


def ask(*arguments: str) -> Any:
    return CliRunner().invoke(command_line.app, list(arguments), catch_exceptions=False)


def refused(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[str, int]:
    """The line that `askance …` prints and the code it exits with."""
    monkeypatch.setattr(sys, "argv", ["askance", *arguments])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("askance: ")
    assert captured.err.count("\n") == 1
    assert isinstance(caught.value.code, int)
    return captured.err, caught.value.code


# What is imported


def imported_by(code: str, *arguments: str) -> set[str]:
    """The top-level modules loaded in a process of its own once `code` has run."""
    script = f"import sys\ntry:\n    {code}\nfinally:\n    print(*sys.modules, file=sys.stderr, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()} | {
        name for name in done.stderr.split() if name.startswith("askance.")
    }


def test_help_needs_nothing_but_typer() -> None:
    loaded = imported_by("from askance.cli.main import main; main()", "--help")

    heavy = {
        "numpy",
        "onnxruntime",
        "onnx",
        "pydantic",
        "pydantic_settings",
        "msgspec",
        "yaml",
        "asyncio",
        "openai",
        "rich",
    }
    assert not loaded & (heavy | {"sklearn", "scipy", "prometheus_client", "askance._kernel", "askance.config"})
    assert "typer" in loaded


@pytest.mark.skipif(find_spec("askance.app") is None, reason="needs askance.app")
def test_a_classify_worker_imports_neither_teachers_nor_trainers(folder: Path) -> None:
    (folder / "documents.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")

    loaded = imported_by(
        "from askance.cli.main import main; main()",
        *("classify", "--input", "documents.jsonl", "--output", "predictions.jsonl", "--quiet"),
    )

    assert len((folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert not loaded & {"torch", "transformers", "optimum", "sklearn", "scipy", "onnx", "openai", "httpx", "joblib"}


# What every command says of itself


def commands(group: Any = None, *prefix: str) -> list[list[str]]:
    group = group or typer.main.get_command(command_line.app)
    found = []
    for name, command in group.commands.items():
        words = [*prefix, name]
        found += commands(command, *words) if hasattr(command, "commands") else [words]
    return found


def test_the_commands() -> None:
    names = [" ".join(command) for command in commands()]

    assert names == [
        *("init", "demo", "run", "classify", "teach", "train", "doctor", "spend", "audit"),
        *("replay", "estimate", "simulate", "report", "page"),
        *("labels export", "labels import"),
        *("batch submit", "batch collect"),
        *("models list", "models show", "models promote", "models rollback"),
        "topics create",
        *("dead-letters list", "dead-letters replay"),
        *("config check", "config show"),
    ]


def test_the_shell_completes_commands_and_flags() -> None:
    def completed(*words: str) -> list[str]:
        asked = {"_ASKANCE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        told = subprocess.run(
            [sys.executable, "-c", "import sys; sys.argv[0] = 'askance'; from askance.cli.main import main; main()"],
            env={**os.environ, **asked}, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return told.stdout.split()

    assert completed("askance", "mod") == ["models"]
    assert completed("askance", "models", "r") == ["rollback"]
    assert "--per-second" in completed("askance", "run", "--per")
    assert completed("askance", "run", "--teacher", "o") == ["openai"]
    assert completed("askance", "classify", "--measure", "m") == ["margin"]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_a_help_with_an_example(command: list[str]) -> None:
    result = ask(*command, "--help")

    assert result.exit_code == 0
    assert f"askance {' '.join(command)}" in result.stdout.partition("Example:")[2]


def test_the_list_of_commands_cuts_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert "..." not in ask("--help").stdout.partition("Commands:")[2]


def test_version() -> None:
    assert ask("--version").stdout == f"askance {__version__}\n"


def test_an_unknown_flag_is_a_usage_error() -> None:
    assert ask("run", "--shar", "1").exit_code == 2


# From flags to settings


@pytest.mark.parametrize(
    ("command", "workers"),
    [("run", {"classify", "teach", "train"}), ("classify", {"classify"}), ("teach", {"teach"}), ("train", {"train"})],
)
def test_a_run_like_command_starts_its_workers(execution: Execution, command: str, workers: set[str]) -> None:
    assert ask(command).exit_code == 0
    assert execution.workers == workers
    assert execution.once is False


@pytest.mark.parametrize(
    ("flags", "key", "value"),
    [
        ("--input a.jsonl", "source.path", "a.jsonl"),
        ("-i a.jsonl", "source.path", "a.jsonl"),
        ("--output p.jsonl", "sink.path", "p.jsonl"),
        ("--dead-letters d.jsonl", "sink.dead_letters", "d.jsonl"),
        ("--format text", "source.format", "text"),
        ("--input a.jsonl --follow", "source.follow", True),
        ("--no-follow", "source.follow", False),
        ("--text-field body", "source.text_field", "body"),
        ("--id-field key", "source.id_field", "key"),
        ("--topic tickets", "source.topic", "tickets"),
        ("--rate 0", "source.rate", 0.0),
        ("--share 0.1", "budget.share", 0.1),
        ("--share 0.1", "budget.kind", "share"),
        ("--per-second 3", "budget.per_second", 3.0),
        ("--per-second 3", "budget.kind", "per_second"),
        ("--m-raru", "budget.kind", "m-raru"),
        ("--measure margin", "gate.measure", "margin"),
        ("--seed 7", "gate.seed", 7),
        ("--teacher openai", "teacher.kind", "openai"),
        ("--labels spam,ham", "teacher.labels", ("spam", "ham")),
        ("--labels-from-field gold", "teacher.labels_from_field", "gold"),
        ("--task Guess.", "teacher.task", "Guess."),
        ("--model gpt", "teacher.model", "gpt"),
        ("--replay-model llama", "teacher.model", "llama"),
        ("--replay-file r.jsonl", "teacher.replay_path", "r.jsonl"),
        ("--replay-field gold", "teacher.replay_field", "gold"),
        ("--base-url http://127.0.0.1:1/v1", "teacher.base_url", "http://127.0.0.1:1/v1"),
        ("--concurrency 3", "teacher.concurrency", 3),
        ("--state here", "state", Path("here")),
        ("--set train.first_at=40", "train.first_at", 40),
        ("--set batch=3 --set source.topic=null", "batch", 3),
        ("--share 0.1 --set budget.share=0.2", "budget.share", 0.2),
    ],
)
def test_a_flag_is_a_setting(execution: Execution, flags: str, key: str, value: object) -> None:
    result = ask("run", *flags.split())

    found: Any = execution.config
    for part in key.split("."):
        found = getattr(found, part)
    assert result.exit_code == 0
    assert found == value


def test_labels_come_from_a_file_too(execution: Execution) -> None:
    Path("labels.txt").write_text("spam\n\n ham, or what passes for it \n", encoding="utf-8")

    ask("run", "--labels", "@labels.txt")

    assert execution.config.teacher.labels == ("spam", "ham, or what passes for it")


def test_a_file_of_labels_without_its_mark_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("spam\nham\n", encoding="utf-8")

    line, exit_code = refused("run", "--labels", "labels.txt", monkeypatch=monkeypatch, capsys=capsys)

    assert "@labels.txt" in line
    assert exit_code == 2


def test_a_flag_for_the_label_set_replaces_the_files(execution: Execution) -> None:
    Path("askance.yaml").write_text("teacher: {labels: [a, b]}", encoding="utf-8")

    ask("run", "--labels-from-field", "gold")

    assert execution.config.teacher.labels is None


def test_every_flag_but_these_is_a_setting() -> None:
    others = {"context", "config", "assignments", "quiet", "json", "once", "dry_run", "m_raru"}
    names = {name for command in (workers.run, workers.teach) for name in command.__annotations__} - others

    assert {name.replace("__", ".") for name in names} - {"return"} <= set(settings.KEYS)


# What is printed


def test_predictions_on_stdout_stay_alone_there(execution: Execution) -> None:
    result = ask("run")

    assert result.stdout == ""
    assert "documents      10" in result.stderr


def test_the_summary_is_printed(execution: Execution) -> None:
    result = ask("run", "--output", "predictions.jsonl")

    assert result.stdout.splitlines() == SUMMARY.lines()
    # Not a terminal: a line in ten, as JSON.
    (line,) = result.stderr.splitlines()
    told = json.loads(line)
    assert msgspec.convert(told.pop("run"), Snapshot) == SNAPSHOT
    assert sorted(told) == ["at", "level"]


def test_lines_for_people_can_be_had_without_a_terminal(execution: Execution) -> None:
    result = ask("run", "--output", "predictions.jsonl", "--set", "logs=text")

    assert result.stderr.splitlines() == [SNAPSHOT.line()]


def test_documents_without_a_label_are_told_with_what_to_do() -> None:
    told = "\n".join(msgspec.structs.replace(SUMMARY, before_first=7, live="v0001-00000000").lines())
    early = "\n".join(msgspec.structs.replace(SUMMARY, before_first=7).lines())

    assert "7 of this run's came before the first student" in told
    assert "askance classify --topic again" in told
    assert "askance classify" not in early
    assert "no label" not in "\n".join(SUMMARY.lines())


def test_nothing_is_said_of_what_cannot_be_known() -> None:
    """`classify` on Kafka has no labels; `teach` and `train` there see no documents; a run may have seen none yet."""
    classify = msgspec.structs.replace(SUMMARY, labels=None)
    teach = msgspec.structs.replace(SUMMARY, documents=0, accepted=0, documents_now=0, seconds=0.0)
    empty = msgspec.structs.replace(teach, seconds=1.0)

    def told(summary: Summary) -> list[str]:
        return [line.split("  ")[0] for line in summary.lines()]

    assert told(classify) == ["documents", "teacher asked", "versions", "agreement", "predictions"]
    assert told(teach) == ["labels", "versions", "agreement", ""]
    assert told(empty) == ["documents", "labels", "versions", "agreement", "", "predictions"]
    assert "saved" not in "\n".join(empty.lines())
    assert "labels" not in msgspec.structs.replace(SNAPSHOT, labels=None).line()
    assert json.loads(msgspec.json.encode(classify))["labels"] is None


def test_the_summary_as_json(execution: Execution) -> None:
    result = ask("run", "--output", "predictions.jsonl", "--json", "--quiet")

    assert msgspec.json.decode(result.stdout, type=Summary) == SUMMARY
    assert result.stderr == ""


def test_a_worker_that_stopped_early_makes_the_command_fail(execution: Execution) -> None:
    execution.summary = msgspec.structs.replace(SUMMARY, failures=("teach: no key",))

    result = ask("run")

    assert result.exit_code == 1
    assert "stopped early  teach: no key" in result.stderr


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        ("run --share 7", "--share is 7.0: should be less than or equal to 1", 2),
        ("run --share 0.1 --m-raru", "exclude each other", 2),
        ("run --labels a,b --labels-from-field gold", "exclude each other", 2),
        ("run --labels one", "--labels is ('one',): a label set needs at least two labels", 2),
        ("run --labels @nowhere.txt", "nowhere.txt cannot be read: No such file or directory", 2),
        ("run --set budget.shaer=1", "did you mean budget.share?", 2),
        ("run --config nowhere.yaml", "nowhere.yaml: no such file", 2),
        ("run --input nowhere.jsonl", "nobody to ask; choose --teacher", 2),
        ("run --input nowhere.jsonl --teacher replay --labels a,b", "nowhere.jsonl", 2),
        ("classify --input nowhere.jsonl", "cannot read the input nowhere.jsonl", 2),
        ("classify --input .", "is a folder", 2),
        ("replay nowhere.jsonl", "nowhere.jsonl", 2),
        ("config check --config nowhere.yaml", "nowhere.yaml: no such file", 2),
        ("models show", "no version is live", 2),
        ("models show v0001-00000000", "there is no version 'v0001-00000000'", 2),
        ("models promote v0001-00000000", "there is no version 'v0001-00000000'", 2),
        ("models rollback", "nothing to roll back to", 1),
        ("init --config nowhere/askance.yaml", "nowhere/askance.yaml cannot be written", 2),
    ],
)
def test_a_mistake_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, says: str, code: int
) -> None:
    line, exit_code = refused(*arguments.split(), monkeypatch=monkeypatch, capsys=capsys)

    assert says in line
    assert exit_code == code


@pytest.mark.parametrize(("error", "code"), [(UsageError("no"), 2), (RegistryError("no\nand no"), 1)])
def test_an_error_at_run_time_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(app, "execute", fail)

    assert refused("run", monkeypatch=monkeypatch, capsys=capsys)[1] == code


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "execute", interrupt)
    monkeypatch.setattr(sys, "argv", ["askance", "run"])

    with pytest.raises(SystemExit) as caught:
        command_line.main()

    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "")


# init and config


def test_init_writes_a_file_that_is_in_order_and_does_not_overwrite_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("init").exit_code == 0
    assert ask("config", "check").stdout == "askance.yaml: in order\n"
    path = Path("askance.yaml")
    path.write_text("batch: 3", encoding="utf-8")

    line, code = refused("init", monkeypatch=monkeypatch, capsys=capsys)

    assert (line, code) == ("askance: askance.yaml exists; --force overwrites it\n", 2)
    assert path.read_text(encoding="utf-8") == "batch: 3"
    assert ask("init", "--force").exit_code == 0
    assert path.read_text(encoding="utf-8") == config_command.template()


def test_config_show_says_where_a_value_comes_from_and_hides_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKANCE_TEACHER__BASE_URL", "http://user:hush@host/v1")

    plain, as_json = ask("config", "show", "--set", "batch=3").stdout, ask("config", "show", "--json").stdout

    lines = [" ".join(line.split()) for line in plain.splitlines()]
    assert "teacher.base_url: http://***@host/v1 # ASKANCE_TEACHER__BASE_URL" in lines
    assert "batch: 3 # --set batch" in lines
    assert "hush" not in plain + as_json
    assert {"key": "gate.seed", "value": 0, "origin": "default"} in json.loads(as_json)


# models


def manifest(version: str, digests: dict[str, str], *, promoted: bool = True) -> Manifest:
    return Manifest(
        version=version,
        created_at="2025-01-02T03:04:05+00:00",
        student="logistic",
        labels=("ham", "spam"),
        temperature=1.5,
        featurizer=FeaturizerConfig(),
        featurizer_digest="0" * 64,
        parent=None,
        trained_on=80,
        held_out=20,
        training_digest="0" * 64,
        parity_error=1e-7,
        agreement=Estimate(value=0.9, low=0.85, high=0.95, documents=20, effective=15.0),
        verdict=Verdict(promoted=promoted, why="it is the first"),
        files=digests,
    )


@pytest.fixture
def versions(folder: Path) -> list[str]:
    registry = DirectoryRegistry(folder / "askance-state" / "registry")
    names = []
    for content in (b"one", b"two"):
        published = registry.publish({"student.onnx": content}, lambda name, files: manifest(name, dict(files)))
        registry.promote(published.version)
        names.append(published.version)
    return names


def test_models_list(versions: list[str]) -> None:
    lines = ask("models", "list").stdout.splitlines()

    assert lines[0].split()[:2] == ["version", "created"]
    assert lines[1].split()[0] == versions[0]
    assert lines[2].split()[:2] == ["*", versions[1]]
    assert "90.0% [85.0%, 95.0%]" in lines[2]


def test_models_list_as_json(versions: list[str]) -> None:
    rows = json.loads(ask("models", "list", "--json").stdout)

    assert [(row["version"], row["live"]) for row in rows] == [(versions[0], False), (versions[1], True)]


def test_models_list_without_versions() -> None:
    assert ask("models", "list", "--state", "elsewhere").stdout == "no versions yet in elsewhere/registry\n"


def test_models_show(versions: list[str]) -> None:
    assert f"{versions[1]} (live)" in ask("models", "show").stdout
    shown = json.loads(ask("models", "show", versions[0], "--json").stdout)
    assert (shown["version"], shown["live"], shown["labels"]) == (versions[0], False, ["ham", "spam"])


def test_models_show_finds_a_damaged_file(
    versions: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("askance-state", "registry", "versions", versions[1], "student.onnx").write_bytes(b"tw0")

    line, code = refused("models", "show", monkeypatch=monkeypatch, capsys=capsys)

    assert "student.onnx" in line
    assert code == 1


def test_what_cannot_be_served_is_not_promoted(versions: list[str]) -> None:
    before = json.loads(ask("models", "list", "--json").stdout)
    with pytest.raises(DamagedVersionError):
        ask("models", "promote", versions[0])
    assert json.loads(ask("models", "list", "--json").stdout) == before


def test_models_rollback_and_promote(versions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = versions
    # These versions hold no real student.
    monkeypatch.setattr("askance.assembly.load", lambda registry, version: None)

    assert ask("models", "rollback").stdout == f"{first} is live (before: {second})\n"
    assert json.loads(ask("models", "promote", second, "--json").stdout) == {"live": second, "before": first}


# Progress


def test_progress_on_a_terminal_is_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(quiet=False, logs="auto")
    capsys.readouterr()

    progress.show(SNAPSHOT)
    progress.show(SNAPSHOT)

    assert progress._stands
    assert "\n" not in capsys.readouterr().err


def on_a_terminal(*arguments: str, code: int = 0) -> tuple[str, str]:
    """What a command of its own process prints on stdout, and on stderr, which is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from askance.cli.main import main; main()", *arguments]
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
            os.close(theirs)
            shown = b""
            # Linux says so when the last one that had the terminal open is gone.
            with contextlib.suppress(OSError):
                while more := terminal.read(65_536):
                    shown += more
            assert process.stdout is not None
            said = process.stdout.read()
        assert process.returncode == code, shown
    return said, shown.decode()


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_what_takes_a_while_shows_a_bar_on_a_terminal_alone(tmp_path: Path, json_flag: list[str]) -> None:
    rows = [
        {"id": f"d{n}", "label": "a", "confidence": 0.9, "uncertainty": 0.1, "propensity": 1.0, "accepted": True}
        for n in range(50)
    ]
    Path("predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("truth.jsonl").write_text("".join(json.dumps({"id": row["id"], "gold": "a"}) + "\n" for row in rows))
    command = ["simulate", "predictions.jsonl", "--truth", "truth.jsonl", *json_flag]

    said, shown = on_a_terminal(*command)
    elsewhere = ask(*command)

    assert "reading predictions.jsonl" in shown
    assert "simulating" in shown
    assert shown.endswith("\x1b[2K"), "nothing of it stays"
    assert elsewhere.stderr == ""
    assert said == elsewhere.stdout != ""


def test_a_bar_is_gone_before_a_mistake_is_told(tmp_path: Path) -> None:
    Path("[a] file.jsonl").write_text("[]\n", encoding="utf-8")

    said, shown = on_a_terminal("simulate", "[a] file.jsonl", "--truth", "[a] file.jsonl", code=2)

    assert said == ""
    before, erased, told = shown.rpartition("\x1b[2K")
    assert "reading [a] file.jsonl" in before
    assert told.startswith("askance: [a] file.jsonl, line 1: not what was expected")
    assert erased


def test_every_command_has_an_example_and_a_line_on_what_it_does() -> None:
    def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        for name, child in (inner or {}).items():
            yield from leaves(child, (*path, name))

    found = dict(leaves(typer.main.get_command(command_line.app)))

    assert len(found) >= 20
    for path, command in found.items():
        assert command.help, path
        assert command.epilog is not None, path
        assert command.epilog.startswith("Example: "), path
        words = command.epilog.removeprefix("Example: ")
        # What stands before a pipe is somebody else's.
        assert f"askance {' '.join(path)}" in words, path
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {"-f"}
        own = words.partition(f"askance {' '.join(path)}")[2].partition("&&")[0]
        assert {word for word in own.split() if word.startswith("-") and word != "-"} <= known, path


def test_a_second_worker_of_a_kind_on_the_same_state_is_refused(tmp_path: Path) -> None:
    from askance import assembly
    from askance.config import Config
    from askance.errors import UsageError

    config = Config(state=tmp_path / "state")
    with (
        assembly.exclusive(config, "classify"),
        assembly.exclusive(config, "teach"),
        pytest.raises(UsageError, match=r"another classify worker uses .*--state"),
        assembly.exclusive(config, "classify"),
    ):
        pytest.fail("two workers share a state folder")
    with assembly.exclusive(config, "classify"):
        pass


# Estimates


def test_estimate_says_what_is_known_of_a_run_and_what_is_missing(tmp_path: Path) -> None:
    from askance.ledger import SqliteLedger
    from askance.records import Answer, Coordinates, Label, Outcome, Position, Query, Tally
    from tests.doubles import give

    ledger = SqliteLedger(tmp_path / "ledger.db")
    queries = [
        Query(Coordinates("t", 0, n), f"d{n}", "text", "spam", 0.9, 0.2, 0.5, "v0001-00000000", 0) for n in range(60)
    ]
    tally = Tally(0, "v0001-00000000", 130, 10, 108.0, (0,) * 4 + (120,) + (0,) * 15, {"spam": 120})
    ledger.commit(queries, [Position("t", 0, 130, 130, 60, 0, tallies=(tally,))], None)
    give(
        ledger,
        [
            Label(one.coordinates, Outcome.LABELLED, "ham" if n < 6 else "spam", "teacher", Answer("x"), 0.1)
            if n < 50
            else Label(one.coordinates, Outcome.FAILED, None, "teacher", Answer(None, error="x"), 0.1)
            for n, one in enumerate(queries)
        ],
    )
    ledger.close()
    gold = tmp_path / "gold.jsonl"
    gold.write_text("".join(json.dumps({"id": f"d{n}", "gold": "spam"}) + "\n" for n in range(60)))

    text = ask("estimate", "--state", str(tmp_path), "--gold", str(gold))
    found = json.loads(ask("estimate", "--state", str(tmp_path), "--json").stdout)

    assert text.exit_code == 0
    assert "130 documents, 10 of them drawn at probability 0" in text.stdout
    assert "10 failed, 50 labelled; 83.3% answered" in text.stdout
    assert "against gold   100.0%" in text.stdout
    assert "ham for spam: about 14 (seen 6 times)" in text.stdout
    assert found["agreement"]["low"] < 0.88 < found["agreement"]["high"]
    assert "not enough labels yet" in ask("estimate", "--state", str(tmp_path), "--since", "5000").stdout

    ledger = SqliteLedger(tmp_path / "ledger.db")
    waiting = Query(Coordinates("t", 0, 130), "d130", "text", "spam", 0.9, 0.2, 0.5, "v0001-00000000", 0)
    ledger.commit([waiting], [], None)
    ledger.close()
    page = tmp_path / "page.html"
    said = ask("report", "--state", str(tmp_path), "-o", str(page)).stdout
    assert "130 documents, 60 teacher calls, 1 waiting" in said
    assert "<h1" in page.read_text(encoding="utf-8")


def test_estimate_names_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failure(*arguments: str) -> str:
        return refused(*arguments, monkeypatch=monkeypatch, capsys=capsys)[0]

    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"id": "a"}\n')
    assert "there is no such folder" in failure("estimate", "--state", str(tmp_path / "none"))
    assert "no line has both 'id' and 'gold'" in failure("estimate", "--state", str(tmp_path), "--gold", str(gold))
    assert "there is no such folder" in failure("report", "--state", str(tmp_path / "none"))
    assert "there is no version" in failure("estimate", "--state", str(tmp_path), "--version", "v0009-00000000")


def test_a_shell_is_offered_the_keys_of_the_spend() -> None:
    command: Any = typer.main.get_command(command_line.app)
    by = next(param for param in command.commands["spend"].params if param.name == "by")
    context = typer.Context(command.commands["spend"])

    assert [item.value for item in by.shell_complete(context, "")] == ["day", "model", "version", "label"]
    assert [item.value for item in by.shell_complete(context, "m")] == ["model"]


def test_the_summary_says_why_queries_still_wait_for_a_paused_teacher() -> None:
    paused = msgspec.structs.replace(SUMMARY, paused="the server answered 500")
    assert not any("paused" in line for line in paused.lines()), "nothing waits"
    waiting = msgspec.structs.replace(paused, labels=LabelCounts(pending=3))
    assert "teacher        paused: the server answered 500" in waiting.lines()
