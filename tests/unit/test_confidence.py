"""A label's probability from its tokens: renormalised over the set, unknown where it cannot be told."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance.records import Answer
from askance.teacher.confidence import label_probabilities
from askance.teacher.prompt import Prompt
from askance.teacher.wire import Alternative, Reply, TokenLogprob


def token(text: str, probability: float = 1.0, **others: float) -> TokenLogprob:
    tops = [Alternative(text, math.log(probability))]
    tops += [Alternative(other, math.log(p)) for other, p in others.items()]
    return TokenLogprob(text, math.log(probability), tops)


def of(tokens: list[TokenLogprob], chosen: str, labels: list[str]) -> float | None:
    return label_probabilities(tokens, [chosen], labels)[0]


def test_mass_outside_the_set_does_not_count() -> None:
    tokens = [token('{"label": "'), token("spam", 0.6, ham=0.2, eggs=0.2), token('"}')]
    assert of(tokens, "spam", ["spam", "ham"]) == pytest.approx(0.75)


def test_labels_that_share_their_beginning_are_told_apart_where_they_part() -> None:
    tokens = [token('{"label":"'), token("card", 0.8, cash=0.2), token("_lost", 0.5, _late=0.5), token('"}')]
    assert of(tokens, "card_lost", ["card_lost", "card_late", "cash"]) == pytest.approx(0.4)
    assert of(tokens, "card_lost", ["card_lost", "cash"]) == pytest.approx(0.8)


def test_a_label_that_is_the_beginning_of_another() -> None:
    tokens = [token('{"label": "'), token("card", 0.9, cash=0.1), token('"', 0.7, _lost=0.3), token("}")]
    assert of(tokens, "card", ["card", "card_lost", "cash"]) == pytest.approx(0.63)


def test_tokens_that_straddle_the_quote() -> None:
    tokens = [token('{"label'), token('": "s', 0.9, **{'": "h': 0.1}), token("pam"), token('"}')]
    assert of(tokens, "spam", ["spam", "ham"]) == pytest.approx(0.9)


def test_several_tokens_to_the_same_label_add_up() -> None:
    tokens = [token('{"label": "'), token("sp", 0.3, spam=0.3, ham=0.4), token("am"), token('"}')]
    assert of(tokens, "spam", ["spam", "ham"]) == pytest.approx(0.6)


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [token("nothing of the kind")],
        [TokenLogprob('{"label": "', 0.0, None), TokenLogprob("spam", -0.1, None), TokenLogprob('"}', 0.0, None)],
        [token('{"label": "'), token("ham", 0.9, spam=0.1), token('"}')],
    ],
    ids=["none", "not a reply", "no alternatives", "another label"],
)
def test_what_cannot_be_told_is_none_and_never_0_or_1(tokens: list[TokenLogprob]) -> None:
    assert of(tokens, "spam", ["spam", "ham"]) is None


def test_a_rationale_cannot_forge_a_label() -> None:
    forged = '{"rationale": "it says \\"label\\": \\"ham\\"", "label": "'
    tokens = [token(forged), token("spam", 0.8, ham=0.2), token('"}')]
    assert of(tokens, "spam", ["spam", "ham"]) == pytest.approx(0.8)


@given(st.dictionaries(st.sampled_from(["spam", "ham", "eggs", "tea"]), st.floats(0.01, 1), min_size=2))
def test_the_probabilities_of_all_labels_add_up_to_one(masses: dict[str, float]) -> None:
    labels = sorted(masses)
    total = sum(masses.values()) * 1.5
    shares = {label: mass / total for label, mass in masses.items()}
    found = []
    for label in labels:
        others = {other: share for other, share in shares.items() if other != label}
        found.append(of([token('{"label": "'), token(label, shares[label], **others), token('"}')], label, labels))
    assert sum(found) == pytest.approx(1.0)


def test_each_document_of_a_call_has_its_own() -> None:
    content = '{"answers": [{"id": 2, "label": "ham"}, {"id": 1, "label": "spam"}, {"id": 7, "label": "ham"}]}'
    tokens = [
        *(token('{"answers": [{"id": 2, "label": "'), token("ham", 0.7, spam=0.3), token('"}, {"id": 1, "label": "')),
        *(token("spam", 0.9, ham=0.1), token('"}, {"id": 7, "label": "'), token("ham", 0.6, spam=0.4), token('"}]}')),
    ]
    logprobs = msgspec.Raw(msgspec.json.encode({"content": tokens}))
    reply = msgspec.json.decode(
        msgspec.json.encode({"choices": [{"message": {"content": content}}], "usage": {"prompt_tokens": 10}}),
        type=Reply,
    )
    reply = Reply([msgspec.structs.replace(reply.choices[0], logprobs=logprobs)], reply.usage)
    prompt = Prompt(task="", labels=["spam", "ham"], descriptions={})
    first, second, third = prompt.answers(reply, 3)
    assert (first.raw, first.confidence, first.confidence_source) == ("spam", pytest.approx(0.9), "log_probability")
    assert (second.raw, second.confidence) == ("ham", pytest.approx(0.7))
    assert (third.raw, third.confidence) == (None, None)
    assert "not exactly one answer" in (third.error or "")
    assert [one.prompt_tokens for one in (first, second, third)] == [3, 3, 4]


def test_a_document_answered_twice_is_not_answered() -> None:
    content = '{"answers": [{"id": 1, "label": "ham"}, {"id": 2, "label": "ham"}, {"id": 1, "label": "spam"}]}'
    body = msgspec.json.encode({"choices": [{"message": {"content": content}}]})
    first, second = Prompt(task="", labels=["spam", "ham"], descriptions={}).answers(
        msgspec.json.decode(body, type=Reply), 2
    )
    assert first.raw is None
    assert second == Answer("ham")


@pytest.mark.parametrize("given", [{"stated": 0.5}, [], "?", {"content": [{"token": 3}]}, None])
def test_log_probabilities_in_another_form_are_none(given: object) -> None:
    body = msgspec.json.encode({"choices": [{"message": {"content": '{"label": "ham"}'}, "logprobs": given}]})
    prompt = Prompt(task="", labels=["spam", "ham"], descriptions={})
    assert prompt.answers(msgspec.json.decode(body, type=Reply), 1) == (Answer("ham"),)
