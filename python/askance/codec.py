"""Bytes to documents, predictions to bytes. Nothing here raises on data: bad input becomes a dead letter."""

from __future__ import annotations

import codecs
import functools
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from askance import _kernel
from askance.records import Coordinates, DeadLetter, Document, KeptLetter, Position, Query, Reason, Record, Settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from askance.predictions import Answerer, Predictions
    from askance.records import Prediction

_encoder = msgspec.json.Encoder()
_query_decoder = msgspec.json.Decoder(Query)
_settled_decoder = msgspec.json.Decoder(Settled)
_position_decoder = msgspec.json.Decoder(Position)


class DocumentDecoder:
    """Decodes records into documents; immutable, thread-safe.

    `jsonl`: the value is a JSON object whose `text_field` is a string; other fields are skipped. `text`: the value is
    the text itself. A document without an identifier is called after its coordinates.
    """

    def __init__(
        self,
        *,
        document_format: Literal["jsonl", "text"],
        text_field: str,
        id_field: str,
        max_bytes: int,
    ) -> None:
        self._max_bytes = max_bytes
        self._text_field = text_field
        self._json: msgspec.json.Decoder[Any] | None = None
        if document_format == "jsonl":
            fields: list[tuple[str, object] | tuple[str, object, object]] = [("text", str)]
            rename = {"text": text_field}
            if id_field != text_field:
                fields.append(("id", str | int | None, None))
                rename["id"] = id_field
            shape = msgspec.defstruct("Inbound", fields, rename=rename)
            self._json = msgspec.json.Decoder(shape)

    def decode(self, records: Iterable[Record]) -> tuple[list[Document], list[DeadLetter]]:
        """The records' documents in order, and a dead letter for every record that has none."""
        documents: list[Document] = []
        dead_letters: list[DeadLetter] = []
        for record in records:
            decoded = self._decode(record)
            if isinstance(decoded, Document):
                documents.append(decoded)
            else:
                dead_letters.append(decoded)
        return documents, dead_letters

    def _decode(self, record: Record) -> Document | DeadLetter:
        value = record.value
        if value is None:
            return DeadLetter(record, Reason.NULL_VALUE, "the record has no value")
        if len(value) > self._max_bytes:
            return DeadLetter(
                record, Reason.TOO_LARGE, f"{len(value)} bytes; source.max_document_bytes is {self._max_bytes}"
            )
        identifier: str | int | None = None
        value = value.removeprefix(codecs.BOM_UTF8)
        try:
            if self._json is None:
                text = value.decode()
            else:
                inbound = self._json.decode(value)
                text = inbound.text
                identifier = getattr(inbound, "id", None)
        except msgspec.ValidationError as exc:
            # An identifier that is none is no reason to drop a good text.
            try:
                text = _without_identifier(self._text_field).decode(value).text
            except msgspec.ValidationError:
                return DeadLetter(record, Reason.INVALID_TEXT, str(exc))
        except UnicodeDecodeError as exc:
            return DeadLetter(record, Reason.INVALID_UTF8, str(exc))
        except (msgspec.DecodeError, RecursionError) as exc:
            return DeadLetter(record, _why_not_json(value), str(exc) or "nested too deeply")
        if not text.strip():
            return DeadLetter(record, Reason.EMPTY_TEXT, "the text holds nothing but white space")
        if identifier is None:
            topic, partition, offset = record.coordinates
            identifier = f"{topic}/{partition}/{offset}"
        return Document(str(identifier), text, record)


@functools.cache
def _without_identifier(text_field: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(msgspec.defstruct("Inbound", [("text", str)], rename={"text": text_field}))


def encode_predictions(predictions: Sequence[Prediction]) -> list[bytes]:
    """Each prediction as one line of JSON, without a line feed."""
    return [_encoder.encode(prediction) for prediction in predictions]


def encode_batch(predictions: Predictions) -> list[bytes]:
    """`encode_predictions` of a batch that is kept by column."""
    found: list[bytes] = [b""] * predictions.documents
    for topic in dict.fromkeys(predictions.places.topics):
        is_of_topic = predictions.places.among(topic)
        for number, answerer in enumerate(predictions.answerers):
            own = is_of_topic & (predictions.answerer == number)
            if own.all():
                return _encode_alike(predictions, answerer, topic, slice(None))
            rows = np.flatnonzero(own)
            for place, line in zip(rows.tolist(), _encode_alike(predictions, answerer, topic, rows), strict=True):
                found[place] = line
    return found


def _encode_alike(
    predictions: Predictions, answerer: Answerer, topic: str, rows: slice | NDArray[np.int64]
) -> list[bytes]:
    """The lines of rows that one version answers in one topic."""
    ids, places = predictions.ids, predictions.places
    middle = _encoder.encode({"version": answerer.version, "seed": predictions.seed, "topic": topic, "partition": 0})
    return _kernel.encode_predictions(
        ids=ids if isinstance(rows, slice) else [ids[row] for row in rows.tolist()],
        finite=predictions.finite[rows],
        labels=predictions.labels[rows],
        confidences=predictions.confidences[rows],
        uncertainties=predictions.uncertainties[rows],
        propensities=predictions.propensities[rows],
        accepted=predictions.accepted[rows],
        partitions=places.partitions[rows],
        offsets=places.offsets[rows],
        endings=predictions.standing[rows],
        label_names=[_encoder.encode(label) for label in answerer.labels],
        middle=b"," + middle[1:-2],
        missing=_ending({"reason": answerer.missing}),
        ending_names=[
            _ending({"standing": standing, "threshold": None if standing is None else answerer.threshold})
            for standing in predictions.standings
        ],
    )


def _ending(fields: dict[str, object]) -> bytes:
    """A prediction's last fields, without those that are null."""
    given = {name: value for name, value in fields.items() if value is not None}
    return b"," + _encoder.encode(given)[1:-1] if given else b""


def encode_query(query: Query) -> bytes:
    """A query as JSON."""
    return _encoder.encode(query)


def decode_query(value: bytes) -> Query:
    """The inverse of `encode_query`; raises `msgspec.DecodeError` for what is no query."""
    return _query_decoder.decode(value)


def encode_settled(settled: Settled) -> bytes:
    """A query with its label as JSON."""
    return _encoder.encode(settled)


def decode_settled(value: bytes) -> Settled:
    """The inverse of `encode_settled`; raises `msgspec.DecodeError` for anything else."""
    return _settled_decoder.decode(value)


def encode_position(position: Position) -> bytes:
    """How far a partition is done, and what was counted on the way, as JSON."""
    return _encoder.encode(position)


def decode_position(value: bytes) -> Position:
    """The inverse of `encode_position`; raises `msgspec.DecodeError` for what is none."""
    return _position_decoder.decode(value)


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """One line of JSON, without a line feed: coordinates, reason, detail, and the original bytes in base64."""
    return _encoder.encode(LetterLine(*letter.record.coordinates, letter.reason, letter.detail, letter.record.value))


class LetterLine(msgspec.Struct, frozen=True):
    """A record that could not be processed: where it was, why, and its bytes as they came, in base64.

    `bytes` is null for a record without a value.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    value: bytes | None = msgspec.field(name="bytes")


_letter_decoder = msgspec.json.Decoder(LetterLine)


def decode_dead_letter(line: bytes, place: str) -> KeptLetter:
    """The inverse of `encode_dead_letter`; raises `msgspec.DecodeError` for anything else."""
    found = _letter_decoder.decode(line)
    record = Record(Coordinates(found.topic, found.partition, found.offset), found.value)
    return KeptLetter(place, record, found.reason, found.detail)


def _why_not_json(value: bytes) -> Reason:
    try:
        value.decode()
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    return Reason.INVALID_JSON
