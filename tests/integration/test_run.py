"""`askance run` as a person meets it: broken pipes, blocked pipes, mistakes, and the days after the first."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from askance.cli.main import main; main()"]
WORDS = {"fruit": "apple pear plum", "metal": "iron zinc lead"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "documents.jsonl", range(900))
    return tmp_path


def write(path: Path, numbers: range, extra: bytes = b"") -> None:
    rows = []
    for number in numbers:
        label = list(WORDS)[number % 2]
        text = f"{WORDS[label].split()[number % 3]} number {number}"
        rows.append(json.dumps({"id": f"{path.stem}-{number}", "text": text, "gold": label}))
    path.write_bytes("\n".join(rows).encode() + b"\n" + extra)


def arguments(*more: str, name: str = "documents.jsonl", output: str = "predictions.jsonl") -> list[str]:
    teacher = ["--teacher", "replay", "--replay-field", "gold", "--set", "train.first_at=20"]
    return [*COMMAND, "run", "--input", name, "--output", output, *teacher, *more]


def run(folder: Path, *more: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = arguments(*more, **changes)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_reader_of_stderr_that_goes_away_does_not_stop_the_learning(folder: Path) -> None:
    process = subprocess.Popen(
        arguments("--rate", "300"), cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    assert process.wait(120) == 0
    # On a busy machine the stream is over before the first student is trained: what it left is learnt all the same.
    assert list((folder / "askance-state" / "registry" / "versions").glob("v*/manifest.json")), "no student was trained"


def test_the_next_day_goes_on_with_the_same_student_and_dead_letters(folder: Path) -> None:
    write(folder / "second.jsonl", range(200), b"broken\n")
    assert run(folder, "--rate", "0").returncode == 0
    second = run(folder, "--rate", "0", name="second.jsonl", output="second-predictions.jsonl")
    assert second.returncode == 0, second.stderr
    first = json.loads((folder / "second-predictions.jsonl").read_bytes().splitlines()[0])
    assert first["label"] is not None
    with (folder / "documents.jsonl").open("ab") as file:
        file.write(b"broken too\n")
    assert run(folder).returncode == 0
    dead = [json.loads(line)["topic"] for line in (folder / "dead-letters.jsonl").read_bytes().splitlines()]
    assert dead == ["second", "documents"]


def test_students_of_another_kind_take_over_and_are_served_without_what_trained_them(folder: Path) -> None:
    assert run(folder, "--rate", "0", "--set", "student.kind=svm").returncode == 0
    write(folder / "second.jsonl", range(900, 1300))
    second = run(folder, "--rate", "0", "--set", "student.kind=lda", name="second.jsonl", output="second-out.jsonl")
    assert second.returncode == 0, second.stderr
    listed = subprocess.run(
        [*COMMAND, "models", "list", "--json"], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    versions = {one["version"]: one for one in json.loads(listed.stdout)}
    kinds = [one["student"] for one in versions.values()]
    assert kinds[0] == "svm"
    assert kinds[-1] == "lda"
    # The SVM goes on answering until the other has been trained.
    by = [json.loads(line)["version"] for line in (folder / "second-out.jsonl").read_bytes().splitlines()]
    assert versions[by[0]]["student"] == "svm"

    # The LDA answers alone, in a process that has loaded nothing which trains.
    script = f"import sys\ntry:\n    {COMMAND[2]}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    write(folder / "third.jsonl", range(1300, 1320))
    newest = next(one["version"] for one in reversed(versions.values()) if one["student"] == "lda")
    promote = [*COMMAND, "models", "promote", newest]
    subprocess.run(promote, cwd=folder, capture_output=True, timeout=60, check=True)
    command = [sys.executable, "-c", script, "classify", "--input", "third.jsonl", "--output", "third-out.jsonl"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    loaded = {module.partition(".")[0] for module in done.stderr.split()}
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "transformers", "optimum", "sklearn", "scipy", "onnx", "joblib", "huggingface_hub"}
    predictions = [json.loads(line) for line in (folder / "third-out.jsonl").read_bytes().splitlines()]
    assert [one["version"] for one in predictions] == [newest] * 20
    assert [one["label"] for one in predictions] == ["fruit", "metal"] * 10


def test_a_teacher_that_replays_needs_no_extra_but_train(folder: Path) -> None:
    """As `make demo` installs it: nobody notices in an environment that has everything."""
    missing = ["openai", "aiokafka", "fsspec", "s3fs", "opentelemetry", "starlette", "tokenizers", "torch"]
    command = arguments("--rate", "0")
    command[2] = f"import sys; sys.modules |= dict.fromkeys({missing!r}); {command[2]}"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list((folder / "askance-state" / "registry" / "versions").glob("v*/manifest.json"))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("kafka", ["classify", "--bootstrap-servers", "127.0.0.1:1"]),
        (
            "kafka",
            [
                "teach",
                "--teacher",
                "replay",
                "--labels-from-field",
                "gold",
                "--input",
                "documents.jsonl",
                "--replay-field",
                "gold",
                "--bootstrap-servers",
                "127.0.0.1:1",
            ],
        ),
        ("kafka", ["train", "--labels", "a,b", "--bootstrap-servers", "127.0.0.1:1"]),
        ("kafka", ["topics", "create", "--bootstrap-servers", "127.0.0.1:1"]),
        ("kafka", ["replay", "--topic", "predictions", "--bootstrap-servers", "127.0.0.1:1"]),
        ("kafka", ["dead-letters", "list", "--bootstrap-servers", "127.0.0.1:1"]),
        ("kafka", ["page", "--bootstrap-servers", "127.0.0.1:1"]),
        ("s3", ["classify", "--input", "documents.jsonl", "--set", "registry=s3://models/askance"]),
    ],
)
def test_a_missing_extra_is_told_in_one_line(folder: Path, extra: str, words: list[str]) -> None:
    code = "import sys; sys.modules |= dict.fromkeys(['aiokafka', 'fsspec', 's3fs']); "
    command = [*COMMAND[:2], code + COMMAND[2], *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if not line.startswith("{")] == [done.stderr.splitlines()[-1]]
    assert f"pip install 'askance[{extra}]'" in done.stderr


def test_a_stream_of_which_nothing_can_be_read_has_failed(folder: Path) -> None:
    done = run(folder, "--text-field", "body", "--rate", "0")
    assert done.returncode == 1
    assert "not one of 900 documents could be read" in done.stdout
    assert "--text-field" in done.stdout


def test_training_once_in_vain_is_a_failure(folder: Path) -> None:
    assert run(folder, "--rate", "0").returncode == 0
    command = [*COMMAND, "train", "--input", "documents.jsonl", "--labels-from-field", "gold", "--once"]
    command += ["--set", "registry=/proc/registry"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout
    assert "stopped early  train: no new version" in done.stdout


def test_what_a_run_was_told_by_flags_holds_for_those_who_look_at_it(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write(folder / "documents.jsonl", range(900), extra=b"no document\n")
    registry = ["--set", f"registry={elsewhere / 'students'}", "--dead-letters", "dead.jsonl"]
    assert run(folder, "--rate", "0", "--share", "0.3", *registry).returncode == 0

    def look(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *words, "--state", str(folder / "askance-state")]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment
        )

    versions = [version["version"] for version in json.loads(look("models", "list", "--json").stdout)]
    assert versions
    assert sorted(versions) == sorted(path.name for path in (elsewhere / "students" / "versions").iterdir())
    letters = json.loads(look("dead-letters", "list", "--json").stdout)
    assert (letters["letters"], letters["source"]) == (1, str(folder / "dead.jsonl"))
    # Who says otherwise is heard.
    assert "no versions yet" in look("models", "list", ASKANCE_REGISTRY=str(tmp_path / "none")).stdout


@pytest.mark.parametrize("words", [["estimate"], ["report"]])
def test_looking_where_no_run_was_makes_no_ledger(tmp_path: Path, words: list[str]) -> None:
    command = [*COMMAND, *words, "--state", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "there is no ledger" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mistake", [["--set", "teacher.replay_field=nope"], ["--replay-file", "nowhere.jsonl"]])
def test_a_mistake_is_one_line_and_leaves_nothing_behind(folder: Path, mistake: list[str]) -> None:
    done = run(folder, *mistake)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [path.name for path in folder.iterdir()] == ["documents.jsonl"]


def test_a_failing_trainer_is_reported_while_the_stream_goes_on(folder: Path) -> None:
    command = arguments("--rate", "0")
    command[2] = (
        "from askance.training.process import ProcessTrainer\n"
        "async def train(self): raise KeyError('planted')\n"
        "ProcessTrainer.train = train\n" + command[2]
    )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "train stopped: KeyError: 'planted'" in done.stderr
    assert "stopped early  train: KeyError" in done.stdout
    assert "Traceback" not in done.stderr
    assert len((folder / "predictions.jsonl").read_bytes().splitlines()) == 900


def test_ctrl_c_ends_within_five_seconds_though_nobody_reads_stdout(folder: Path) -> None:
    write(folder / "large.jsonl", range(20_000))
    command = [*COMMAND, "classify", "--input", "large.jsonl"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 60)[0]
    # A pipe holds 64 KiB, a batch of predictions more: by now it is full.
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.wait(6)
    process.stdout.close()


def test_a_reader_of_stdout_that_goes_away_ends_the_run(folder: Path) -> None:
    command = [*COMMAND, "classify", "--input", "documents.jsonl", "--follow"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    write(folder / "more.jsonl", range(5000))
    with (folder / "documents.jsonl").open("ab") as file:
        file.write((folder / "more.jsonl").read_bytes())
    assert process.wait(20) == 1
    assert process.stderr is not None
    assert "standard output was closed" in process.stderr.read()
    process.stderr.close()


def test_logs_as_json_are_a_json_object_a_line(folder: Path) -> None:
    done = run(folder, "--rate", "0", "--set", "logs=json", "--set", "metrics.port=0")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["level"] for line in lines} <= {"info", "warning", "error"}
    assert all(line["at"].endswith("+00:00") for line in lines)
    assert any(line.get("logger") == "askance.showing" and "metrics at" in line["message"] for line in lines)
    assert any("documents" in line.get("run", {}) for line in lines)
