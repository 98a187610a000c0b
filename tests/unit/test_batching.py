"""Batches grow while the scoring keeps its time, and shrink at once when it does not."""

from hypothesis import given
from hypothesis import strategies as st

from askance.rules.batching import BatchSize


@given(per_document=st.floats(1e-7, 10.0), most=st.integers(1, 65_536))
def test_under_backlog_a_batch_takes_the_target_or_less_once_it_has_settled(per_document: float, most: int) -> None:
    size = BatchSize(most=most, target_seconds=0.1)
    for _ in range(60):
        assert 1 <= size.documents <= most
        size.took(size.documents, size.documents * per_document)
    taken = size.documents * per_document
    assert taken <= 0.1 * 1.000001 or size.documents == 1
    # And no smaller than it must be.
    assert (
        size.documents == most or taken > 0.1 / 2.1 or size.documents == 1 or (size.documents + 1) * per_document > 0.1
    )


def test_a_batch_that_was_not_full_says_nothing_of_larger_ones() -> None:
    size = BatchSize(most=4096, target_seconds=0.1)
    before = size.documents
    size.took(1, 0.0001)
    assert size.documents == before
