"""The schedule: first, geometric, linear, by time, and once more at the end."""

import pytest

from askance.rules.retraining import RetrainingSchedule


def schedule(**settings: object) -> RetrainingSchedule:
    return RetrainingSchedule(
        **{"first_at": 64, "growth": 1.5, "every": None, "every_seconds": None, "labels": 0, "now": 0.0} | settings
    )


def test_geometric_by_default() -> None:
    due, labels = schedule(), []
    for count in range(1, 1000):
        if due.due(count, 0.0):
            labels.append(count)
            due.trained(count, 0.0)
    assert labels == [64, 96, 144, 216, 324, 486, 729]


def test_every_so_many_labels() -> None:
    due = schedule(every=10, labels=64)
    assert not due.due(73, 0.0)
    assert due.due(74, 0.0)


def test_by_time_only_with_something_new() -> None:
    due = schedule(every_seconds=5.0, labels=100, now=0.0)
    assert not due.due(100, 60.0)
    assert not due.due(101, 4.9)
    assert due.due(101, 5.0)
    assert not schedule(every_seconds=5.0).due(63, 100.0)


@pytest.mark.parametrize(("labels", "expected"), [(100, False), (101, True)])
def test_a_last_training_takes_what_is_left(labels: int, expected: bool) -> None:
    assert schedule(labels=100).due(labels, 0.0, last=True) is expected


def test_growth_of_one_still_needs_a_new_label() -> None:
    due = schedule(growth=1.0, labels=70)
    assert not due.due(70, 0.0)
    assert due.due(71, 0.0)
