"""Alive and ready: who says what, and what is served of it."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request

import pytest

from askance.endpoint import serve
from askance.errors import ConfigError
from askance.health import Health
from askance.telemetry import Telemetry


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fetched(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def test_a_loop_that_does_not_come_round_in_time_is_dead_until_it_does(clock: Clock) -> None:
    health = Health(clock)
    health.beat("loop", within_seconds=10.0)
    clock.now += 10.0
    assert health.not_alive() == []
    clock.now += 1.0
    assert health.not_alive() == ["loop: nothing heard for 11 s"]
    assert health.not_ready() == ["loop: nothing heard for 11 s"]
    health.beat("loop", within_seconds=10.0)
    assert health.not_alive() == []


def test_a_part_that_waits_is_unready_but_alive(clock: Clock) -> None:
    health = Health(clock)
    health.unready("group", "joining")
    assert (health.not_alive(), health.not_ready()) == ([], ["group: joining"])
    health.ready("group")
    assert health.not_ready() == []


def test_a_part_that_is_stuck_is_neither(clock: Clock) -> None:
    health = Health(clock)
    health.ready("group")
    health.stuck("group", "no progress")
    assert health.not_alive() == health.not_ready() == ["group: no progress"]
    health.moving("group")
    assert health.not_alive() == health.not_ready() == []


def test_a_part_that_has_ended_promises_nothing(clock: Clock) -> None:
    health = Health(clock)
    health.beat("group", within_seconds=1.0)
    health.unready("group", "joining")
    health.forget("group")
    clock.now += 100.0
    assert health.not_ready() == []


def test_what_is_served(clock: Clock) -> None:
    telemetry, health = Telemetry(), Health(clock)
    telemetry.documents.inc(3)
    health.unready("process", "starting")
    with serve("127.0.0.1", 0, telemetry, health) as address:
        assert fetched(f"{address}/healthz") == (200, "ok\n")
        assert fetched(f"{address}/readyz") == (503, "process: starting\n")
        status, text = fetched(f"{address}/metrics")
        assert status == 200
        assert "askance_documents_total 3.0" in text
        assert fetched(f"{address}/elsewhere")[0] == 404
        assert fetched(f"{address}/healthz", "POST")[0] == 405
        health.beat("loop", within_seconds=1.0)
        clock.now += 2.0
        assert fetched(f"{address}/healthz") == (503, "loop: nothing heard for 2 s\n")


def test_a_reader_that_says_nothing_keeps_nobody_waiting(clock: Clock) -> None:
    with serve("127.0.0.1", 0, Telemetry(), Health(clock)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))):
            assert fetched(f"{address}/healthz")[0] == 200


def test_the_server_is_gone_when_the_block_ends(clock: Clock) -> None:
    with serve("127.0.0.1", 0, Telemetry(), Health(clock)) as address:
        pass
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/healthz", timeout=5)
    assert not [thread for thread in threading.enumerate() if thread.name == "askance-endpoint"]


def test_a_port_that_is_taken_is_a_mistake_of_the_settings(clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(ConfigError, match=r"metrics\.port"),
            serve("127.0.0.1", taken.getsockname()[1], Telemetry(), Health(clock)),
        ):
            pass
