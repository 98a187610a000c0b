"""What another version would have said: each kind of difference is counted, under the version that was recorded."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance.rules.comparison import Change, Comparison, LabelChange

ENCODER = msgspec.json.Encoder()
PLACE = ("documents", 3)


def said(
    offset: int, label: str | None, *, accepted: bool = False, version: str | None = "v1", **place: object
) -> bytes:
    fields = {"topic": PLACE[0], "partition": PLACE[1], **place}
    return ENCODER.encode(
        {"id": "d", "offset": offset, "label": label, "accepted": accepted, "version": version} | fields
    )


def test_every_kind_of_difference_is_counted_by_the_recorded_version() -> None:
    comparison = Comparison({PLACE: (100, 106)})
    comparison.anew(
        [
            said(100, "a"),
            said(101, "b", accepted=True),
            said(102, "b", accepted=False),
            said(103, "b", accepted=True),
            said(105, "c"),
        ]
    )
    assert not comparison.is_complete
    comparison.recorded(
        [
            said(100, "a"),
            said(101, "a", accepted=False),
            said(101, "c", accepted=False),  # at least once
            said(102, "a", accepted=True),
            b"no prediction",
            said(103, None, accepted=True, version=None),
            said(104, "a"),  # was a dead letter this time
            said(99, "a"),
            said(106, "a"),
            said(100, "z", partition=4),
            said(100, "z", topic="elsewhere"),
        ]
    )
    outcome = comparison.outcome()
    assert not comparison.is_complete
    assert (outcome.documents, outcome.without_record, outcome.repeated, outcome.malformed) == (5, 1, 1, 1)
    assert outcome.total == Change(documents=4, label_changes=3, newly_accepted=1, no_longer_accepted=1)
    assert outcome.by_version == {
        "v1": Change(documents=3, label_changes=2, newly_accepted=1, no_longer_accepted=1),
        "none": Change(documents=1, label_changes=1, newly_accepted=0, no_longer_accepted=0),
    }
    assert outcome.label_changes == (LabelChange("a", "b", documents=2), LabelChange(None, "b", documents=1))


def test_it_is_complete_when_every_document_was_compared() -> None:
    comparison = Comparison({PLACE: (0, 2)})
    assert comparison.is_complete
    comparison.anew([said(1, "a")])
    assert not comparison.is_complete
    comparison.recorded([said(1, "a")])
    assert comparison.is_complete


def test_a_document_outside_its_stretch_is_misuse() -> None:
    with pytest.raises(IndexError):
        Comparison({PLACE: (0, 2)}).anew([said(2, "a")])


PREDICTIONS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.booleans(), st.sampled_from(["a", "b", None]), st.booleans()),
    max_size=30,
)


@given(PREDICTIONS)
def test_it_counts_like_a_slow_loop(pairs: list[tuple[str | None, bool, str | None, bool]]) -> None:
    comparison = Comparison({PLACE: (0, len(pairs))})
    comparison.anew([said(n, new, accepted=asked) for n, (_, _, new, asked) in enumerate(pairs)])
    comparison.recorded([said(n, old, accepted=asked) for n, (old, asked, _, _) in enumerate(pairs)])
    assert comparison.outcome().total == Change(
        documents=len(pairs),
        label_changes=sum(old != new for old, _, new, _ in pairs),
        newly_accepted=sum(now and not then for _, then, _, now in pairs),
        no_longer_accepted=sum(then and not now for _, then, _, now in pairs),
    )
