"""A student version's manifest: what it is, what it was trained on, how good it is, and its files' digests."""

from __future__ import annotations

from typing import Literal

import msgspec


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval; `effective` is the effective sample size (sum w)^2 / sum w^2."""

    value: float
    low: float
    high: float
    documents: int
    effective: float


Features = Literal["hashed", "encoder", "tokens"]
"""Hashed n-grams, a frozen encoder's sentence vectors, or a transformer's tokens."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether a version was found fit to be champion, and the comparison that says so."""

    promoted: bool
    why: str
    champion: str | None = None
    difference: Estimate | None = None
    """Challenger's agreement less the champion's on the same held-out labels, importance-weighted."""
    rule: str | None = None
    """`train.promote` as it was when this was decided; None: there was no champion to compare with."""


class FeaturizerConfig(msgspec.Struct, frozen=True):
    """The arguments of `askance._kernel.HashedFeaturizer`."""

    bits: int = 18
    ngram_min: int = 1
    ngram_max: int = 2
    weighting: str = "sublinear"
    max_words: int = 4096


class EncoderConfig(msgspec.Struct, frozen=True):
    """A frozen sentence encoder, and how its graph's output becomes a vector."""

    name: str
    """The folder or the hub's name it was read from."""
    digest: str
    """SHA-256 of all that shapes a vector."""
    output: str
    """The graph's output that is taken."""
    pooling: Literal["mean", "cls", "none"]
    """Over tokens; `none` where the graph has done it."""
    unit: bool
    """Whether vectors are made of unit length."""
    width: int
    """Numbers a vector."""


class Manifest(msgspec.Struct, frozen=True):
    """`manifest.json`; once it exists nothing in the version's folder changes."""

    version: str
    created_at: str
    """ISO 8601, UTC."""
    student: str
    """The student kind, e.g. `logistic`."""
    labels: tuple[str, ...]
    """In the order of the logits' columns."""
    temperature: float
    featurizer: FeaturizerConfig
    featurizer_digest: str
    """SHA-256 of the configuration and of the buckets it gives a few probing texts."""
    parent: str | None
    """The champion when this version was trained."""
    trained_on: int
    """Labels fitted on; held-out ones are not among them."""
    held_out: int
    training_digest: str
    """SHA-256 over the coordinates and labels fitted on."""
    parity_error: float
    """Largest difference between a probability of the exported student and of the one that was trained."""
    agreement: Estimate | None
    """Agreement with the teacher on held-out labels, importance-weighted; None while there are too few."""
    verdict: Verdict
    files: dict[str, str]
    """File name to SHA-256."""
    dropped: int = 0
    """Of the labels to train on, those that `train.selection` left out."""
    label_set: int = 1
    """The number of the label set: one more whenever the labels are others than the newest version's."""
    renamed: dict[str, str] = {}
    """What labels of old were called when this was trained, `teacher.renamed`: they count as such."""
    generated: int = 0
    """Documents fitted on that the teacher wrote, besides the labels."""
    features: Features = "hashed"
    """What the graph takes."""
    encoder: EncoderConfig | None = None
    """Where `features` is `encoder`: `encoder.onnx` and `tokenizer.json` are among the files."""
    max_tokens: int = 0
    """Documents are cut to so many tokens; 0 where there are none."""
    base: str = ""
    """The transformer that was fine-tuned, a folder or the hub's name."""
    started_from: str | None = None
    """The version whose weights the training began with; None: from scratch, or from the base."""
    int8: bool = False
    """Whether the graph computes in whole numbers of 8 bits."""
    exact_replay: bool = True
    """Whether a document's logits are the same to the bit whatever is scored beside it, as found in training."""
    holdout_share: float | None = None
    """Part of the texts that was held out; whoever goes on from these weights must not hold out more."""
    schema: int = 1


class ParityDocument(msgspec.Struct, frozen=True):
    """A document with the logits its version must give: `parity.json` holds a few, checked at every load."""

    text: str
    logits: tuple[float, ...]
