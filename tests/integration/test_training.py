from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from askance.errors import ParityError, TrainingError
from askance.ledger import SqliteLedger
from askance.manifest import FeaturizerConfig, Manifest
from askance.records import Answer, Coordinates, Label, Labelled, Outcome, Query
from askance.registry import DirectoryRegistry
from askance.rules.split import is_held_out
from askance.student import features, onnx
from askance.training import evaluation, inputs, linear, parity
from askance.training.calibration import HIGHEST, LOWEST, fit_temperature, tempered
from askance.training.graph import Graph
from askance.training.job import NICENESS
from askance.training.pipeline import split, train
from askance.training.process import ProcessTrainer
from askance.training.spec import Spec
from tests.doubles import give

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# Whatever the tests themselves are started with.
NICE = min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)
LABELS = ("animals", "boats", "cooking")
WORDS = {
    "animals": ["cat", "dog", "horse", "fur", "paw", "tail", "bark", "meow", "zoo", "wild", "feed", "vet"],
    "boats": ["sail", "mast", "hull", "anchor", "harbour", "wind", "keel", "deck", "port", "row", "captain", "tide"],
    "cooking": ["salt", "pan", "oven", "stir", "boil", "flour", "sugar", "bake", "knife", "dish", "taste", "feed"],
}
COMMON = [f"common{i}" for i in range(40)]


def labelled(count: int, *, labels: Sequence[str] = LABELS, seed: int = 0, wrong: float = 0.0) -> list[Labelled]:
    """Texts of a few classes, whose words overlap, and whose labels are wrong at a rate."""
    rng = np.random.default_rng(seed)
    rows = []
    for offset in range(count):
        label = labels[offset % len(labels)]
        words = [*rng.choice(WORDS[label], 2), *rng.choice(COMMON, 8), rng.choice(WORDS[str(rng.choice(LABELS))])]
        given = str(rng.choice(labels)) if rng.random() < wrong else label
        text = " ".join(str(word) for word in rng.permutation(words))
        rows.append(Labelled(Coordinates("t", 0, offset), text, given, None, None, 1.0, None))
    return rows


def write(state: Path, rows: Sequence[Labelled]) -> None:
    with closing(SqliteLedger(state / "ledger.db")) as ledger:
        ledger.commit(
            [
                Query(row.coordinates, str(row.coordinates), row.text, None, None, 1.0, row.propensity, None, 0)
                for row in rows
            ],
            (),
            None,
        )
        give(
            ledger,
            [Label(row.coordinates, Outcome.LABELLED, row.label, "test", Answer(row.label), 0.0) for row in rows],
        )


def spec(state: Path, **changed: object) -> Spec:
    settings: dict[str, object] = {
        "ledger": str(state / "ledger.db"),
        "registry": str(state / "registry"),
        "labels": LABELS,
        "featurizer": FeaturizerConfig(bits=14),
    }
    return Spec(**settings | changed)  # type: ignore[arg-type]


def registry(state: Path) -> DirectoryRegistry:
    def fail(text: str) -> None:
        pytest.fail(text)

    return DirectoryRegistry(state / "registry", on_warning=fail)


def graph(state: Path, manifest: Manifest) -> bytes:
    return (registry(state).verified(manifest.version) / "student.onnx").read_bytes()


def load(state: Path, manifest: Manifest) -> onnx.OnnxStudent:
    return onnx.load(registry(state).verified(manifest.version), manifest)


def transform(texts: Sequence[str], config: FeaturizerConfig) -> features.Features:
    return features.Features(*features.build(config).transform(list(texts)))


# A training publishes a version that answers like the one that was trained.


def test_a_training_publishes_a_version_with_its_pedigree(tmp_path: Path) -> None:
    rows = labelled(400, wrong=0.05)
    write(tmp_path, rows)
    manifest = train(spec(tmp_path))
    held_out = [row for row in rows if is_held_out(row.text, 0.2)]
    assert (manifest.held_out, manifest.trained_on) == (len(held_out), len(rows) - len(held_out))
    assert registry(tmp_path).manifest(manifest.version) == manifest
    assert manifest.parent is None
    assert (manifest.verdict.promoted, manifest.verdict.why) == (True, "the first version")
    assert manifest.parity_error < 1e-5
    assert LOWEST <= manifest.temperature <= HIGHEST
    assert manifest.agreement is not None
    assert manifest.agreement.value > 0.75
    student = load(tmp_path, manifest)
    agrees = [
        student.labels[column] == row.label
        for column, row in zip(student.logits([row.text for row in held_out]).argmax(axis=1), held_out, strict=True)
    ]
    assert manifest.agreement.value == pytest.approx(np.mean(agrees))


def reference_probabilities(
    rows: Sequence[Labelled], labels: Sequence[str], texts: Sequence[str]
) -> NDArray[np.float64]:
    """The obvious way: scikit-learn on a dense matrix of all columns."""
    config = FeaturizerConfig(bits=14)

    def dense(texts: Sequence[str]) -> NDArray[np.float64]:
        indptr, indices, values = transform(texts, config)
        matrix = np.zeros((len(texts), 2**14))
        for row in range(len(texts)):
            matrix[row, indices[indptr[row] : indptr[row + 1]]] = values[indptr[row] : indptr[row + 1]]
        return matrix

    matrix = dense([row.text for row in rows])
    idf = np.log((1 + len(rows)) / (1 + (matrix > 0).sum(axis=0))) + 1
    seen = (matrix > 0).any(axis=0)
    model = LogisticRegression(C=linear.C, class_weight="balanced", max_iter=linear.MAX_ITERATIONS)
    model.fit(matrix * idf * seen, [row.label for row in rows])
    probabilities = np.zeros((len(texts), len(labels)))
    places = [labels.index(label) for label in model.classes_]
    probabilities[:, places] = model.predict_proba(dense(texts) * idf * seen)
    return probabilities


@pytest.mark.parametrize(
    ("labels", "taught"),
    [
        pytest.param(LABELS, LABELS, id="all classes"),
        pytest.param(LABELS[:2], LABELS[:2], id="two classes"),
        pytest.param(LABELS, (LABELS[0], LABELS[2]), id="a class without a label"),
    ],
)
def test_the_exported_probabilities_are_scikit_learns(
    tmp_path: Path, labels: tuple[str, ...], taught: tuple[str, ...]
) -> None:
    rows = labelled(150, labels=taught, wrong=0.1)
    write(tmp_path, rows)
    manifest = train(spec(tmp_path, labels=labels))
    student = load(tmp_path, manifest)
    texts = [*(row.text for row in labelled(200, seed=1)), "", "words never seen", "cat"]
    probabilities = tempered(student.logits(texts), 1.0)
    fitted_on = [row for row in rows if not is_held_out(row.text, 0.2)]
    np.testing.assert_allclose(probabilities, reference_probabilities(fitted_on, labels, texts), rtol=0, atol=1e-4)
    untaught = [column for column, label in enumerate(labels) if label not in taught]
    assert not probabilities[:, untaught].any()
    assert not tempered(student.logits(texts), HIGHEST)[:, untaught].any()


def test_training_is_the_same_whatever_the_order_of_the_labels(tmp_path: Path) -> None:
    rows = labelled(200)
    manifests = []
    for name, order in [("one", rows), ("other", rows[::-1])]:
        tmp_path.joinpath(name).mkdir()
        write(tmp_path / name, order)
        manifests.append(train(spec(tmp_path / name)))
    one, other = manifests
    assert graph(tmp_path / "one", one) == graph(tmp_path / "other", other)
    assert one == msgspec.structs.replace(other, created_at=one.created_at)


# Held-out labels, and labels outside the set, are never trained on.


def changed(rows: Sequence[Labelled], *, held_out: bool = True, share: float = 0.2) -> list[Labelled]:
    """The rows, with every label of one side of the split replaced by the next class."""
    return [
        msgspec.structs.replace(row, label=LABELS[(LABELS.index(row.label) + 1) % 3])
        if is_held_out(row.text, share) == held_out
        else row
        for row in rows
    ]


def test_held_out_labels_change_nothing_that_is_learnt(tmp_path: Path) -> None:
    rows = labelled(200)
    graphs = {}
    for name, given in {
        "as is": rows,
        "held out": changed(rows, held_out=True),
        "trained on": changed(rows, held_out=False),
    }.items():
        tmp_path.joinpath(name).mkdir()
        write(tmp_path / name, given)
        manifest = train(spec(tmp_path / name))
        graphs[name] = (graph(tmp_path / name, manifest), manifest.temperature, manifest.training_digest)
    assert graphs["as is"] == graphs["held out"]
    assert graphs["as is"] != graphs["trained on"]


def test_duplicates_fall_on_one_side() -> None:
    rows = labelled(100)
    twins = [
        msgspec.structs.replace(row, coordinates=Coordinates("u", 0, row.coordinates.offset), label=LABELS[0])
        for row in rows
    ]
    training, held_out = split([*rows, *twins], labels=LABELS, share=0.2)
    assert not {row.text for row in training} & {row.text for row in held_out}
    assert len(training) + len(held_out) == 200


def test_labels_outside_the_set_are_never_used(tmp_path: Path) -> None:
    rows = labelled(300)
    known = [row for row in rows if row.label != "cooking"]
    graphs = []
    for name, given in [("all", rows), ("known", known)]:
        tmp_path.joinpath(name).mkdir()
        write(tmp_path / name, given)
        manifest = train(spec(tmp_path / name, labels=LABELS[:2]))
        assert manifest.trained_on + manifest.held_out == len(known)
        graphs.append(graph(tmp_path / name, manifest))
    assert graphs[0] == graphs[1]


# What is refused.


def skew(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    """Let every exported student give its first class so much more than it should."""
    exact = Graph.serialised

    def skewed(graph: Graph, value: str, *, name: str, width: int) -> bytes:
        bias = np.array([by, *[0.0] * (width - 1)], dtype=np.float32)
        return exact(graph, graph.add("Add", value, graph.put(bias)), name=name, width=width)

    monkeypatch.setattr(Graph, "serialised", skewed)


def test_a_student_without_parity_is_refused_and_the_worst_document_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, labelled(200))
    skew(monkeypatch, 2e-3)
    with pytest.raises(
        ParityError, match=r"probability of '\w+' for the document '.*' differs from the trained one's by"
    ):
        train(spec(tmp_path))
    assert registry(tmp_path).versions() == []
    assert not tmp_path.joinpath("registry").exists()
    # The same student passes where the tolerance allows for it.
    assert train(spec(tmp_path, parity_tolerance=0.1)).parity_error > 1e-4


def test_parity_is_checked_on_training_rows_when_nothing_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, labelled(60))
    settings = spec(tmp_path, holdout_share=1e-12)
    manifest = train(settings)
    assert (manifest.held_out, manifest.agreement) == (0, None)
    write(tmp_path, labelled(80)[60:])
    skew(monkeypatch, 0.1)
    with pytest.raises(ParityError):
        train(settings)


def test_a_student_that_gives_nan_has_no_parity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, labelled(60))
    skew(monkeypatch, np.nan)
    with pytest.raises(ParityError, match="by inf"):
        train(spec(tmp_path))


@pytest.mark.parametrize("rows", [[], labelled(50, labels=LABELS[:1])], ids=["no label", "one class"])
def test_too_few_classes_are_refused(tmp_path: Path, rows: list[Labelled]) -> None:
    write(tmp_path, rows)
    with pytest.raises(
        TrainingError, match=r"too few classes: the \d+ valid labels to train on name [01] and at least 2"
    ):
        train(spec(tmp_path))


def test_documents_without_a_word_are_refused(tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row, text="!" * (1 + row.coordinates.offset)) for row in labelled(50)]
    write(tmp_path, rows)
    with pytest.raises(TrainingError, match=r"none of the \d+ labelled documents holds a word"):
        train(spec(tmp_path))


def test_a_handful_of_labels_is_enough(tmp_path: Path) -> None:
    write(tmp_path, labelled(12))
    manifest = train(spec(tmp_path))
    assert (manifest.temperature, manifest.agreement) == (1.0, None)
    assert load(tmp_path, manifest).logits(["cat"]).shape == (1, 3)


# The verdict.


def test_a_worse_challenger_is_published_but_not_promoted(tmp_path: Path) -> None:
    rows = labelled(600)
    for name, given in [("good", rows), ("bad", changed(rows, held_out=False))]:
        tmp_path.joinpath(name).mkdir()
        write(tmp_path / name, given)
    settings = spec(tmp_path / "good")
    champion = train(settings)
    registry(tmp_path / "good").promote(champion.version)
    challenger = train(msgspec.structs.replace(settings, ledger=str(tmp_path / "bad" / "ledger.db")))
    verdict = challenger.verdict
    assert not verdict.promoted
    assert verdict.why.startswith(f"worse than {champion.version}: agreement differs by -")
    assert verdict.difference is not None
    assert verdict.difference.high < 0
    assert (challenger.parent, verdict.champion) == (champion.version, champion.version)
    assert registry(tmp_path / "good").manifest(challenger.version) == challenger
    # And the other way round.
    registry(tmp_path / "good").promote(challenger.version)
    better = train(settings).verdict
    assert better.promoted
    assert better.why.startswith("better than")


def test_an_equal_challenger_and_a_small_holdout_are_promoted(tmp_path: Path) -> None:
    write(tmp_path, labelled(200))
    registry(tmp_path).promote(train(spec(tmp_path)).version)
    write(tmp_path, labelled(210)[200:])
    assert "not shown to be worse than" in train(spec(tmp_path)).verdict.why
    verdict = train(spec(tmp_path, holdout_share=0.02)).verdict
    assert verdict.promoted
    assert "too few held-out labels to compare" in verdict.why


def test_a_damaged_champion_does_not_stop_training(tmp_path: Path) -> None:
    write(tmp_path, labelled(200))
    champion = train(spec(tmp_path))
    registry(tmp_path).promote(champion.version)
    tmp_path.joinpath("registry", "versions", champion.version, "student.onnx").write_bytes(b"damaged")
    verdict = train(spec(tmp_path)).verdict
    assert verdict.promoted
    assert "the champion cannot be used" in verdict.why


def test_nothing_is_published_when_nothing_new_was_learnt(tmp_path: Path) -> None:
    write(tmp_path, labelled(100))
    first = train(spec(tmp_path))
    with pytest.raises(TrainingError, match=f"{first.version} was trained on the very same"):
        train(spec(tmp_path))
    write(tmp_path, labelled(130)[100:])
    train(spec(tmp_path))
    assert len(registry(tmp_path).versions()) == 2


class Scripted:
    """A student that gives the answers it was given."""

    labels = LABELS
    temperature = 1.0

    def __init__(self, version: str, answers: dict[str, str]) -> None:
        self.version = version
        self._answers = answers

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[float(self._answers[text] == label) for label in LABELS] for text in texts], dtype=np.float32)


def test_the_verdict_is_about_the_stream_not_about_accepted_documents() -> None:
    # 300 hard documents, each accepted for certain, and 60 easy ones that stand for 20 each. The challenger wins
    # twenty of the hard ones and loses ten of the easy ones: better on what was labelled, worse on the stream.
    hard = [msgspec.structs.replace(row, text=f"hard {i}", propensity=1.0) for i, row in enumerate(labelled(300))]
    easy = [msgspec.structs.replace(row, text=f"easy {i}", propensity=0.05) for i, row in enumerate(labelled(60))]
    rows = [*hard, *easy]
    right = {row.text: row.label for row in rows}
    wrong = {row.text: row.label for row in changed(rows, share=1.0)}
    champion = Scripted("champion", right | {row.text: wrong[row.text] for row in hard[:20]})
    challenger = Scripted("challenger", right | {row.text: wrong[row.text] for row in easy[:10]})
    verdict = evaluation.judge(challenger, champion, rows)
    assert not verdict.promoted
    assert verdict.difference is not None
    assert verdict.difference.value == pytest.approx((20 - 10 * 20) / (300 + 60 * 20))
    unweighted = [msgspec.structs.replace(row, propensity=1.0) for row in rows]
    assert evaluation.judge(challenger, champion, unweighted).promoted


# Calibration and export.


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_the_temperature_is_found(truth: float) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (3000, 5))
    probabilities = tempered(logits, truth)
    targets = (probabilities.cumsum(axis=1) < rng.random((3000, 1))).sum(axis=1)
    assert fit_temperature(logits, targets) == pytest.approx(truth, rel=0.1)


def test_a_few_lucky_documents_do_not_make_a_student_certain() -> None:
    logits = np.eye(3)[np.arange(10) % 3] * 5.0
    assert 0.3 < fit_temperature(logits, np.arange(10) % 3) < 1.0
    assert fit_temperature(logits * 1e4, np.arange(1, 11) % 3) <= HIGHEST


def test_memory_is_bounded_by_leaving_out_rare_buckets() -> None:
    rows = labelled(300)
    config = FeaturizerConfig()
    found = transform([row.text for row in rows], config)
    designed = inputs.design(found, classes=3, bits=config.bits, max_parameters=150)
    assert isinstance(designed, inputs.HashedDesign)
    assert len(designed.buckets) == 50
    frequencies = np.bincount(found.indices)
    assert frequencies[designed.buckets].min() >= np.sort(frequencies)[-50]


def test_parity_documents_are_few_short_and_chosen_by_text() -> None:
    student = Scripted("any", {f"text {i}": LABELS[0] for i in range(50)} | {"": LABELS[0], "x" * 5000: LABELS[0]})
    texts = [*(f"text {i}" for i in range(50)), "x" * 5000]
    chosen = parity.parity_documents(student, texts)
    assert chosen == parity.parity_documents(student, texts[::-1])
    assert [len(document.text) <= parity.LONGEST for document in chosen] == [True] * 9
    assert chosen[0].text == ""


# The process.


def jobs(parent: int) -> list[int]:
    """The training jobs under way whose parent is a given process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = folder.joinpath("cmdline").read_bytes()
            started_by = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"askance.training.job" in command and started_by == parent:
            found.append(int(folder.name))
    return found


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


async def first_job(task: asyncio.Task[Manifest]) -> int:
    while not task.done():
        if found := jobs(os.getpid()):
            return found[0]
        await asyncio.sleep(0.005)
    pytest.fail(f"the training ended before it was seen: {task}")


def test_a_training_in_a_process_gives_the_manifest(tmp_path: Path) -> None:
    write(tmp_path, labelled(200))
    manifest = asyncio.run(ProcessTrainer(spec(tmp_path)).train())
    assert registry(tmp_path).manifest(manifest.version) == manifest
    tmp_path.joinpath("again").mkdir()
    write(tmp_path / "again", labelled(200))
    assert graph(tmp_path / "again", train(spec(tmp_path / "again"))) == graph(tmp_path, manifest)


def test_what_goes_wrong_in_the_process_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, labelled(50, labels=LABELS[:1]))
    with pytest.raises(TrainingError, match="too few classes"):
        asyncio.run(ProcessTrainer(spec(tmp_path)).train())
    tmp_path.joinpath("other").mkdir()
    write(tmp_path / "other", labelled(50))
    unwritable = spec(tmp_path / "other", registry=str(tmp_path / "other" / "ledger.db"))
    with pytest.raises(TrainingError, match=r"ledger\.db: the registry cannot be written") as caught:
        asyncio.run(ProcessTrainer(unwritable).train())
    assert "\n" not in str(caught.value)


def test_a_refused_parity_keeps_its_kind(tmp_path: Path) -> None:
    write(tmp_path, labelled(100))
    with pytest.raises(ParityError, match="differs from the trained one's"):
        asyncio.run(ProcessTrainer(spec(tmp_path, parity_tolerance=1e-12)).train())


def test_a_damaged_registry_is_told_of(tmp_path: Path) -> None:
    write(tmp_path, labelled(100))
    train(spec(tmp_path))
    tmp_path.joinpath("registry", "CURRENT").write_bytes(b"garbage")
    warnings: list[str] = []
    write(tmp_path, labelled(120)[100:])
    asyncio.run(ProcessTrainer(spec(tmp_path), on_warning=warnings.append).train())
    assert [("CURRENT: cannot be read" in text) for text in warnings] == [True]


def test_the_process_is_nice_and_dies_with_its_task(tmp_path: Path) -> None:
    write(tmp_path, labelled(3000))

    async def scenario() -> int:
        task = asyncio.create_task(ProcessTrainer(spec(tmp_path)).train())
        job = await first_job(task)
        while os.getpriority(os.PRIO_PROCESS, job) != NICE:
            assert not task.done(), "the job never became nice"
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return job

    job = asyncio.run(scenario())
    assert not is_running(job)
    assert registry(tmp_path).versions() == []


def test_a_killed_process_is_a_training_error(tmp_path: Path) -> None:
    write(tmp_path, labelled(3000))

    async def scenario() -> None:
        task = asyncio.create_task(ProcessTrainer(spec(tmp_path)).train())
        os.kill(await first_job(task), signal.SIGKILL)
        await task

    with pytest.raises(TrainingError, match="the training process was killed by signal 9"):
        asyncio.run(scenario())


PARENT = """
import asyncio, sys
import msgspec
from askance.training.process import ProcessTrainer
from askance.training.spec import Spec

asyncio.run(ProcessTrainer(msgspec.json.decode(sys.argv[1], type=Spec)).train())
"""


def test_the_process_dies_with_its_parent(tmp_path: Path) -> None:
    write(tmp_path, labelled(3000))
    with subprocess.Popen([sys.executable, "-c", PARENT, msgspec.json.encode(spec(tmp_path)).decode()]) as parent:
        wait_until(lambda: jobs(parent.pid) or parent.poll() is not None)
        (job,) = jobs(parent.pid)
        # It has been given its line, and is at work.
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, job) == NICE)
        parent.kill()
    wait_until(lambda: not is_running(job), seconds=5.0)
    assert registry(tmp_path).versions() == []


def test_an_orphan_ends_itself_without_publishing(tmp_path: Path) -> None:
    write(tmp_path, labelled(3000))
    line = msgspec.json.encode(spec(tmp_path)) + b"\n"
    ended = subprocess.run([sys.executable, "-m", "askance.training.job"], input=line, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (70, b"", b"")
    assert registry(tmp_path).versions() == []


# Real text.


def test_real_titles_with_real_llm_labels_are_learnt(data_folder: Path, tmp_path: Path) -> None:
    documents = [json.loads(line) for line in data_folder.joinpath("stackoverflow20.jsonl").read_text().splitlines()]
    labels = tuple(sorted({document["gold"] for document in documents}))
    answers = [
        (document["text"], document["teachers"][0]["label"])
        for document in documents[:2200]
        if document["teachers"][0]["label"] in labels
    ]
    rows = [
        Labelled(Coordinates("so", 0, offset), text, answer, None, None, 1.0, None)
        for offset, (text, answer) in enumerate(answers)
    ]
    write(tmp_path, rows)
    manifest = train(spec(tmp_path, labels=labels, featurizer=FeaturizerConfig()))
    assert manifest.parity_error < 1e-5
    student = load(tmp_path, manifest)
    last = documents[-4000:]
    logits = student.logits([document["text"] for document in last])
    gold = np.array([labels.index(document["gold"]) for document in last])
    assert (logits.argmax(axis=1) == gold).mean() > 0.77
    # And it knows how sure to be: confidence and accuracy agree within 6 points, and better than uncalibrated.
    accuracy = (logits.argmax(axis=1) == gold).mean()
    confident, uncalibrated = (
        tempered(logits, temperature).max(axis=1).mean() for temperature in (manifest.temperature, 1.0)
    )
    assert abs(confident - accuracy) < 0.06
    assert abs(confident - accuracy) < abs(uncalibrated - accuracy)


def test_a_training_takes_the_newest_labels_only(tmp_path: Path) -> None:
    rows = labelled(400)
    write(tmp_path, rows)
    newest = train(spec(tmp_path, newest=150))
    held_out = sum(is_held_out(row.text, 0.2) for row in rows[-150:])
    assert (newest.held_out, newest.trained_on) == (held_out, 150 - held_out)
