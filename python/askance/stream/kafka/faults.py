"""What goes wrong with a broker, the network or the group: what a new attempt mends, what it does not, and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalOperation,
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
    from aiokafka import AIOKafkaConsumer

# What a client may throw when a broker, the network or the group's membership fails: aiokafka asserts its own state
# transitions, which a transaction that failed half-way breaks, and a send after that is illegal.
TROUBLE = (KafkaError, IllegalOperation, OSError, TimeoutError, AssertionError)
_REMEDY = "check the brokers, the rights and kafka.* in `askance config show`"
# What no second attempt mends, and what does.
_FATAL: dict[type[BaseException], str] = {
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


def is_fatal(exc: BaseException) -> bool:
    """Whether no second attempt would help."""
    return type(exc) in _FATAL


async def unreadable(consumer: AIOKafkaConsumer, exc: UnicodeDecodeError) -> StreamError:
    """What aiokafka cannot read at all, and where it is: the name of a record's header that is not UTF-8.

    Nothing may be polled afterwards: what it had read of the batch by then is lost to it.
    """
    partitions = sorted(consumer.assignment())
    places = ", ".join([f"{tp.topic}/{tp.partition}/{await consumer.position(tp)}" for tp in partitions])
    return StreamError(
        f"a record has a header whose name is not UTF-8 ({exc.reason}), which cannot be read: it is soon behind one of "
        f"{places}; move the group past it with kafka-consumer-groups --reset-offsets"
    )


def translated(exc: BaseException, servers: str | None) -> StreamError:
    """The error as askance's own, with the remedy."""
    return StreamError(f"Kafka at {servers} cannot be used: {explained(exc)}; {_FATAL.get(type(exc), _REMEDY)}")
