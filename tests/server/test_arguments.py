"""Arguments are read strictly; a refusal names argument and rule and never the value."""

from __future__ import annotations

import json
import math

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.schema import schema
from infra_mcp.server.arguments import parse
from infra_mcp.server.tools import TOOLS

PROVISION = TOOLS["provision_namespace"].arguments
DEPLOY = TOOLS["deploy"].arguments


def refused(model, given) -> InfraError:
    with pytest.raises(InfraError) as caught:
        parse(model, given)
    return caught.value


@pytest.mark.parametrize("name", ["x" * 41, "4f2c9d", "0123456789abcdef" * 2, "a b", "a\nb", "é", ""])
def test_a_name_that_may_be_a_secret_is_not_repeated(name):
    """An argument's name, and the key of one that is an object."""
    for given in ({name: 1}, {"namespace": "docs-x", "labels": {name: 1}}):
        error = refused(PROVISION, given)
        assert "(a name not shown)" in error.what
        assert not name or name not in error.what


@pytest.mark.promise("intake.typed")
@pytest.mark.parametrize("name", TOOLS)
def test_an_argument_a_tool_does_not_have_is_refused_by_name(name):
    error = refused(TOOLS[name].arguments, {"dryRun": True})

    assert error.code == "unknown-argument"
    assert "dryRun" in error.what


@pytest.mark.promise("intake.typed")
def test_an_unknown_field_inside_an_object_is_refused_by_its_path():
    error = refused(PROVISION, {"namespace": "docs-a", "quota": {"cpus": "4"}})

    assert error.code == "unknown-argument"
    assert "quota.cpus" in error.what


def test_the_action_cannot_be_changed_from_inside_its_own_tool():
    assert refused(DEPLOY, {"app": "docs", "version": "1", "action": "provision_namespace"}).code == "unknown-argument"


@pytest.mark.parametrize(
    "given",
    [
        {"namespace": 7},
        {"namespace": "docs-a", "wait_seconds": "3"},
        {"namespace": "docs-a", "wait_seconds": -1},
        {"namespace": "docs-a", "wait_seconds": math.nan},
        {"namespace": "docs-a", "wait_seconds": 1e9},
        {"namespace": "docs-a", "dry_run": "true"},
        {"namespace": "docs-a", "dry_run": 1},
        {"namespace": "docs-a", "quota": {"pods": "3"}},
        {"namespace": "docs-a", "quota": {"pods": 2**63}},
        {"namespace": "docs-a", "quota": 5},
        {"namespace": "docs-a", "pull_secrets": "X"},
        {"namespace": "docs-a", "pull_secrets": ["X"] * 11},
        {"namespace": "docs-a", "labels": ["a"]},
        {"namespace": "docs-a", "reason": "x" * 1001},
        {"namespace": None},
        {"namespace": "docs-\ud800"},
        {"namespace": "docs-a", "reason": "\ud800"},
        {},
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_refused(given):
    assert refused(PROVISION, given).code == "invalid-argument"


@pytest.mark.promise("mcp.errors")
@pytest.mark.parametrize("zone", ["Docs.example", "docs.example.", "docs..example"])
def test_a_text_that_does_not_fit_its_pattern_is_told_what_the_argument_is_also_in_a_step(zone):
    record = {"zone": zone, "name": "www", "type": "A", "values": ["192.0.2.1"]}
    step = {"name": "one", "action": "dns_record", "arguments": record}

    for model, given in (("dns_record", record), ("change_set", {"steps": [step]})):
        what = refused(ACTIONS[model], given).what
        assert "zone: string should match pattern" in what
        assert "(The zone as policy names it: small letters, no final dot, e.g. docs.example)" in what


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(
    "given",
    [
        {"namespace": "hunter2-IS-SECRET"},
        {"namespace": ["hunter2-IS-SECRET"]},
        {"namespace": {"hunter2-IS-SECRET": 1}},
        {"namespace": "a", "labels": {"hunter2 IS SECRET": "x"}},
        {"namespace": "a", "labels": {"a": "hunter2 IS SECRET"}},
        {"namespace": "a", "quota": {"cpu": "hunter2-IS-SECRET"}},
        {"namespace": "a", "hunter2 IS SECRET": 1},
        {"namespace": "a", "on_behalf_of": 5, "idempotency_key": "hunter2 IS SECRET"},
    ],
)
def test_a_refusal_never_repeats_a_value(given):
    error = refused(PROVISION, given)

    assert "hunter2" not in str(error)
    assert "hunter2" not in json.dumps(error.as_dict())
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_ten_thousand_unknown_arguments_are_named_by_count():
    error = refused(PROVISION, {f"x{n}": n for n in range(10_000)})

    assert "9995 more" in error.what
    assert len(error.what) < 1000


def test_arguments_nested_without_end_are_refused():
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]

    assert refused(PROVISION, {"namespace": deep}).code == "invalid-argument"


def test_a_list_sent_as_json_text_is_read_only_where_nothing_but_a_list_can_be():
    given = parse(PROVISION, {"namespace": "docs-a", "pull_secrets": '["X"]', "quota": '{"pods": 3}'})

    assert given.pull_secrets == ("X",)
    assert given.quota.pods == 3
    assert parse(DEPLOY, {"app": "docs", "version": "12"}).version == "12"


@pytest.mark.parametrize("name", TOOLS)
def test_a_schema_forbids_more_and_describes_every_argument(name):
    shown = schema(TOOLS[name].arguments)

    assert shown["additionalProperties"] is False
    assert "$ref" not in json.dumps(shown)
    assert "$defs" not in shown
    for argument, part in shown["properties"].items():
        assert part.get("description"), argument
        assert "title" not in part


# What each tool must be given; the walks below add the rest.
NEEDED = {
    "ask": {"peer_name": "infra", "query": "?"},
    "wait_on_ack": {"correlation_id": "ask-1"},
    "ack": {"correlation_id": "ask-1"},
    "notify_peer": {"peer_name": "infra", "message": "?"},
    "broadcast": {"message": "?"},
    "set_description": {"description": "?"},
    "provision_namespace": {"namespace": "docs-a"},
    "rollback": {"request": "req-1"},
    "deploy": {"app": "docs", "version": "1"},
    "configure": {"app": "docs", "settings": {"replicas": 3}},
    "change": {"action": "deploy"},
    "get_request": {"request_id": "req-1"},
    "approve": {"request_id": "req-1"},
    "cancel": {"request_id": "req-1"},
}


def places(shape, at=()):
    """Every argument at any depth, with its schema."""
    for name, part in shape.get("properties", {}).items():
        yield (*at, name), part
        yield from places(part, (*at, name))


def having(given, at, value):
    """What is given, with a value at a place."""
    first, *rest = at
    return given | {first: having(given.get(first, {}), rest, value) if rest else value}


OPTIONAL = [
    (name, at)
    for name, tool in TOOLS.items()
    for at, _ in places(schema(tool.arguments))
    if at[-1] not in NEEDED.get(name, {})
]
WHOLE = [
    (name, at, part)
    for name, tool in TOOLS.items()
    for at, part in places(schema(tool.arguments))
    if part.get("type") in {"integer", "number"}
]


@pytest.mark.fault("f17")
def test_a_null_is_the_argument_left_out_for_every_argument_that_may_be_at_any_depth():
    kept = []
    for name, at in OPTIONAL:
        model, needed = TOOLS[name].arguments, NEEDED.get(name, {})
        left_out = having(needed, at[:-1], {}) if len(at) > 1 else needed
        try:
            given = parse(model, having(needed, at, None))
        except InfraError:
            kept.append((name, at))
            continue
        assert given == parse(model, left_out)
        assert given.model_fields_set == parse(model, left_out).model_fields_set

    assert kept == []
    assert len(OPTIONAL) > 20


@pytest.mark.fault("f17")
def test_a_null_in_a_table_of_names_is_a_name_left_out():
    given = parse(PROVISION, {"namespace": "docs-a", "labels": {"a": None, "b": "c"}, "quota": '{"pods": null}'})

    assert given.labels == {"b": "c"}
    assert given.quota.pods is None


@pytest.mark.fault("f17")
@pytest.mark.parametrize("name", TOOLS)
def test_a_null_stands_for_nothing_that_is_needed_or_that_there_is_not(name):
    for argument in NEEDED.get(name, {}):
        assert refused(TOOLS[name].arguments, NEEDED[name] | {argument: None}).code == "invalid-argument"
    assert refused(TOOLS[name].arguments, NEEDED.get(name, {}) | {"dryRun": None}).code == "unknown-argument"


@pytest.mark.fault("f17")
def test_a_null_inside_data_stays():
    attached = ({"a": None, "b": [None, 1.0]},)

    assert parse(TOOLS["ask"].arguments, NEEDED["ask"] | {"attachments": list(attached)}).attachments == attached
    assert refused(PROVISION, {"namespace": "docs-a", "pull_secrets": [None]}).code == "invalid-argument"


@pytest.mark.fault("f18")
def test_a_whole_number_may_be_written_with_a_point_wherever_the_schema_says_integer():
    kept = []
    for name, at, part in WHOLE:
        needed, number = NEEDED.get(name, {}), int(part.get("minimum", 0))
        try:
            given = parse(TOOLS[name].arguments, having(needed, at, float(number)))
        except InfraError:
            kept.append((name, at))
            continue
        for step in at:
            given = getattr(given, step)
        assert (given, type(given)) == (number, int if part["type"] == "integer" else float)

    assert kept == []
    assert len(WHOLE) > 3


@pytest.mark.fault("f18")
@pytest.mark.parametrize("number", [3.5, 1e300, math.inf, math.nan, -1.0, True, "3.0", [3.0]])
def test_a_number_that_is_not_whole_or_out_of_range_stays_refused(number):
    assert refused(PROVISION, {"namespace": "docs-a", "quota": {"pods": number}}).code == "invalid-argument"
