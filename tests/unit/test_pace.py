"""How fast the teacher is asked: retries, the breaker, the slots and the rates, all on a passed clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance.calls import Limit, Spend, TeacherState
from askance.rules.breaker import Breaker
from askance.rules.pace import Pace, RateLimit, Slots, Spacing
from askance.rules.retry import LONGEST_PAUSE_SECONDS, MOST_TRIES, RetryBudget, pause_seconds
from askance.rules.spend import Price


@given(st.floats(1, 4.99), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e4))
def test_a_pause_is_at_least_what_the_server_asks_for_and_its_jitter_bounded(
    tries: float, uniform: float, after: float | None
) -> None:
    pause = pause_seconds(tries, uniform, after)
    assert pause is not None
    assert (after or 0.0) <= pause <= (after or 0.0) + LONGEST_PAUSE_SECONDS
    assert pause_seconds(MOST_TRIES, uniform, after) is None


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 5)), max_size=60))
def test_retries_never_exceed_their_share(steps: list[tuple[float, int]]) -> None:
    budget = RetryBudget(share=0.2, per_second=1.0, most=10.0)
    now, first, again = 0.0, 0, 0
    for elapsed, tries in steps:
        now += elapsed
        taken = budget.room(now)
        assert taken >= 0
        budget.called(first=tries, again=taken)
        first, again = first + tries, again + taken
        assert again <= 10.0 + now + 0.2 * first + 1e-6


def test_the_breaker_opens_probes_and_closes() -> None:
    breaker = Breaker(threshold=3, first_seconds=1.0, longest_seconds=3.0)
    for _ in range(3):
        assert not breaker.is_open
        breaker.failed(began=0.0, now=10.0)
    assert breaker.is_open
    assert [breaker.slots(8, now=now) for now in (10.0, 10.9, 11.0)] == [0, 0, 1]
    for pause in (2.0, 3.0, 3.0):
        probe = breaker.until
        breaker.failed(began=probe, now=probe + 0.1)
        assert breaker.until == pytest.approx(probe + 0.1 + pause), "the pause doubles up to its longest"
    breaker.succeeded(began=breaker.until)
    assert breaker.slots(8, now=breaker.until) == 8
    breaker.failed(began=50.0, now=50.0)
    assert not breaker.is_open, "one failure after a recovery does not count with those before"


def test_the_breaker_is_not_swayed_by_calls_from_before_it_opened() -> None:
    breaker = Breaker(threshold=2, first_seconds=1.0)
    for _ in range(10):
        breaker.failed(began=0.0, now=5.0)
    assert breaker.until == 6.0, "calls that failed with those that opened it do not lengthen the pause"
    breaker.succeeded(began=1.0)
    assert breaker.is_open


def test_the_breaker_opens_on_a_failed_share() -> None:
    breaker = Breaker(threshold=100)
    for index in range(60):
        if index % 10 == 0:
            breaker.succeeded(began=0.0)
        else:
            breaker.failed(began=0.0, now=0.0)
    assert not Breaker(threshold=5).is_open
    assert breaker.is_open


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 2)), max_size=200), st.integers(1, 128))
def test_slots_stay_between_one_and_the_cap(events: list[tuple[bool, float]], most: int) -> None:
    slots, now = Slots(most), 0.0
    assert slots.limit == most
    for succeeded, elapsed in events:
        began, now = now, now + elapsed
        before = slots.limit
        if succeeded:
            slots.succeeded()
            assert before <= slots.limit <= before + 1
        else:
            slots.failed(began=began, now=now)
            assert slots.limit >= before // 2
        assert 1 <= slots.limit <= most


def test_calls_that_failed_together_halve_the_slots_once() -> None:
    slots = Slots(64)
    for _ in range(64):
        slots.failed(began=0.0, now=1.0)
    assert slots.limit == 32
    slots.failed(began=1.5, now=2.0)
    assert slots.limit == 16


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 500)), max_size=60), st.floats(1, 6000))
def test_a_rate_limit_holds_over_any_time_from_the_start(steps: list[tuple[float, float]], per_minute: float) -> None:
    limit, now, taken = RateLimit(per_minute), 0.0, 0.0
    largest = 0.0
    for elapsed, amount in steps:
        now += elapsed
        if limit.level(now) > 0.0:
            limit.take(amount)
            taken, largest = taken + amount, max(largest, amount)
        assert taken <= max(1.0, per_minute / 60) + now * per_minute / 60 + largest + 1e-6


def test_the_pace_keeps_to_requests_and_tokens_a_minute() -> None:
    pace = Pace(most=100, requests_per_minute=120)
    assert pace.room(0, now=0.0) == 2
    pace.began(1, again=False)
    pace.began(1, again=False)
    assert pace.room(2, now=0.1) == 0
    assert pace.room(0, now=0.6) == 1
    pace = Pace(most=100, tokens_per_minute=6000)
    pace.room(0, now=0.0)
    pace.began(400, again=False)
    assert pace.room(1, now=1.0) == 0
    pace.ended(failed=False, began=0.0, now=1.0, tokens_less=350)
    assert pace.room(0, now=1.0) > 0, "what a call did not use is given back"


def test_what_a_call_asks_several_times_counts_as_often_against_the_requests_a_minute() -> None:
    """Samples and a cascade's second teacher are requests of their own; those not made are given back."""
    pace, now, requests = Pace(most=100, requests_per_minute=60), 0.0, 0
    while now < 120.0:
        for _ in range(pace.room(0, now=now)):
            pace.began(1, requests=6, again=False)
            pace.ended(failed=False, began=now, now=now, requests_less=1)
            requests += 5
        now += 0.25
    assert 100 <= requests <= 130


def test_a_pause_that_the_server_asks_for_holds_everybody() -> None:
    pace = Pace(most=4)
    pace.ended(failed=True, began=0.0, now=0.0, retry_after_seconds=60.0)
    assert pace.room(0, now=59.9) == 0
    assert pace.state(now=1.0) is TeacherState.PAUSED
    assert pace.room(0, now=60.0) == 2
    assert pace.state(now=60.0) is TeacherState.ASKING


def test_an_open_breaker_pauses_the_teacher_and_lets_one_probe_through() -> None:
    pace = Pace(most=16)
    for _ in range(5):
        pace.ended(failed=True, began=0.0, now=1.0)
    assert pace.state(now=1.0) is TeacherState.PAUSED
    assert pace.room(0, now=1.5) == 0
    assert pace.room(0, now=2.0) == 1
    assert pace.room(1, now=2.0) == 0
    pace.ended(failed=False, began=2.0, now=2.0)
    assert pace.state(now=2.1) is TeacherState.ASKING
    assert pace.room(0, now=2.1) == 8, "as many as were left when it opened"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_price_is_never_rounded_down_and_caching_never_costs_more(prompt: int, output: int, cached: int) -> None:
    price = Price(0.15, 0.6, 0.075)
    whole = price.nanos(prompt, output)
    assert whole == prompt * 150 + output * 600
    assert price.nanos(prompt, output, cached) <= whole
    assert Price(0.0333, 0.0).nanos(1, 0) == 34


def test_a_limit_names_what_is_exceeded() -> None:
    limit = Limit(calls=2, tokens=100, nanos=10)
    assert limit.exceeded_by(Spend(2, 100, 10)) is None
    assert limit.exceeded_by(Spend(3, 0, 0)) == "calls"
    assert limit.exceeded_by(Spend(0, 101, 0)) == "tokens"
    assert limit.exceeded_by(Spend(0, 0, 11)) == "money"


@given(st.integers(1, 512), st.floats(0.001, 2.0), st.lists(st.floats(0, 0.1), max_size=50))
def test_beginnings_are_spread_over_a_round_trip(slots: int, latency: float, steps: list[float]) -> None:
    spacing, now, begun = Spacing(), 0.0, 0
    spacing.observe(latency)
    for elapsed in steps:
        now += elapsed
        room = spacing.room(slots, now)
        assert 0 <= room <= max(8, slots // 8)
        for _ in range(room):
            spacing.take()
        begun += room
        assert begun <= max(8.0, slots / 8) + now * 1.5 * slots / latency + 1e-6
        assert spacing.wait_seconds(slots) > 0.0
