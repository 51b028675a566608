"""The phases of requests, for who observes the server: how long each took, and their spans.

Durations are always counted; `/metrics` shows them. Spans are OpenTelemetry's, below those that the MCP SDK opens for
each call. They exist only in a server that was told where to send them, by OTEL_* variables; without, a phase costs two
looks at the clock. A span has ids, codes and names of policy. It never has texts of peers, arguments, differences, or
messages of errors.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from threading import Thread
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self

from infra_mcp.errors import InfraError
from infra_mcp.settings import given_telemetry

_log = logging.getLogger(__name__)
# Seconds: an apply takes tenths of one, a confirmation minutes.
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_FLUSH: Final = 1.0  # seconds that a stopping server gives the exporter
_OTLP: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}  # exporters of a protocol
_INSTALL: Final = "pip install 'infra-mcp[otel]'"
request_here: ContextVar[str] = ContextVar("infra_mcp_request", default="")  # that this task works on


@dataclass
class Durations:
    """How often something took how long."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))  # up to each bound, and beyond
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


DURATIONS: dict[str, Durations] = {}  # by phase, since the process began
_tracer: Any = None
_provider: Any = None  # that we set up, and shut down


class Phase:
    """One phase of a request: its duration, and a span where there are spans.

    Args:
        name: of the phase, one of a few: it is a label.
        asked: the span below which this one is, as `asked` gives it; else the span that this task is in.
        after: the span of a call that ended before; a new trace begins, with a link to that span.
        attributes: ids and names for the span; those of None are left out.
    """

    __slots__ = ("_after", "_asked", "_attributes", "_began", "_name", "_open", "_span")

    def __init__(self, name: str, *, asked: str = "", after: str = "", **attributes: str | int | None) -> None:
        self._name, self._asked, self._after, self._attributes = name, asked, after, attributes
        self._span: Any = None

    def __enter__(self) -> Self:
        self._began = perf_counter()
        if _tracer is not None:
            self._open = self._opened()
            self._span = self._open.__enter__()
            self.set(**self._attributes)
        return self

    def set(self, **attributes: str | int | None) -> None:
        """Add attributes to the span."""
        if self._span is not None:
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(f"infra_mcp.{name}", value)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        DURATIONS.setdefault(self._name, Durations()).add(perf_counter() - self._began)
        if self._span is None:
            return
        if kind is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 - only where there are spans

            self._span.set_attribute("error.type", error.code if isinstance(error, InfraError) else kind.__name__)
            self._span.set_status(StatusCode.ERROR)  # without a description: it could name anything
        self._open.__exit__(None, None, None)

    def _opened(self) -> Any:  # noqa: ANN401 - OpenTelemetry's own context manager
        from opentelemetry.context import Context  # noqa: PLC0415 - only where there are spans
        from opentelemetry.trace import Link, get_current_span  # noqa: PLC0415 - the same

        context, links = None, []
        if self._after:
            context, links = Context(), [Link(get_current_span(_context(self._after)).get_span_context())]
        elif self._asked:
            context = _context(self._asked)
        return _tracer.start_as_current_span(
            f"infra_mcp.{self._name}",
            context,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        )


def _context(asked: str) -> Any:  # noqa: ANN401 - OpenTelemetry's context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - as above

    return TraceContextTextMapPropagator().extract({"traceparent": asked})


def asked() -> str:
    """The span that this task is in, as a `traceparent` (W3C Trace Context): it can be stored. Empty without spans."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - as above

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def ids_here() -> dict[str, str]:
    """The request and the trace that this task works on, as far as there are any, for a record of the log."""
    found = {"request": request_here.get()}
    if _tracer is not None:
        from opentelemetry.trace import format_trace_id, get_current_span  # noqa: PLC0415 - only where there are spans

        context = get_current_span().get_span_context()
        found["trace"] = format_trace_id(context.trace_id) if context.is_valid else ""
    return {name: value for name, value in found.items() if value}


class OfRequest(Phase):
    """The work on one request, from its turn in the queue until it ends or is parked; records of the log name it."""

    __slots__ = ("_here", "_request")

    def __init__(self, request: str, **more: str | int | None) -> None:
        super().__init__("request", **more, request=request)  # type: ignore[arg-type]
        self._request = request

    def __enter__(self) -> Self:
        self._here: Token[str] = request_here.set(self._request)
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        request_here.reset(self._here)


def start(version: str) -> None:
    """Set up the SDK's provider for the whole process, with the exporters that OTEL_* variables name.

    A provider that is there already, as of `opentelemetry-instrument`, is used as it is. Without such a variable
    nothing is imported. What cannot be set up is said in the log, and the server goes on without spans.

    Args:
        version: of this program, for the spans' resource and scope.
    """
    given = given_telemetry()
    if not given.exporters:
        return
    try:
        trace = import_module("opentelemetry.trace")
        sdk = import_module("opentelemetry.sdk.trace")
        if not isinstance(trace.get_tracer_provider(), sdk.TracerProvider):
            _set_up(trace, sdk, given.exporters, given.protocol, {} if given.service else {"service.name": "infra-mcp"})
        use(trace.get_tracer_provider(), version)
    except ImportError as error:
        _log.warning("no traces: %s is missing. Install it: %s", error.name, _INSTALL)
    except Exception as error:  # noqa: BLE001 - an exporter's own, of a variable it does not take
        _log.warning("no traces: the exporter cannot be set up: %s", type(error).__name__)


def _set_up(trace: Any, sdk: Any, exporters: tuple[str, ...], protocol: str, named: dict[str, str]) -> None:  # noqa: ANN401 - modules
    global _provider  # noqa: PLW0603 - OpenTelemetry's is global, too
    resource = import_module("opentelemetry.sdk.resources").Resource.create(named)
    made = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)  # which would wait for a dead collector
    batches = import_module("opentelemetry.sdk.trace.export").BatchSpanProcessor
    for one in exporters:
        name = _OTLP.get(protocol, one) if one == "otlp" else one
        found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
        if found is None:
            raise ImportError(name=f"the exporter {name}")
        made.add_span_processor(batches(found.load()()))
    trace.set_tracer_provider(made)
    _provider = made


def use(provider: Any, version: str = "") -> None:  # noqa: ANN401 - the SDK's
    """Open spans with this provider from now on; with None no more."""
    global _tracer  # noqa: PLW0603 - as above
    _tracer = None if provider is None else provider.get_tracer("infra_mcp", version)


def stop() -> None:
    """Send what is left, for a second at most."""
    if _provider is not None:
        sending = Thread(target=_provider.shutdown, daemon=True)
        sending.start()
        sending.join(_FLUSH)
