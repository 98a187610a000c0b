"""The documents that every contender classifies, and the models that they classify with.

Texts are made up: words of a Zipf-distributed vocabulary and, of each class, words of its own. Of the same labelled
texts two models are fitted: askance's linear student (an ONNX file, which the peers with onnxruntime load too) and, for
the loop around scikit-learn, its own.
"""

from __future__ import annotations

import json
import pickle
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from askance.ledger import SqliteLedger
from askance.manifest import FeaturizerConfig
from askance.records import Answer, Coordinates, Label, Outcome, Query
from askance.registry import DirectoryRegistry
from askance.training.pipeline import train
from askance.training.spec import Spec
from benchmarks.encoder import minilm
from tests.doubles import give

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BITS = 18
NGRAMS = (1, 2)
_COMMON, _OWN = 20_000, 60
TRAINED_ON = 8_000
EMBEDDED = 2_000
"""So many for a student on an encoder's vectors, which take their time."""
_TRAINING_SEED = 1


class Labelled(NamedTuple):
    text: str
    label: str


def labels(classes: int) -> tuple[str, ...]:
    return tuple(f"class-{number:02d}" for number in range(classes))


def texts(classes: int, count: int, *, seed: int) -> Iterator[Labelled]:
    """Texts of 16 to 28 words, about 150 bytes; 4 words of each are likely to be its class's own."""
    rng = np.random.default_rng(seed)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"]
    made = np.random.default_rng(0)
    lengths = made.integers(1, 5, _COMMON + classes * _OWN)
    words = np.array(["".join(made.choice(syllables, length)) for length in lengths], dtype=object)
    zipf = np.cumsum(1.0 / (np.arange(_COMMON) + 2.7))
    zipf /= zipf[-1]
    names = labels(classes)
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        own = rng.integers(0, classes, size)
        common = np.searchsorted(zipf, rng.random((size, 28)))
        is_own = rng.random((size, 28)) < 4 / 22
        picked = np.where(is_own, _COMMON + own[:, None] * _OWN + rng.integers(0, _OWN, (size, 28)), common)
        chosen = words[picked]
        ends = rng.integers(16, 29, size)
        for row, end, label in zip(chosen, ends.tolist(), own.tolist(), strict=True):
            yield Labelled(" ".join(row[:end]), names[label])


def encoded(number: int, text: str) -> tuple[bytes, bytes]:
    """Key and value of a document: about 200 bytes of JSON, with a field that nobody asked for."""
    value = {"id": f"doc-{number:08d}", "source": "bench", "text": text}
    return b"user-%04d" % (number % 5000), json.dumps(value).encode()


class Models(NamedTuple):
    folder: Path
    """askance's state folder: the registry with one version, the champion."""
    version: Path
    """That version's folder, with the ONNX file."""


def publish(folder: Path, classes: int, rows: Sequence[Labelled], name: str, *, encoder: str = "") -> str:
    """The name of a version fitted on these rows, in the folder's registry; not live yet.

    It takes the vectors of an encoder, where one is named, else hashed features.
    """
    ledger_path = folder / f"{name}.db"
    with closing(SqliteLedger(ledger_path)) as ledger:
        places = [Coordinates("taught", 0, number) for number in range(len(rows))]
        queries = [
            Query(place, str(number), row.text, None, None, 1.0, 1.0, None, 0)
            for number, (place, row) in enumerate(zip(places, rows, strict=True))
        ]
        ledger.commit(queries, (), None)
        given = [
            Label(place, Outcome.LABELLED, row.label, "made up", Answer(row.label), 0.0)
            for place, row in zip(places, rows, strict=True)
        ]
        give(ledger, given)
    spec = Spec(
        ledger=str(ledger_path),
        registry=str(folder / "registry"),
        labels=labels(classes),
        featurizer=FeaturizerConfig(bits=BITS, ngram_max=NGRAMS[1]),
        features="encoder" if encoder else "hashed",
        encoder=encoder,
    )
    return train(spec).version


def fit(folder: Path, classes: int) -> Models:
    """Both models, fitted on the same texts."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier

    rows = list(texts(classes, TRAINED_ON, seed=_TRAINING_SEED))
    registry = DirectoryRegistry(folder / "registry", on_warning=print)
    version = publish(folder, classes, rows, "taught")
    registry.promote(version)
    vectorizer = HashingVectorizer(n_features=2**BITS, ngram_range=NGRAMS, alternate_sign=False)
    model = SGDClassifier(loss="log_loss", alpha=1e-6, random_state=0).fit(
        vectorizer.transform([row.text for row in rows]), [row.label for row in rows]
    )
    (folder / "sklearn.pickle").write_bytes(pickle.dumps((vectorizer, model)))
    return Models(folder, registry.verified(version))


def fit_on_minilm(folder: Path, classes: int) -> Models:
    """A linear student on MiniLM's vectors, which every contender serves."""
    rows = list(texts(classes, EMBEDDED, seed=_TRAINING_SEED))
    registry = DirectoryRegistry(folder / "registry", on_warning=print)
    version = publish(folder, classes, rows, "taught", encoder=str(minilm()))
    registry.promote(version)
    return Models(folder, registry.verified(version))
