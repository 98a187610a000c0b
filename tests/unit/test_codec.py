"""Bad input becomes a dead letter with its reason, and whatever is readable is read."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance.codec import DocumentDecoder, decode_query, encode_dead_letter, encode_predictions, encode_query
from askance.records import Coordinates, Prediction, Query, Reason, Record


def decoder(**settings: object) -> DocumentDecoder:
    return DocumentDecoder(
        **{"document_format": "jsonl", "text_field": "text", "id_field": "id", "max_bytes": 1000} | settings
    )


def record(value: bytes | None, offset: int = 7) -> Record:
    return Record(Coordinates("t", 0, offset), value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.NULL_VALUE),
        (b"", Reason.INVALID_JSON),
        (b"not json", Reason.INVALID_JSON),
        (b'{"text": "cut', Reason.INVALID_JSON),
        (b'{"text": "twice"} {}', Reason.INVALID_JSON),
        (b'{"text": "a", "deep": ' + b"[" * 400 + b"]" * 400, Reason.INVALID_JSON),
        (b'{"text": "lone \\ud800 surrogate and more text behind it"}', Reason.INVALID_JSON),
        (b'{"id": "no text"}', Reason.INVALID_TEXT),
        (b'{"text": 3}', Reason.INVALID_TEXT),
        (b'{"text": null}', Reason.INVALID_TEXT),
        (b'["text"]', Reason.INVALID_TEXT),
        (b'{"text": "\xff\xfe"}', Reason.INVALID_UTF8),
        (b"\xff\xfe", Reason.INVALID_UTF8),
        (b'{"text": ""}', Reason.EMPTY_TEXT),
        (b'{"text": " \\n\\t"}', Reason.EMPTY_TEXT),
        (b'{"text": "' + b"x" * 1000 + b'"}', Reason.TOO_LARGE),
    ],
)
def test_bad_input_becomes_a_dead_letter(value: bytes | None, reason: Reason) -> None:
    documents, dead_letters = decoder().decode([record(value), record(b'{"text": "good"}', 8)])
    assert [document.text for document in documents] == ["good"]
    assert [letter.reason for letter in dead_letters] == [reason]
    assert dead_letters[0].record.value == value
    line = json.loads(encode_dead_letter(dead_letters[0]))
    assert (line["topic"], line["partition"], line["offset"], line["reason"]) == ("t", 0, 7, reason)
    assert line["detail"]
    assert (None if line["bytes"] is None else base64.b64decode(line["bytes"])) == value


@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoder_raise(value: bytes) -> None:
    for shape in ("jsonl", "text"):
        documents, dead_letters = decoder(document_format=shape).decode([record(value)])
        assert len(documents) + len(dead_letters) == 1


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_text_is_read_as_it_was_written(text: str) -> None:
    value = json.dumps({"other": [1, {"text": "no"}], "text": text, "id": 12}).encode()
    [document], _ = decoder(max_bytes=10**6).decode([record(value)])
    assert (document.text, document.id) == (text, "12")


def test_field_names_are_the_users() -> None:
    value = b'{"body": "hello", "key": "k1", "text": 5, "id": []}'
    [document], _ = decoder(text_field="body", id_field="key").decode([record(value)])
    assert (document.text, document.id) == ("hello", "k1")


@pytest.mark.parametrize("identifier", [b"1.5", b"true", b"[1]", b"{}"])
def test_an_identifier_that_is_none_does_not_drop_the_text(identifier: bytes) -> None:
    [document], _ = decoder().decode([record(b'{"text": "a", "id": ' + identifier + b"}")])
    assert (document.text, document.id) == ("a", "t/0/7")


def test_a_byte_order_mark_is_no_part_of_the_document() -> None:
    [document], _ = decoder().decode([record(b'\xef\xbb\xbf{"text": "a"}')])
    assert document.text == "a"


def test_plain_lines_and_missing_identifiers_are_called_after_their_coordinates() -> None:
    [plain], _ = decoder(document_format="text").decode([record(b'{"not": "parsed"}', 3)])
    assert (plain.text, plain.id) == ('{"not": "parsed"}', "t/0/3")
    [without], _ = decoder().decode([record(b'{"text": "x"}', 4)])
    assert without.id == "t/0/4"


def test_a_prediction_carries_its_propensity_exactly() -> None:
    import numpy as np

    propensity = np.float32(0.1)
    prediction = Prediction("a", "x", 0.5, 0.5, propensity.item(), True, "v1", 0, "t", 0, 1)
    line = json.loads(encode_predictions([prediction])[0])
    assert line["propensity"] == float(propensity)
    assert np.float32(line["propensity"]) == propensity
    assert "reason" not in line


@pytest.mark.parametrize(
    ("coordinates", "seed"), [(("t", 0, 2**63), 0), (("t", -1, 0), 0), (("t", 10**30, 0), 0), (("t", 0, 0), 2**64)]
)
def test_a_query_that_no_ledger_can_store_is_none(coordinates: tuple[str, int, int], seed: int) -> None:
    """From a topic it becomes a dead letter; in the ledger it would end the worker at every start."""
    query = Query(Coordinates(*coordinates), "d", "text", None, None, 1.0, 0.5, None, seed)
    with pytest.raises(msgspec.DecodeError):
        decode_query(encode_query(query))


def test_the_largest_query_is_read_as_it_was_written() -> None:
    query = Query(Coordinates("t", 0, 2**63 - 1), "d", "text", None, None, 1.0, 0.5, None, 2**63 - 1)
    assert decode_query(encode_query(query)) == query
