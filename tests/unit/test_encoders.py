"""Frozen encoders: how they are read, that a text's vector is its own, and that it is computed once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from askance.errors import TrainingError
from askance.training import encoders
from askance.training.embeddings import Embeddings
from tests.encoders import WIDTH, tiny_bert

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from askance.student.encoder import Encoder

GROUPS = [["cat", "dog", "horse"], ["sail", "mast", "hull"]]
TEXTS = ["cat", "a cat and a dog", "", "mast " * 30, "mast " * 300, "\ud800 lone", "Sail HULL", "same", "same"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "encoder", GROUPS)


def read(folder: Path, *, max_tokens: int = 64) -> encoders.Read:
    return encoders.read(str(folder), max_tokens=max_tokens)


def test_a_text_has_one_unit_vector_whatever_is_beside_it(folder: Path) -> None:
    encoder = read(folder).encoder
    together = encoder.vectors(TEXTS)
    assert together.shape == (len(TEXTS), WIDTH)
    assert together.dtype == np.dtype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    alone = np.concatenate([encoder.vectors([text]) for text in TEXTS])
    assert together.tobytes() == alone.tobytes()
    assert encoder.vectors([]).shape == (0, WIDTH)


def test_the_padding_and_the_cut_that_a_tokenizer_brings_are_replaced(folder: Path) -> None:
    # The folder's tokenizer pads to 40 tokens; padded, both texts would have much the same vector.
    short, long = read(folder).encoder.vectors(["cat", "sail sail sail"])
    assert float(short @ long) < 0.9
    cut = read(folder, max_tokens=4).encoder
    assert cut.vectors(["cat dog horse"]).tobytes() == cut.vectors(["cat dog mast"]).tobytes()


def test_words_of_a_kind_are_near(folder: Path) -> None:
    cat, dog, sail = read(folder).encoder.vectors(["cat", "dog", "sail"])
    assert float(cat @ dog) > float(cat @ sail) + 0.1


def test_a_graph_is_taken_before_weights_and_pooled_as_the_folder_says(folder: Path) -> None:
    from_weights = read(folder)
    graph = from_weights.files["encoder.onnx"]
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(graph)
    (folder / "model.safetensors").unlink()
    assert read(folder).config == from_weights.config
    assert read(folder).encoder.vectors(TEXTS).tobytes() == from_weights.encoder.vectors(TEXTS).tobytes()
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 32})
    )
    (folder / "modules.json").write_text("[]")
    first = read(folder)
    assert (first.config.pooling, first.config.unit) == ("cls", False)
    assert first.config.digest != from_weights.config.digest
    assert abs(np.linalg.norm(first.encoder.vectors(["cat"])) - 1.0) > 0.1


def test_what_shapes_a_vector_is_in_the_digest(folder: Path, tmp_path: Path) -> None:
    same = tiny_bert(tmp_path / "same", GROUPS)
    other = tiny_bert(tmp_path / "other", GROUPS, seed=1)
    digests = [read(each).config.digest for each in (folder, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert read(folder, max_tokens=5).config.digest != digests[0]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json cannot be read"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors cannot be read"),
        (lambda folder: (folder / "encoder.onnx").write_bytes(b"no"), "not a graph"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "gpt2"}'), "export it to ONNX"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not a JSON object"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_of(folder: Path, spoil: object, says: str) -> None:
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(TrainingError, match=says) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_a_name_that_the_hub_does_not_give_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TrainingError, match="is no folder here, and the hub did not give it") as caught:
        encoders.read("nobody/nothing", max_tokens=8)
    assert "\n" not in str(caught.value)


def test_a_name_is_fetched_from_the_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked = []

    def fetch(name: str, *, allow_patterns: Sequence[str]) -> str:
        asked.append((name, tuple(allow_patterns)))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    found = encoders.read("somebody/something", max_tokens=64)
    assert found.config.name == "somebody/something"
    assert [name for name, _ in asked] == ["somebody/something"] * 2
    # The weights are fetched only where there is no graph.
    assert ["model.safetensors" in patterns for _, patterns in asked] == [False, True]


# A text is embedded once.


class Counting:
    """An encoder that remembers what it was asked."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.digest = encoder.digest
        self.asked: list[str] = []

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return self._encoder.vectors(texts)


def test_vectors_are_kept_for_the_next_training(folder: Path, tmp_path: Path) -> None:
    encoder = read(folder).encoder
    counting = Counting(encoder)
    first = Embeddings(counting, tmp_path / "kept").inputs(TEXTS)  # type: ignore[arg-type]
    assert first.tobytes() == encoder.vectors(TEXTS).tobytes()
    assert sorted(counting.asked) == sorted(set(TEXTS))
    again = Embeddings(counting, tmp_path / "kept").inputs([*TEXTS[::-1], "new"])  # type: ignore[arg-type]
    assert again[:-1].tobytes() == first[::-1].tobytes()
    assert counting.asked[len(set(TEXTS)) :] == ["new"]


def test_another_encoders_vectors_are_not_taken(folder: Path, tmp_path: Path) -> None:
    one, other = read(folder).encoder, read(tiny_bert(tmp_path / "other", GROUPS, seed=1)).encoder
    for encoder in (one, other):
        kept = Embeddings(encoder, tmp_path / "kept").inputs(TEXTS)
        assert kept.tobytes() == encoder.vectors(TEXTS).tobytes()


def test_a_damaged_file_is_begun_anew(folder: Path, tmp_path: Path) -> None:
    encoder = read(folder).encoder
    Embeddings(encoder, tmp_path / "kept").inputs(TEXTS)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_bytes(b"damaged" * 1000)
    assert Embeddings(encoder, tmp_path / "kept").inputs(TEXTS).tobytes() == encoder.vectors(TEXTS).tobytes()
    assert path.read_bytes().startswith(b"SQLite")
