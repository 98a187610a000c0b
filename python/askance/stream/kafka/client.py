"""How to reach the brokers: addresses, TLS and log-in, from the settings and, for secrets, the environment alone."""

from __future__ import annotations

import logging
import os
import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from askance.errors import ConfigError, StreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from askance.config import KafkaConfig

PASSWORD = "KAFKA_SASL_PASSWORD"  # noqa: S105 - the variable's name
TOKEN = "KAFKA_SASL_TOKEN"  # noqa: S105 - the variable's name
KEY_PASSWORD = "KAFKA_SSL_KEY_PASSWORD"  # noqa: S105 - the variable's name


class _Explanations(logging.Handler):
    """Keeps aiokafka's last word on a connection that failed: its exception says only that none could be made.

    The rest of what aiokafka logs goes nowhere: what matters of it askance says itself, once.
    """

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Unable connect"):
            self.last = record.getMessage()


_explanations = _Explanations()


def explained(exc: BaseException) -> str:
    """The error in words, with what aiokafka knows of its cause."""
    # aiokafka's errors begin with their own names.
    name, words = type(exc).__name__, str(exc)
    said = words if words.startswith(name) else f"{name}: {words}" if words else name
    why, _explanations.last = _explanations.last, ""
    return f"{said}: {why}" if why and isinstance(exc, KafkaConnectionError) else said


def connection(config: KafkaConfig) -> dict[str, Any]:
    """The arguments that every aiokafka client takes; raises `ConfigError` naming the setting or variable."""
    logger = logging.getLogger("aiokafka")
    if _explanations not in logger.handlers:
        logger.addHandler(_explanations)
        logger.propagate = False
    arguments: dict[str, Any] = {
        "bootstrap_servers": config.bootstrap.servers,
        "security_protocol": config.security.protocol,
    }
    if config.security.protocol in ("SSL", "SASL_SSL"):
        arguments["ssl_context"] = _ssl_context(config)
    if config.security.protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = config.sasl.mechanism
        if config.sasl.mechanism == "OAUTHBEARER":
            arguments["sasl_oauth_token_provider"] = _Token()
        else:
            if config.sasl.username is None:
                msg = f"kafka.sasl.username is not set, but security.protocol is {config.security.protocol}"
                raise ConfigError(msg)
            arguments["sasl_plain_username"] = config.sasl.username
            arguments["sasl_plain_password"] = _secret(PASSWORD)
    return arguments


@asynccontextmanager
async def asking(config: KafkaConfig) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client to ask the broker with, in the end closed; raises `StreamError` where it cannot be asked."""
    admin = AIOKafkaAdminClient(**connection(config))
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError, TimeoutError) as exc:
        msg = f"the broker {config.bootstrap.servers} cannot be asked: {explained(exc)}"
        raise StreamError(msg) from exc
    finally:
        await admin.close()


class _Token(AbstractTokenProvider):  # type: ignore[misc] # aiokafka is not typed
    """Reads the token anew for every log-in: a file may be renewed while the worker runs."""

    def __init__(self) -> None:
        _secret(TOKEN)

    async def token(self) -> str:
        return _secret(TOKEN)


def _secret(name: str) -> str:
    secret = _optional_secret(name)
    if secret is None:
        msg = f"the environment variable {name} is not set; put the secret there, or its file's name in {name}_FILE"
        raise ConfigError(msg)
    return secret


def _optional_secret(name: str) -> str | None:
    path = os.environ.get(f"{name}_FILE")
    if path is None:
        return os.environ.get(name)
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n")
    except OSError as exc:
        msg = f"{name}_FILE names {path}, which cannot be read: {exc.strerror}"
        raise ConfigError(msg) from exc


def _ssl_context(config: KafkaConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ssl.ca.location)
        context.check_hostname = config.ssl.endpoint.identification.algorithm == "https"
        if config.ssl.certificate.location is not None:
            context.load_cert_chain(
                config.ssl.certificate.location,
                config.ssl.key.location,
                password=lambda: _optional_secret(KEY_PASSWORD) or "",
            )
    except (OSError, ssl.SSLError) as exc:
        msg = (
            f"kafka.ssl: the files cannot be used: {exc}; check ssl.ca.location, ssl.certificate.location, "
            f"ssl.key.location and {KEY_PASSWORD}"
        )
        raise ConfigError(msg) from exc
    return context
