"""What may go wrong with the brokers: what a new attempt mends, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedCodecError,
)

from askance.errors import StreamError
from askance.stream.kafka.client import explained

if TYPE_CHECKING:
    from askance.config import KafkaConfig

# What a client may throw when a broker, the network or the group's membership fails: aiokafka asserts its own state
# transitions, which a transaction that failed half-way breaks.
TROUBLE = (KafkaError, OSError, TimeoutError, AssertionError)
_REMEDY = "check the brokers, the rights and kafka.* in `askance config show`"
# What no second attempt mends, and what does.
FATAL: dict[type[BaseException], str] = {
    **dict.fromkeys(
        (
            AuthenticationFailedError,
            ClusterAuthorizationFailedError,
            GroupAuthorizationFailedError,
            SaslAuthenticationFailed,
            TopicAuthorizationFailedError,
            TransactionalIdAuthorizationFailed,
        ),
        _REMEDY,
    ),
    UnsupportedCodecError: "install the codecs: pip install 'askance[kafka]'",
    MessageSizeTooLargeError: "raise max.message.bytes of the output topics above the documents' largest record",
}


def translated(config: KafkaConfig, exc: BaseException) -> StreamError:
    """The error as the user reads it."""
    return StreamError(
        f"Kafka at {config.bootstrap.servers} cannot be used: {explained(exc)}; {FATAL.get(type(exc), _REMEDY)}"
    )
