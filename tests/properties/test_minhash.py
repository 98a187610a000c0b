"""Laws of the signatures, against the slow reference."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askance._kernel import MinHasher
from tests.properties.test_features import texts
from tests.reference_minhash import signature

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "minhash.json").read_text(encoding="ascii"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(case["config"]))
def test_the_binary_gives_the_golden_signatures(case) -> None:
    got = MinHasher(**case["config"]).signatures([one["text"] for one in GOLDEN["texts"]])
    assert got.dtype == np.uint32
    assert got.tolist() == case["rows"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(texts, max_size=3),
    st.fixed_dictionaries(
        {"permutations": st.integers(1, 24), "shingle": st.integers(1, 8), "max_words": st.integers(1, 50)}
    ),
)
def test_the_kernel_is_the_reference(documents, config) -> None:
    got = MinHasher(**config).signatures(documents)
    assert got.shape == (len(documents), config["permutations"])
    assert got.tolist() == [signature(text, **config) for text in documents]


def test_misuse_is_named() -> None:
    for settings_, message in (
        ({"permutations": 0}, r"permutations must be in \[1, 1024\], got 0"),
        ({"shingle": 2**80}, r"shingle must be in \[1, 8\]"),
    ):
        with pytest.raises(ValueError, match=message):
            MinHasher(**settings_)
    with pytest.raises(TypeError, match=r"texts\[1\] must be a str"):
        MinHasher().signatures(["a", 1])
    with pytest.raises(ValueError, match=r"texts\[0\] holds a lone surrogate"):
        MinHasher().signatures(["\ud800"])
