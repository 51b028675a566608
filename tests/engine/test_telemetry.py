"""The spans of a request, from a real engine, read by the SDK's own exporter; and what stands in none of them."""

import subprocess
import sys
from threading import Event

import pytest
from engine.two_kinds import APPROVAL, NEW, PAT, Ground, register
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from infra_mcp import telemetry
from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Decided
from infra_mcp.model.request import END, State

pytestmark = pytest.mark.anyio


class Spans:
    """A provider of the test's own, in use, and what it has exported."""

    def __init__(self):
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.tracer = self.provider.get_tracer("a client")
        telemetry.use(self.provider)

    @property
    def ended(self):
        return self.memory.get_finished_spans()

    def named(self, name):
        return [one for one in self.ended if one.name == f"infra_mcp.{name}"]


@pytest.fixture
def spans():
    yield Spans()
    telemetry.use(None)


@pytest.fixture
def ground(tmp_path, monkeypatch):
    register(monkeypatch)
    return Ground(tmp_path / "ground")


async def test_the_phases_of_a_request_are_spans_below_the_call_that_asked(ground, spans):
    ground.make()
    async with ground.engine() as engine:
        with spans.tracer.start_as_current_span("tools/call deploy") as call:
            asked = await ground.ask(engine)
            done = await engine.wait(asked.id, 60)
    assert done.state is State.LANDED

    (request,) = spans.named("request")
    assert request.parent.span_id == call.get_span_context().span_id
    assert dict(request.attributes) == {
        "infra_mcp.request": done.id,
        "infra_mcp.action": "deploy",
        "infra_mcp.circle": "docs",
        "infra_mcp.outcome": "landed",
    }
    assert {one.context.trace_id for one in spans.ended} == {call.get_span_context().trace_id}
    below = [one for one in spans.ended if one.parent and one.parent.span_id == request.context.span_id]
    assert {one.name.removeprefix("infra_mcp.") for one in below} == {"plan", "judge", "commit", "apply", "verify"}
    assert all(one.status.status_code is not StatusCode.ERROR for one in below)
    assert {one.attributes["infra_mcp.commit"] for one in spans.named("commit")} <= set(
        ground.git("rev-list", "HEAD").split()
    )
    assert {one.attributes["infra_mcp.driver"] for one in spans.named("apply")} == {"kubernetes"}


async def test_a_request_that_was_parked_goes_on_in_a_trace_of_its_own_linked_with_who_asked_also_after_a_restart(
    ground, spans
):
    ground.make(APPROVAL)
    async with ground.engine() as engine:
        with spans.tracer.start_as_current_span("tools/call deploy") as call:
            parked = await engine.wait((await ground.ask(engine)).id, 60)
    assert parked.state is State.AWAITING_APPROVAL
    (first,) = spans.named("request")
    assert (first.parent.span_id, first.attributes["infra_mcp.outcome"]) == (call.get_span_context().span_id, "parked")

    async with ground.engine() as engine:
        await engine.approve(PAT, parked.id, parked.effect_digest, Decided(approve=True, way="cli"))
        assert (await engine.wait(parked.id, 60, to_end=True)).state is State.LANDED

    _, later = spans.named("request")
    assert later.parent is None
    assert later.context.trace_id != call.get_span_context().trace_id
    (link,) = later.links
    assert link.context.span_id == call.get_span_context().span_id
    assert link.context.trace_id == call.get_span_context().trace_id


@pytest.mark.promise("secrets.nowhere")
async def test_no_text_argument_difference_or_error_is_in_a_span_and_an_error_is_its_code(ground, spans):
    ground.make()
    async with ground.engine() as engine:
        with spans.tracer.start_as_current_span("call"):
            for version in (NEW, "2.0.1-fourth-broken"):
                asked = await ground.ask(engine, version, reason="canary-of-a-reason")
                assert (await engine.wait(asked.id, 60, to_end=True)).state in END
    failed = [one for one in spans.ended if one.status.status_code is StatusCode.ERROR]
    assert {one.attributes["error.type"] for one in failed} >= {"not-landed"}
    assert len(spans.named("undo")) == 1
    assert {(one.status.description, one.events) for one in spans.ended} == {(None, ())}
    everything = "\n".join(one.to_json() for one in spans.ended)
    for canary in ("canary", NEW, "2.0.1", "others/fourth.json", ground.world.data("first")["value"]):
        assert canary not in everything
    names = {name for one in spans.ended for name in one.attributes}
    assert names == {
        "error.type",
        *(
            f"infra_mcp.{name}"
            for name in (
                "action",
                "circle",
                "commit",
                "decision",
                "driver",
                "outcome",
                "place",
                "request",
                "rule",
                "stage",
                "targets",
            )
        ),
    }


@pytest.mark.process
def test_without_an_sdk_a_phase_is_counted_and_nothing_of_opentelemetry_is_imported():
    code = (
        "import sys; from infra_mcp import telemetry as t; t.start('1')\n"
        "with t.OfRequest('req-1'):\n"
        "    assert t.ids_here() == {'request': 'req-1'} and t.asked() == ''\n"
        "t.stop(); assert sum(t.DURATIONS['request'].counts) == 1\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={})


@pytest.mark.parametrize("name", ["no-such-exporter", "otlp"])
def test_an_exporter_that_is_not_there_is_named_in_the_log_and_there_are_no_spans(caplog, monkeypatch, name):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")  # for which there is none
    telemetry.start("1")
    assert telemetry.asked() == ""
    assert "no traces: the exporter" in caplog.text


def test_a_phase_that_fails_is_counted_too(spans):
    before = sum(telemetry.DURATIONS.get("made-up", telemetry.Durations()).counts)
    with pytest.raises(InfraError), telemetry.Phase("made-up"):
        raise InfraError("cluster-denied", "canary")
    assert sum(telemetry.DURATIONS["made-up"].counts) == before + 1
    (span,) = spans.named("made-up")
    assert span.attributes["error.type"] == "cluster-denied"
    assert "canary" not in span.to_json()
    del telemetry.DURATIONS["made-up"]


def test_a_collector_that_does_not_answer_holds_no_stopping_server(monkeypatch):
    answered, asked = Event(), Event()

    class Silent:
        def shutdown(self):
            asked.set()
            answered.wait(60)

    monkeypatch.setattr(telemetry, "_provider", Silent())
    monkeypatch.setattr(telemetry, "_FLUSH", 0.01)
    telemetry.stop()  # returns, although no answer came
    assert asked.wait(10)
    assert not answered.is_set()
    answered.set()
