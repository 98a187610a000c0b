"""Laws of the hashed featurizer, against the slow reference on text in ten scripts."""

import sys
import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from askance._kernel import HashedFeaturizer
from tests.reference_features import ReferenceFeaturizer, makes_words, words

# The kernel is pinned to Unicode 16.0; the reference uses the data of whichever Python runs it (14.0 in 3.11)
# and of whichever `regex` is installed. All agree on the characters that were assigned long ago, so every
# alphabet here is drawn from those that Unicode 3.2 (2002) knew: `unicodedata.ucd_3_2_0` is in every Python,
# for IDNA's sake.
ASSIGNED = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs", "Co")
]

LETTERS = {
    "Latin": "aZéßİıſKǅﬁ",
    "Greek": "ΑαΣσςΏώ",
    "Cyrillic": "ЖжЁёІі",
    "Hebrew": "אבםָׁ",
    "Arabic": "ابةِّ٣",
    "Devanagari": "नमस्तेिँ",
    "Thai": "กขน้ำ๓",
    "Hangul": "한글한",
    "Han": "你好世界〇々𠀀",
    "Kana": "ひらカナーｶﾞ゛\u3099",
    "Armenian": "ԱաՖֆև",
    "Georgian": "აბგႠ",
}
EMOJI = "😀👍🏽❤️👨‍👩‍👧🇩🇪"
MARKS = "\u0301\u0308\u20dd\ufe0f\U000e0100"
CONTROLS = "\x00\x07\t\n\r\x1b\x7f\x85\xa0\u200b\u200d\u200f\u2028\ufeff"
ASCII = "abcXYZ019_ .,'-@\t"

characters = st.one_of(
    st.sampled_from(ASCII),
    st.sampled_from("".join(LETTERS.values())),
    st.sampled_from(EMOJI + MARKS + CONTROLS),
    st.sampled_from(ASSIGNED),
)
texts = st.one_of(
    st.text(st.sampled_from(ASCII), max_size=300),
    st.text(characters, max_size=60),
    st.lists(st.sampled_from(["the", "The", "caf\u00e9", "x" * 500, "é" * 200, "世界", "a", " ", "-", ""])).map(
        " ".join
    ),
)
configs = st.fixed_dictionaries(
    {"bits": st.integers(1, 24), "weighting": st.sampled_from(["count", "binary", "sublinear"])},
    optional={"max_words": st.integers(1, 20)},
).flatmap(
    lambda config: st.integers(1, 8).flatmap(
        lambda top: st.integers(1, top).map(lambda low: {**config, "ngram_min": low, "ngram_max": top})
    )
)


def assert_same(got, expected):
    for left, right in zip(got[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(got[2], expected[2], rtol=0, atol=1e-7)


@settings(max_examples=500)
@given(st.lists(texts, max_size=5), configs)
def test_the_kernel_equals_the_reference(documents, config):
    got = HashedFeaturizer(**config).transform(documents)
    assert_same(got, ReferenceFeaturizer(**config).transform(documents))


def test_every_character_that_was_assigned_long_ago():
    """Each between two letters: it separates them, joins them, or stands alone."""
    documents = [f"a{character}b" for character in ASSIGNED]
    featurizer = HashedFeaturizer(bits=24, ngram_max=1, weighting="count")
    assert_same(featurizer.transform(documents), ReferenceFeaturizer(24, 1, 1, "count").transform(documents))


@given(st.sampled_from(ASSIGNED))
def test_a_character_makes_words_where_python_calls_it_alphanumeric(character):
    expected = character.isalnum() or unicodedata.category(character)[0] == "M" or character == "_"
    assert makes_words(character) == expected


@given(st.lists(texts, max_size=6), st.integers(0, 6))
def test_a_row_depends_on_its_document_alone(documents, at):
    featurizer = HashedFeaturizer()
    whole = featurizer.transform(documents)
    parts = [featurizer.transform(part) for part in (documents[:at], documents[at:])]
    for column in (1, 2):
        np.testing.assert_array_equal(whole[column], np.concatenate([part[column] for part in parts]))


@given(st.lists(texts, max_size=8), configs)
def test_padded_is_transform_in_rectangles(documents, config):
    featurizer = HashedFeaturizer(**config)
    indptr, indices, values = featurizer.transform(documents)
    rectangles = featurizer.padded(documents)

    assert sorted(row for rows, _, _ in rectangles for row in rows.tolist()) == list(range(len(documents)))
    widths = [ids.shape[1] for _, ids, _ in rectangles]
    assert widths == sorted(set(widths))
    for rows, ids, weights in rectangles:
        assert ids.shape == weights.shape == (rows.size, ids.shape[1])
        assert (np.diff(rows) > 0).all()
        for row, row_ids, row_weights in zip(rows, ids, weights, strict=True):
            start, end = indptr[row], indptr[row + 1]
            assert ids.shape[1] == max(16, 1 << (int(end - start) - 1).bit_length())
            np.testing.assert_array_equal(row_ids, np.pad(indices[start:end], (0, ids.shape[1] - (end - start))))
            np.testing.assert_array_equal(row_weights, np.pad(values[start:end], (0, ids.shape[1] - (end - start))))


@given(st.lists(texts, max_size=8))
def test_a_buffer_is_its_documents(documents):
    parts = [document.encode() for document in documents]
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    assert_same(HashedFeaturizer().transform_utf8(b"".join(parts), offsets), HashedFeaturizer().transform(documents))


@given(texts, st.sampled_from(["count", "binary", "sublinear"]))
def test_rows_are_unit_vectors_over_ascending_buckets(text, weighting):
    indptr, indices, values = HashedFeaturizer(bits=8, weighting=weighting).transform([text])
    assert indptr.tolist() == [0, indices.size]
    assert (np.diff(indices) > 0).all()
    assert indices.size == 0 or (indices[0] >= 0 and indices[-1] < 256)
    assert (indices.size == 0) == (next(words(text), None) is None)
    if indices.size:
        assert abs(np.linalg.norm(values.astype(np.float64)) - 1) < 1e-6
        assert (values > 0).all()


@given(st.text(st.sampled_from(ASCII), max_size=200))
def test_the_ascii_path_equals_the_general_path(text):
    """A fullwidth comma is a separator that is not ASCII: it joins nothing and sends its run the slow way."""
    fast = HashedFeaturizer().transform([text])
    slow = HashedFeaturizer().transform([text.replace(" ", "，").replace("-", "，")])
    assert_same(fast, slow)
