"""Reads the workers' `/metrics`. Blocking."""

from __future__ import annotations

import http.client
import math
import urllib.request
from collections import defaultdict
from typing import TYPE_CHECKING

from askance.errors import ConfigError
from askance.page.figures import Flow, Lag, SpendFigures
from askance.telemetry import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from askance.telemetry import Sample

_TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 4_000_000
# No proxy of the environment is asked for the metrics of one's own machines.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(address: str) -> str:
    """The text at an address; raises `OSError`, and `ValueError` for what is no text."""
    with _OPENER.open(address, timeout=_TIMEOUT_SECONDS) as reply:
        content: bytes = reply.read(_MOST_BYTES)
    return content.decode()


class Flows:
    """Adds up what the workers' metrics say, and compares it with what they said before."""

    def __init__(
        self, addresses: Sequence[str], clock: Callable[[], float], *, fetch: Callable[[str], str] = fetch
    ) -> None:
        for address in addresses:
            if not address.startswith(("http://", "https://")):
                msg = f"page.metrics: {address!r} is no address; write it as http://127.0.0.1:9464/metrics"
                raise ConfigError(msg)
        self._addresses = addresses
        self._clock = clock
        self._fetch = fetch
        self._before: dict[str, tuple[float, _Counted]] = {}

    def read(self) -> tuple[Flow | None, list[str]]:
        """The flow now, and what could not be read; those that could be are added up all the same."""
        found: list[Sample] = []
        problems = []
        rate, buckets, compared = 0.0, defaultdict[float, float](float), False
        for address in self._addresses:
            try:
                told = samples(self._fetch(address))
            except (OSError, ValueError, http.client.HTTPException) as exc:
                # A worker that comes back begins to count anew.
                self._before.pop(address, None)
                problems.append(f"{address} cannot be read: {exc}")
                continue
            found += told
            now, counted = self._clock(), _Counted(told)
            before = self._before.get(address)
            self._before[address] = (now, counted)
            # Counters that fell belong to another process.
            if before is not None and now > before[0] and counted.documents >= before[1].documents:
                compared = True
                rate += (counted.documents - before[1].documents) / (now - before[0])
                for bound, count in counted.buckets.items():
                    buckets[bound] += count - before[1].buckets.get(bound, 0.0)
        if not found:
            return None, problems
        return _flow(found, rate if compared else None, buckets), problems


class _Counted:
    """What rates are made of."""

    def __init__(self, told: Sequence[Sample]) -> None:
        self.documents = _sum(told, "askance_documents_total")
        self.buckets = {
            float(sample.labels["le"]): sample.value for sample in told if sample.name == "askance_batch_seconds_bucket"
        }


def _sum(told: Sequence[Sample], name: str) -> float:
    return sum(sample.value for sample in told if sample.name == name)


def _flow(told: Sequence[Sample], rate: float | None, buckets: Mapping[float, float]) -> Flow:
    lag: dict[tuple[str, str], float] = {}
    for sample in told:
        if sample.name == "askance_lag_records":
            key = (sample.labels["topic"], sample.labels["partition"])
            lag[key] = lag.get(key, 0.0) + sample.value
    # On Kafka each `classify` tells how many wait for all of them.
    pending = [sample.value for sample in told if sample.name == "askance_pending_queries"]
    scales = [sample.value for sample in told if sample.name == "askance_gate_scale"]
    return Flow(
        documents=_sum(told, "askance_documents_total"),
        accepted=_sum(told, "askance_accepted_total"),
        dead_letters=_sum(told, "askance_dead_letters_total"),
        pending=max(pending, default=0.0),
        swaps=_sum(told, "askance_swaps_total"),
        gate_scale=max(scales, default=0.0),
        documents_per_second=rate,
        p50_ms=_in_ms(quantile(buckets, 0.5)),
        p99_ms=_in_ms(quantile(buckets, 0.99)),
        lag=tuple(Lag(*key, records) for key, records in sorted(lag.items())),
        spend=_spend(told),
    )


def _spend(told: Sequence[Sample]) -> SpendFigures | None:
    # The tokens stand at 0 in workers that ask nobody; calls are told from the first one on.
    if not any(sample.name == "askance_teacher_calls_total" for sample in told):
        return None
    return SpendFigures(
        calls=int(_sum(told, "askance_teacher_calls_total")),
        tokens=int(_sum(told, "askance_spent_tokens_total")),
        nanos=int(_sum(told, "askance_spent_nanos_total")),
    )


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def quantile(buckets: Mapping[float, float], part: float) -> float | None:
    """Of a histogram's cumulative counts by upper bound, linear within a bucket as Prometheus' `histogram_quantile`.

    None of an empty one. What is above the last finite bound counts as that bound.

    >>> quantile({0.1: 50.0, 0.2: 100.0, float("inf"): 100.0}, 0.75)
    0.15000000000000002
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = part * buckets[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank and buckets[bound] > below:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (rank - below) / (buckets[bound] - below)
        low, below = bound, buckets[bound]
    return low
