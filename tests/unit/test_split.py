from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance.rules.split import is_held_out, text_uniform

TEXTS = [f"document number {i}" for i in range(20_000)]


def test_the_split_never_changes() -> None:
    # Pinned: a release that splits otherwise would train on what older versions were judged by.
    assert text_uniform("how to join two tables", purpose="holdout") == 0.8819117009245231
    assert text_uniform("", purpose="holdout") == 0.555967133839315
    assert text_uniform("日本語", purpose="holdout") == 0.25464611749949295


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5])
def test_the_share_is_kept(share: float) -> None:
    held_out = sum(is_held_out(text, share) for text in TEXTS)
    standard_error = (share * (1 - share) * len(TEXTS)) ** 0.5
    assert abs(held_out - share * len(TEXTS)) < 4 * standard_error


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_share_is_part_of_a_larger_one(text: str, one: float, other: float) -> None:
    smaller, larger = sorted([one, other])
    assert is_held_out(text, larger) or not is_held_out(text, smaller)


def test_purposes_are_independent() -> None:
    both = sum(
        text_uniform(text, purpose="holdout") < 0.2 and text_uniform(text, purpose="inner-0") < 0.2 for text in TEXTS
    )
    assert abs(both / len(TEXTS) - 0.04) < 4 * (0.04 * 0.96 / len(TEXTS)) ** 0.5


def test_a_lone_surrogate_is_a_text_too() -> None:
    assert is_held_out("\ud800", 1.0)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_0_to_1_is_misuse(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        is_held_out("text", share)
