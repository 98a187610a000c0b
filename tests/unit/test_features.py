"""The hashed featurizer through the binary: golden vectors, limits, misuse."""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from askance._kernel import HashedFeaturizer

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "features.json").read_text(encoding="ascii"))
TEXTS = [text["text"] for text in GOLDEN["texts"]]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(case["config"]))
def test_golden_vectors(case):
    indptr, indices, values = HashedFeaturizer(**case["config"]).transform(TEXTS)

    assert (indptr.dtype, indices.dtype, values.dtype) == (np.int64, np.int32, np.float32)
    assert indptr.tolist() == np.cumsum([0, *(len(buckets) for buckets, _ in case["rows"])]).tolist()
    assert indices.tolist() == [bucket for buckets, _ in case["rows"] for bucket in buckets]
    expected = np.array([weight for _, weights in case["rows"] for weight in weights])
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-7)


def test_no_documents():
    indptr, indices, values = HashedFeaturizer().transform([])

    assert indptr.tolist() == [0]
    assert indices.shape == values.shape == (0,)


def test_buckets():
    assert HashedFeaturizer().buckets == 2**18
    assert HashedFeaturizer(bits=1).buckets == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bits": 0}, r"bits must be in \[1, 24\], got 0"),
        ({"bits": 25}, r"bits must be in \[1, 24\], got 25"),
        ({"bits": -(10**30)}, r"bits must be in \[1, 24\]"),
        ({"bits": 10**30}, r"bits must be in \[1, 24\]"),
        ({"ngram_max": 9}, r"ngram_max must be in \[1, 8\], got 9"),
        ({"ngram_min": 0}, r"ngram_min must be in \[1, 2\], got 0"),
        ({"ngram_min": 3, "ngram_max": 2}, r"ngram_min must be in \[1, 2\], got 3"),
        ({"max_words": 0}, r"max_words must be in \[1, 1000000\], got 0"),
        ({"max_words": 1_000_001}, r"max_words must be in"),
        ({"weighting": "tfidf"}, r"weighting must be 'count', 'binary' or 'sublinear', got \"tfidf\""),
    ],
)
def test_parameters_outside_their_limits(parameters, message):
    with pytest.raises(ValueError, match=message):
        HashedFeaturizer(**parameters)


@pytest.mark.parametrize("parameters", [{"bits": "18"}, {"bits": 18.0}, {"weighting": 1}])
def test_parameters_of_the_wrong_type(parameters):
    with pytest.raises(TypeError):
        HashedFeaturizer(**parameters)


def test_parameters_are_keywords():
    with pytest.raises(TypeError):
        HashedFeaturizer(18)


def test_a_lone_surrogate_is_named():
    with pytest.raises(ValueError, match=r"texts\[1\] holds a lone surrogate") as caught:
        HashedFeaturizer().transform(["fine", "not \ud800 fine"])
    assert caught.type is ValueError


def test_only_strings():
    with pytest.raises(TypeError, match=r"texts\[1\] must be a str, got .*bytes"):
        HashedFeaturizer().transform(["fine", b"bytes"])
    with pytest.raises(TypeError):
        HashedFeaturizer().transform("one string")
    with pytest.raises(TypeError):
        HashedFeaturizer().transform(None)


def test_a_subclass_of_str_is_a_str():
    class Text(str):
        __slots__ = ()

    assert HashedFeaturizer().transform([Text("a b")])[1].size == 3


def test_max_words_bounds_a_long_document():
    long = HashedFeaturizer(max_words=3).transform(["a b c " + "d " * 1_000_000])
    short = HashedFeaturizer(max_words=3).transform(["a b c"])
    for left, right in zip(long, short, strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_attributes_are_read_only():
    with pytest.raises(AttributeError):
        HashedFeaturizer().buckets = 3


def test_a_list_that_changes_while_it_is_read():
    """Another thread empties the list while the work runs without the GIL: the strings stay alive."""
    featurizer = HashedFeaturizer()
    expected = featurizer.transform([f"text number {i}" for i in range(1000)])
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            texts = [f"text number {i}" for i in range(1000)]
            thread = threading.Thread(target=texts.clear)
            thread.start()
            got = featurizer.transform(texts)
            thread.join()
            if got[0].size == expected[0].size:
                np.testing.assert_array_equal(got[1], expected[1])
    finally:
        sys.setswitchinterval(interval)


def test_other_threads_run_meanwhile():
    """With the GIL held, this thread would stand still for as long as the call lasts."""
    featurizer = HashedFeaturizer(ngram_max=8, max_words=1_000_000)
    texts = [" ".join(map(str, range(100_000)))] * 10
    done = threading.Event()
    took = []

    def work():
        begin = time.perf_counter()
        featurizer.transform(texts)
        took.append(time.perf_counter() - begin)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    longest, last = 0.0, time.perf_counter()
    while not done.is_set():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    thread.join()
    assert longest < took[0] / 2


def offsets_of(parts):
    return np.cumsum([0, *map(len, parts)], dtype=np.int64)


@pytest.mark.parametrize("as_buffer", [bytes, lambda data: np.frombuffer(data, dtype=np.uint8)])
def test_a_buffer_of_documents(as_buffer):
    parts = [text.encode() for text in TEXTS]
    featurizer = HashedFeaturizer()
    got = featurizer.transform_utf8(as_buffer(b"".join(parts)), offsets_of(parts))
    for left, right in zip(got, featurizer.transform(TEXTS), strict=True):
        np.testing.assert_array_equal(left, right)
    rectangles = featurizer.padded_utf8(as_buffer(b"".join(parts)), offsets_of(parts))
    for got, expected in zip(rectangles, featurizer.padded(TEXTS), strict=True):
        for left, right in zip(got, expected, strict=True):
            np.testing.assert_array_equal(left, right)


def test_documents_in_the_middle_of_a_buffer():
    got = HashedFeaturizer().transform_utf8(b"xxa bcxx", np.array([2, 3, 6]))
    for left, right in zip(got, HashedFeaturizer().transform(["a", " bc"]), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("buffer", "offsets", "message"),
    [
        (b"abc", [], "offsets must hold n \\+ 1 numbers"),
        (b"abc", [0, 4], "at most the buffer's 3 bytes, got 0 and 4 for document 0"),
        (b"abc", [0, 2, 1], "got 2 and 1 for document 1"),
        (b"abc", [-1, 2], "got -1 and 2 for document 0"),
        (b"a\xff", [0, 1, 2], "document 1 is not UTF-8"),
        ("é".encode(), [0, 1, 2], "document 0 is not UTF-8"),
        (b"\xed\xa0\x80", [0, 3], "document 0 is not UTF-8"),
    ],
)
@pytest.mark.parametrize("method", ["transform_utf8", "padded_utf8"])
def test_what_is_no_document_is_named(method, buffer, offsets, message):
    with pytest.raises(ValueError, match=message):
        getattr(HashedFeaturizer(), method)(buffer, np.array(offsets, dtype=np.int64))


@pytest.mark.parametrize(
    ("buffer", "offsets", "message"),
    [
        (
            "text",
            np.zeros(1, np.int64),
            "buffer must be bytes or a one-dimensional C-contiguous uint8 array, got .*str",
        ),
        (np.zeros(3, np.int8), np.zeros(1, np.int64), r"got int8 of shape \[3\]"),
        (np.zeros((1, 3), np.uint8), np.zeros(1, np.int64), r"got uint8 of shape \[1, 3\]"),
        (b"abc", [0, 3], "offsets must be a one-dimensional C-contiguous int64 array, got .*list"),
        (b"abc", np.zeros(4, np.int64)[::2], r"got int64 of shape \[2\], not contiguous"),
        (b"abc", np.zeros(2, np.int32), r"got int32 of shape \[2\]"),
    ],
)
def test_buffers_and_offsets_of_the_wrong_type(buffer, offsets, message):
    with pytest.raises(TypeError, match=message):
        HashedFeaturizer().transform_utf8(buffer, offsets)


def test_padded_widths():
    documents = ["", "a b", " ".join(f"w{i}" for i in range(9)), " ".join(f"w{i}" for i in range(8))]
    rectangles = HashedFeaturizer(bits=24).padded(documents)

    # One, two, then 17 and 15 features.
    assert [(rows.tolist(), ids.shape) for rows, ids, _ in rectangles] == [
        ([0, 1, 3], (3, 16)),
        ([2], (1, 32)),
    ]
    rows, ids, weights = rectangles[0]
    assert (rows.dtype, ids.dtype, weights.dtype) == (np.int64, np.int32, np.float32)
    assert not ids[0].any()
    assert not weights[0].any()
    assert HashedFeaturizer().padded([]) == []
