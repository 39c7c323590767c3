"""OpenTelemetry: a span for every operation and for every call of a model; needs extra `otel`.

Names follow the semantic conventions for generative AI. No span holds what was asked or answered.
Where spans go and how many are kept is said by OpenTelemetry's own environment variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import farthing
from farthing.core.tracing import propagate
from farthing.gateway.visits import current as visit
from farthing.gateway.watching import Story
from farthing.ledger.rows import AttemptRow

_PROPAGATOR = TraceContextTextMapPropagator()
_operation: ContextVar[tuple[str, Span] | None] = ContextVar("operation_span", default=None)
_call: ContextVar[Span | None] = ContextVar("call_span", default=None)


def provider_from_environment() -> TracerProvider:
    """Sends spans by OTLP over HTTP, as OTEL_EXPORTER_OTLP_ENDPOINT and its like say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {"service.name": "farthing", "service.version": farthing.__version__}
    provider = TracerProvider(resource=Resource(about).merge(Resource.create()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Traces:
    """Makes the spans.

    Args:
        system: whose interface a model speaks, by the model's name.
    """

    def __init__(self, provider: TracerProvider, system: Callable[[str], str]) -> None:
        self._provider, self._system = provider, system
        self._tracer = provider.get_tracer("farthing", farthing.__version__)
        self._open: dict[str, Span] = {}

    def begun(self, story: Story) -> None:
        """Begin an operation's span, within the trace that its client named."""
        row, came = story.operation, visit.get()
        told: Mapping[str, str] = {}
        if came is not None and came.traceparent is not None:
            told = {"traceparent": came.traceparent, "tracestate": came.tracestate or ""}
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": row.requested,
            "farthing.operation": row.id,
            "farthing.stream": row.stream,
        }
        if row.plan is not None:
            attributes["farthing.plan"] = row.plan
        span = self._tracer.start_span(
            f"farthing {row.requested}",
            _PROPAGATOR.extract(told, Context()),
            SpanKind.SERVER,
            attributes,
        )
        self._open[row.id] = span
        _operation.set((row.id, span))
        propagate.set(lambda: self._headers(span))

    def _headers(self, operation: Span) -> Mapping[str, str]:
        """Begin the span of a call of this task; returns what tells its upstream."""
        context = set_span_in_context(operation, Context())
        span = self._tracer.start_span("chat", context, SpanKind.CLIENT)
        _call.set(span)
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
        return carrier

    def called(self, attempt: AttemptRow) -> None:
        """End the span of a call; one of a model in this process is made whole."""
        span = _call.get()
        _call.set(None)
        if span is None:
            within = _operation.get()
            if within is None or within[0] != attempt.operation_id:
                return
            context = set_span_in_context(within[1], Context())
            began = _nanoseconds(attempt.started_at)
            span = self._tracer.start_span("chat", context, SpanKind.CLIENT, start_time=began)
        span.update_name(f"chat {attempt.model}")
        span.set_attributes(self._attributes(attempt))
        if attempt.status == "failed":
            kind = (attempt.error or "").partition(":")[0] or "error"
            span.set_attribute("error.type", kind)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _attributes(self, attempt: AttemptRow) -> dict[str, Any]:
        usage = attempt.usage
        reasons = [sample.finish_reason for sample in attempt.samples if sample.finish_reason]
        told = {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": self._system(attempt.model),
            "gen_ai.request.model": attempt.model,
            "gen_ai.request.temperature": attempt.temperature,
            "gen_ai.response.id": attempt.upstream_id,
            "gen_ai.response.finish_reasons": reasons or None,
            "gen_ai.usage.input_tokens": None if usage is None else usage.input_tokens,
            "gen_ai.usage.output_tokens": None if usage is None else usage.output_tokens,
            "farthing.attempt": attempt.id,
            "farthing.node": attempt.node,
            "farthing.kind": attempt.kind,
            "farthing.status": attempt.status,
            "farthing.cost_usd": None if attempt.cost is None else str(attempt.cost),
        }
        return {name: value for name, value in told.items() if value is not None}

    def ended(self, story: Story) -> None:
        """End an operation's span."""
        span, outcome, cost = self._open.pop(story.operation.id, None), story.outcome, story.cost
        if span is None or outcome is None:
            return
        span.set_attribute("farthing.status", outcome.status)
        span.set_attribute("farthing.attempts", len(story.attempts))
        if outcome.answered_by is not None:
            span.set_attribute("gen_ai.response.model", outcome.answered_by)
        if cost is not None:
            span.set_attribute("farthing.cost_usd", str(cost))
        if outcome.status == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send what is left; waits for that."""
        self._provider.shutdown()


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
