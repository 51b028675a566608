"""What traces cost: the same requests on one engine, in turn with and without spans, in one process.

The engine, the ledger and git are real, and the system that changes is a file: nothing waits for a cluster, so the
share of the spans is as large as it gets. The SDK makes and batches them; its exporter drops them, as the network is
not ours. Two requests that follow each other are a pair, and what is compared are pairs: both meet the same load.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.two_kinds import Ground, register
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from infra_mcp import telemetry
from infra_mcp.model.request import State

_A_ROUND = 20  # pairs
_AIM = 0.03
_LEAST = 6  # spans of a request


class _Dropping(SpanExporter):
    """Counts spans and forgets them."""

    def __init__(self) -> None:
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.count += len(spans)
        return SpanExportResult.SUCCESS


@dataclass
class Overhead:
    """The line of the result: seconds of each request."""

    traced: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    spans: int = 0

    def show(self) -> None:
        """Print it."""
        mine, without = statistics.median(self.traced), statistics.median(self.plain)
        share = statistics.median(one / other for one, other in zip(self.traced, self.plain, strict=True)) - 1
        verdict = f"aim < {_AIM:.0%}: {'met' if share < _AIM else 'NOT met'}"
        print("\na request with spans, beside the same without")
        print(f"  with {mine * 1000:7.2f} ms   without {without * 1000:7.2f} ms   {share:+6.1%}   {verdict}")
        print(f"  {self.spans / len(self.traced):.0f} spans a request, {len(self.traced)} pairs")


async def measure(rounds: int) -> list[Overhead]:
    """Both in turn, the first of a pair in turn too."""
    register()
    row, dropping, provider = Overhead(), _Dropping(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(dropping))
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder) / "ground")
        ground.make()
        async with ground.engine() as engine:
            for number in range(2 * _A_ROUND * rounds + 2):
                traced = number % 2 == number // 2 % 2
                telemetry.use(provider if traced else None)
                begin = time.perf_counter()
                done = await ground.ask(engine, f"3.0.{number}")
                took = time.perf_counter() - begin
                if done.state is not State.LANDED:
                    sys.exit(f"a request did not land: {done.receipt}")
                if number > 1:  # the first of each warm up
                    (row.traced if traced else row.plain).append(took)
        telemetry.use(None)
        provider.shutdown()
    row.spans = dropping.count
    if row.spans < _LEAST * len(row.traced):
        sys.exit(f"{row.spans} spans of {len(row.traced)} requests: something was not traced")
    return [row]
