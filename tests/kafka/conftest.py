"""A real broker for every Kafka test; where none can be had, the tests skip with the reason, and under CI they fail."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from askance.manifest import FeaturizerConfig
from askance.registry import DirectoryRegistry
from askance.training.pipeline import train
from askance.training.spec import Spec
from deploy.kafka.broker import DEFAULT_VERSION, BrokerMissingError, Cluster
from tests.kafka.stream import LABELS, teach_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

# Rightful complaints about what the tests do to their brokers.
logging.getLogger("aiokafka").propagate = False
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

# A dead worker's partitions are waited for: shorter than Kafka's least of six seconds.
LEAST_SESSION_MS = {"group.min.session.timeout.ms": 500}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("kafka")


def cluster_or_skip(brokers: int, **properties: object) -> Cluster:
    """A cluster that is not started yet."""
    try:
        version = os.environ.get("ASKANCE_TEST_KAFKA_VERSION", DEFAULT_VERSION)
        return Cluster(brokers, version, **LEAST_SESSION_MS, **properties)
    except BrokerMissingError as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have a broker: {exc}", pytrace=False)
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def own_cluster() -> Iterator[Cluster]:
    """One broker that a test may stop and start again."""
    with cluster_or_skip(1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> str:
    """The address of a broker: `ASKANCE_TEST_KAFKA`, or else one of our own."""
    given = os.environ.get("ASKANCE_TEST_KAFKA")
    if given:
        return given
    cluster: Cluster = request.getfixturevalue("own_cluster")
    return cluster.bootstrap_servers


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[Cluster]:
    """Three brokers, of which one may be lost."""
    with cluster_or_skip(3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with three small versions, trained by the real pipeline; the first one is live."""
    state = tmp_path_factory.mktemp("state")
    registry = DirectoryRegistry(state / "registry", on_warning=pytest.fail)
    for number, rows in enumerate((40, 80, 160)):
        ledger = teach_ledger(state / f"{number}.db", rows)
        spec = Spec(ledger=str(ledger), registry=str(state / "registry"), labels=LABELS,
                    featurizer=FeaturizerConfig(bits=12))  # fmt: skip
        version = train(spec).version
        if number == 0:
            registry.promote(version)
    return state
