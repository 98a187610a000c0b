"""Kafka's own settings under Kafka's own names, and the topics."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from askance.config.base import Positive, Section


def _addresses(servers: str | None) -> str | None:
    for address in () if servers is None else servers.split(","):
        if not _is_address(address.strip()):
            msg = f"{address!r} is no broker's address; write host:port, several with commas between"
            raise ValueError(msg)
    return servers


def _is_address(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, ":", "9092")
        return bool(host.strip("[]")) and not set(host) & set("/ ") and port.isascii() and port.isdecimal()
    return True


class _Bootstrap(Section):
    servers: Annotated[str | None, AfterValidator(_addresses)] = None
    """`host:port,host:port`; set, the workers run on Kafka instead of files."""


class _Security(Section):
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the brokers are spoken to."""


class _Sasl(Section):
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    """How to log in. The secret comes from the environment: `KAFKA_SASL_PASSWORD` or, with OAUTHBEARER,
    `KAFKA_SASL_TOKEN`; or from the file that the same name with `_FILE` behind it names."""
    username: str | None = None
    """The user's name."""


class _Location(Section):
    location: str | None = None
    """A file in PEM form: the authority's certificate, the client's certificate, or its key (whose password comes from
    `KAFKA_SSL_KEY_PASSWORD`)."""


class _Identification(Section):
    algorithm: Literal["https", "none"] = "https"
    """`none` does not check that the broker's certificate is for its host name."""


class _Endpoint(Section):
    identification: _Identification = _Identification()


class _Ssl(Section):
    ca: _Location = _Location()
    certificate: _Location = _Location()
    key: _Location = _Location()
    endpoint: _Endpoint = _Endpoint()


class _Instance(Section):
    id: str | None = None
    """Static membership: a restart within the session timeout causes no rebalance. One name a process."""


class _Group(Section):
    id: str = "askance"
    """The consumer group of `classify`; `teach` uses this name with `-teach` behind it."""
    instance: _Instance = _Instance()


class _Timeout(Section):
    ms: Annotated[int, Field(ge=1)]
    """A worker that the group has not heard of for `session.timeout.ms` loses its partitions; at a rebalance a batch
    under way has `rebalance.timeout.ms` to be delivered."""


class _Session(Section):
    timeout: _Timeout = _Timeout(ms=10_000)


class _Rebalance(Section):
    timeout: _Timeout = _Timeout(ms=60_000)


class _Compression(Section):
    type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    """Of what is produced; every kind is read. `zstd` is both the smallest and, with aiokafka, a fifth of the time of
    `lz4`; consumers older than Kafka 2.1 cannot read it."""


class _Offset(Section):
    reset: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins."""


class _Auto(Section):
    offset: _Offset = _Offset()


class KafkaConfig(Section):
    """Kafka's own settings under Kafka's own names, and the topics."""

    bootstrap: _Bootstrap = _Bootstrap()
    security: _Security = _Security()
    sasl: _Sasl = _Sasl()
    ssl: _Ssl = _Ssl()
    group: _Group = _Group()
    session: _Session = _Session()
    rebalance: _Rebalance = _Rebalance()
    compression: _Compression = _Compression()
    auto: _Auto = _Auto()
    documents: tuple[str, ...] = ("documents",)
    """The topics to classify."""
    predictions: str = "askance.predictions"
    """Where predictions go, with the document's key and headers, to the partition of the document's number."""
    queries: str = "askance.queries"
    """Where accepted documents go."""
    labels: str = "askance.labels"
    """Where the teacher's labels go."""
    tallies: str = "askance.tallies"
    """Where `classify` writes what it counted of all its documents: a few numbers a batch and partition, which the
    estimates, the guard and the contract rest on."""
    dead_letters: str = "askance.dead-letters"
    """Where records that could not be processed go."""
    delivery: Literal["at_least_once", "exactly_once"] = "exactly_once"
    """`exactly_once`: outputs and offsets are one transaction; read the outputs with `read_committed`."""
    stall_seconds: Positive = 60.0
    """A consumer that has lag and has got nothing for so long is rebuilt."""

    @model_validator(mode="after")
    def _distinct(self) -> KafkaConfig:
        """A worker that reads what it writes would never end."""
        topics = [*self.documents, self.predictions, self.queries, self.labels, self.dead_letters]
        for topic in topics:
            if topics.count(topic) > 1:
                msg = f"the topic {topic} is named for two purposes; documents, predictions, queries, labels and "
                raise ValueError(msg + "dead_letters each need their own")
        return self
