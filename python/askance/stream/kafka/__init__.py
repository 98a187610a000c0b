"""Streams on Kafka: the one home of aiokafka."""

from askance.errors import ConfigError

try:
    import aiokafka as _aiokafka  # noqa: F401 - asked for here, once, so that its absence is told with the remedy
except ImportError as exc:
    _msg = "Kafka (kafka.bootstrap.servers) needs the package aiokafka; run: pip install 'askance[kafka]'"
    raise ConfigError(_msg) from exc
