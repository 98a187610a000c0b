"""Small encoders with weights drawn at random, as folders in Hugging Face's layout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH, LAYERS, HEADS, INNER, POSITIONS = 32, 2, 4, 48, 64


def tiny_bert(folder: Path, groups: Sequence[Sequence[str]], *, seed: int = 0) -> Path:
    """A BERT of 2 layers and 32 numbers, to which the words of a group mean much the same; returns the folder."""
    words = list(dict.fromkeys(word for group in groups for word in group))
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=40)  # which a reader has to turn off
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": len(vocabulary),
    }
    (folder / "config.json").write_text(json.dumps(config))
    numbers = [[vocabulary[word] for word in group] for group in groups]
    save_file(_weights(numbers, len(vocabulary), seed), str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def _weights(groups: Sequence[Sequence[int]], vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float) -> np.ndarray:
        return rng.normal(0, scale, shape).astype(np.float32)

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.weight": np.ones(WIDTH, dtype=np.float32), f"{name}.bias": np.zeros(WIDTH, dtype=np.float32)}

    def linear(name: str, width: int, inner: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": draw(inner, width, scale=0.2), f"{name}.bias": draw(inner, scale=0.05)}

    words = draw(vocabulary, WIDTH, scale=0.3)
    for group in groups:
        words[list(group)] += draw(WIDTH, scale=1.0)
    weights = {
        "embeddings.word_embeddings.weight": words,
        "embeddings.position_embeddings.weight": draw(POSITIONS, WIDTH, scale=0.1),
        "embeddings.token_type_embeddings.weight": draw(2, WIDTH, scale=0.1),
        **norm("embeddings.LayerNorm"),
        **linear("pooler.dense", WIDTH, WIDTH),
    }
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            weights |= linear(f"{layer}.attention.self.{part}", WIDTH, WIDTH)
        weights |= linear(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        weights |= norm(f"{layer}.attention.output.LayerNorm")
        weights |= linear(f"{layer}.intermediate.dense", WIDTH, INNER)
        weights |= linear(f"{layer}.output.dense", INNER, WIDTH)
        weights |= norm(f"{layer}.output.LayerNorm")
    return weights
