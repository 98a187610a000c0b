"""Spans for OpenTelemetry, and the W3C trace context that a record's headers carry.

The context goes with a record whether or not there is any OpenTelemetry here: from the document to its prediction, its
query and its label. Spans are made only where the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_TRACES_EXPORTER`) ask for them; otherwise they cost nothing and nothing is imported.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_logger = logging.getLogger(__name__)

HEADER = "traceparent"
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Of W3C Trace Context, section 3.2."""
_LINKS = 128
"""As many as a span keeps by default (OTEL_SPAN_LINK_COUNT_LIMIT)."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def traceparent_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """A record's trace context: the first header of that name that is one.

    >>> traceparent_of([("traceparent", b"no"), ("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")])
    '00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01'
    """
    for name, value in headers:
        if name == HEADER and value is not None:
            text = value.decode(errors="replace")
            if _FORM.fullmatch(text):
                return text
    return None


def headers_of(traceparent: str | None) -> tuple[tuple[str, bytes], ...]:
    """The headers of a record that goes on with a trace."""
    return () if traceparent is None else ((HEADER, traceparent.encode()),)


class Tracer:
    """Makes the spans of a process; without a provider it makes none."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("askance")

    def now_ns(self) -> int:
        """The time in a span's unit: Unix time in nanoseconds."""
        return time.time_ns()

    def begin(
        self,
        name: str,
        traceparents: Iterable[str | None] = (),
        *,
        began_ns: int | None = None,
        **attributes: str | int,
    ) -> Span:
        """A span that ends when it is told to.

        It goes on with the trace of its one record; of several, each in a trace of its own, it has links to the first
        128 that have one.
        """
        if self._tracer is None:
            return Span(None, None)
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        records = list(traceparents)
        known = list(islice(dict.fromkeys(one for one in records if one is not None), _LINKS))
        contexts = [TraceContextTextMapPropagator().extract({HEADER: one}) for one in known]
        links = [trace.Link(trace.get_current_span(one).get_span_context()) for one in contexts]
        span = self._tracer.start_span(
            name,
            context=contexts[0] if contexts and len(records) == 1 else None,
            links=links if len(records) > 1 else (),
            start_time=began_ns,
            attributes={f"askance.{key}": value for key, value in attributes.items()},
        )
        return Span(self._tracer, span)

    def close(self, within_seconds: float = 2.0) -> None:
        """Hand over what was not exported yet; blocks, but a collector that is away is not waited for any longer."""
        if self._provider is not None:
            # The library would try again for up to ten seconds, and has no public way to say otherwise.
            closing = threading.Thread(target=self._provider.shutdown, name="askance-traces", daemon=True)
            closing.start()
            closing.join(within_seconds)


OFF = Tracer()


class Span:
    """One span, or none."""

    def __init__(self, tracer: trace.Tracer | None, span: trace.Span | None) -> None:
        self._tracer = tracer
        self._span = span

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A span within this one while the block runs; where it raises, both have failed and end."""
        if self._tracer is None or self._span is None:
            yield
            return
        try:
            with self._tracer.start_as_current_span(name, context=self._within(self._span)):
                yield
        except BaseException as exc:
            self.end(exc)
            raise

    def was(self, name: str, began_ns: int) -> None:
        """A span within this one that ends now and began then."""
        if self._tracer is not None and self._span is not None:
            self._tracer.start_span(name, context=self._within(self._span), start_time=began_ns).end()

    def end(self, failure: BaseException | str | None = None) -> None:
        """The end, well or with what went wrong."""
        if self._span is None:
            return
        if failure is not None:
            from opentelemetry.trace import Status, StatusCode

            said = failure if isinstance(failure, str) else f"{type(failure).__name__}: {failure}"
            self._span.set_status(Status(StatusCode.ERROR, said))
        self._span.end()

    @staticmethod
    def _within(span: trace.Span) -> Context:
        from opentelemetry import trace

        return trace.set_span_in_context(span)


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces.

    >>> is_wanted({}), is_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
    (False, True)
    >>> is_wanted({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
    False
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER")
    return exporter != "none" if exporter else any(environment.get(name) for name in _ENDPOINTS)


def from_environment(environment: Mapping[str, str] = os.environ) -> Tracer:
    """As the standard variables have it; what cannot be had is warned of, and the work goes on without spans."""
    if not is_wanted(environment):
        return OFF
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter(environment)
    except ImportError:
        _logger.warning("OTEL_* asks for traces, and there is no OpenTelemetry; run: pip install 'askance[otel]'")
        return OFF
    if exporter is None:
        return OFF
    named = environment.get("OTEL_SERVICE_NAME") or SERVICE_NAME in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(
        resource=Resource.create({} if named else {SERVICE_NAME: "askance"}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracer(provider)


def _exporter(environment: Mapping[str, str]) -> SpanExporter | None:
    name = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    protocol = next(filter(None, (environment.get(one) for one in _PROTOCOLS)), "http/protobuf")
    if name != "otlp" or protocol != "http/protobuf":
        _logger.warning(
            "no traces: OTEL_TRACES_EXPORTER is %s, the protocol %s; it can be otlp over http/protobuf, or console",
            name,
            protocol,
        )
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
