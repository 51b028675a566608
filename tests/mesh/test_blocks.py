"""An infra block in a text: exactly the action it states, or nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.mesh.intent import NotUnderstood, Understood, parse
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace, Quota

DEPLOY = {"action": "deploy", "app": "docs", "version": "0.13.4"}


def block(value, fence="```"):
    return f"{fence}infra\n{value if isinstance(value, str) else json.dumps(value, indent=1)}\n{fence}"


@pytest.mark.promise("intent.fenced-json")
@pytest.mark.parametrize(
    ("value", "understood"),
    [
        (DEPLOY, Understood(action=Deploy(app="docs", version="0.13.4"))),
        (DEPLOY | {"on_failure": "hold"}, Understood(action=Deploy(app="docs", version="0.13.4", on_failure="hold"))),
        (
            DEPLOY | {"reason": "because", "idempotency_key": "ci/7", "dry_run": True},
            Understood(
                action=Deploy(app="docs", version="0.13.4"), reason="because", idempotency_key="ci/7", dry_run=True
            ),
        ),
        (
            {"action": "provision_namespace", "namespace": "docs-staging"},
            Understood(action=ProvisionNamespace(namespace="docs-staging")),
        ),
        (
            {
                "action": "provision_namespace",
                "namespace": "docs-staging",
                "pull_secrets": ["X"],
                "labels": {"a": "b"},
                "quota": {"cpu": "4", "pods": 20},
                "limits": None,
                "default_deny": True,
                "owner": "docs",
                "cluster": "sandbox",
            },
            Understood(
                action=ProvisionNamespace(
                    namespace="docs-staging",
                    pull_secrets=("X",),
                    labels={"a": "b"},
                    quota=Quota(cpu="4", pods=20),
                    default_deny=True,
                    owner="docs",
                    cluster="sandbox",
                )
            ),
        ),
    ],
)
def test_a_block_becomes_exactly_that_action(value, understood):
    assert parse(block(value)) == understood


@pytest.mark.promise("intent.fenced-json")
@pytest.mark.parametrize(
    "text",
    [
        f"Hello infra,\n\nplease do this, and delete nothing:\n\n{block(DEPLOY)}\n\nThanks, I need a namespace 'a-b'",
        f"```yaml\na: b\n```\n{block(DEPLOY)}\n```\nthe end\n```",
        block(DEPLOY, "~~~"),
        block(DEPLOY, "`````"),
        block(DEPLOY).replace("```infra", "  ``` infra  ").replace("\n```", "\n  ```  "),
        block(DEPLOY).replace("\n", "\r\n"),
        block(json.dumps(DEPLOY)),
        f"```infra {json.dumps(DEPLOY)} ```",
        f"```INFRA\n{json.dumps(DEPLOY)}\n```",
        f"````markdown\n{block({'action': 'deploy', 'app': 'other', 'version': '1'})}\n````\n{block(DEPLOY)}",
    ],
    ids=range(10),
)
def test_text_round_a_block_is_only_text(text):
    assert parse(text) == Understood(action=Deploy(app="docs", version="0.13.4"))


@pytest.mark.promise("intent.fenced-json")
@pytest.mark.parametrize(
    "text",
    [
        block(DEPLOY) + "\n" + block(DEPLOY),
        block(DEPLOY) + "\n```infra\n",
        block(DEPLOY)[:-3],
        "```infra\n```",
        f"````markdown\n{block(DEPLOY)}\n````",
        f"> {block(DEPLOY)}",
        block(DEPLOY).replace("infra", "infrared"),
        block(DEPLOY).replace("infra", "json"),
        block(DEPLOY).replace("infra", "infra json"),
        json.dumps(DEPLOY),
        f"`{json.dumps(DEPLOY)}`",
        block([DEPLOY]),
        block("null"),
        block("{'action': 'deploy'}"),
        block(json.dumps(DEPLOY) + " x"),
        block(json.dumps(DEPLOY) * 2),
        block("{}"),
        block({"action": "delete_everything"}),
        block({"action": ["deploy"]}),
        block(DEPLOY | {"app": None}),
        block({"action": "deploy", "app": "docs"}),
        block(DEPLOY | {"version": 1.2}),
        block(DEPLOY | {"dry_run": "true"}),
        block(DEPLOY | {"dry_run": []}),
        block(DEPLOY | {"dry_run": 1}),
        block(DEPLOY | {"idempotency_key": "a b"}),
        block(DEPLOY | {"reason": "x" * 1001}),
        block(DEPLOY | {"app": "x" * 70_000}),
        block({"action": "provision_namespace", "namespace": "a", "quota": {"pods": 1.5}}),
        block({"action": "provision_namespace", "namespace": "a", "quota": {"pods": 2**63}}),
        block('{"action": "provision_namespace", "namespace": "a", "quota": {"pods": NaN}}'),
        block('{"action": "provision_namespace", "namespace": "a", "quota": {"pods": ' + "9" * 5000 + "}}"),
        block('{"action": "provision_namespace", "namespace": "a\ud800"}'),
        block(DEPLOY | {"reason": "\ud800"}),
        block("[" * 20_000 + "]" * 20_000),
        block('{"a":' * 5_000 + "1" + "}" * 5_000),
        block("\ufeff" + json.dumps(DEPLOY)),
    ],
    ids=range(37),
)
def test_a_block_that_is_not_exactly_an_action_is_nothing(text):
    assert isinstance(parse(text), NotUnderstood)


@pytest.mark.promise("intent.fenced-json", "mcp.errors")
def test_fields_that_do_not_go_together_are_refused_with_what_would():
    answer = parse(block({"action": "dns_record", "zone": "docs.example", "name": "www", "type": "A"}))

    assert answer.code == "invalid-argument"
    assert "must have either values or remove = true" in answer.reason


@pytest.mark.promise("intent.fenced-json", "intake.typed")
@pytest.mark.parametrize(
    ("value", "names"),
    [
        (DEPLOY | {"dryRun": True}, "dryRun"),
        (DEPLOY | {"context": "x"}, "context"),
        (DEPLOY | {"namespace": "x"}, "namespace"),
        ({"action": "provision_namespace", "namespace": "a", "quota": {"cpus": "4"}}, "quota.cpus"),
    ],
)
def test_a_field_an_action_does_not_have_is_refused_by_name(value, names):
    answer = parse(block(value))
    assert answer.code == "unknown-argument"
    assert f": {names}." in answer.reason
    assert "There are: action, " in answer.reason
    assert answer.nearest


def test_a_field_that_stands_twice_is_refused_by_name():
    answer = parse(block('{"action": "deploy", "app": "docs", "version": "1", "version": "2"}'))
    assert answer == NotUnderstood(reason="The field version stands twice in the infra block.", code="invalid-argument")
    inner = '{"action": "provision_namespace", "namespace": "a", "quota": {"cpu": "1", "cpu": "2"}}'
    assert "field cpu stands twice" in parse(block(inner)).reason


def test_ten_thousand_fields_are_refused():
    answer = parse(block("{" + ",".join(f'"{i}":1' for i in range(6_000)) + "}"))
    assert "more than 1000 fields" in answer.reason
    answer = parse(block("{" + ",".join(f'"{i}":1' for i in range(10_000)) + "}"))
    assert isinstance(answer, NotUnderstood)


def test_how_many_blocks_there_may_be_is_told():
    assert "2 infra blocks" in parse(block(DEPLOY) + "\n\n" + block(DEPLOY)).reason


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(
    "value",
    [
        DEPLOY | {"version": "hunter2 IS SECRET"},
        DEPLOY | {"app": {"hunter2 IS": "SECRET"}},
        DEPLOY | {"hunter2 IS SECRET": 1},
        DEPLOY | {"action": "hunter2"},
        DEPLOY | {"idempotency_key": "hunter2 IS"},
        {"action": "provision_namespace", "namespace": "a", "labels": {"hunter2 IS": "x"}},
        {"action": "provision_namespace", "namespace": "a", "labels": {"a": "hunter2 IS"}},
        {"action": "provision_namespace", "namespace": "hunter2 IS"},
        "hunter2",
        '{"hunter2 IS": 1, "hunter2 IS": 2}',
    ],
    ids=range(10),
)
def test_no_value_of_a_block_is_repeated(value):
    answer = parse(block(value))
    assert isinstance(answer, NotUnderstood)
    assert "hunter2" not in answer.model_dump_json()


@pytest.mark.promise("intent.fenced-json")
@given(
    st.fixed_dictionaries(
        {"namespace": st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)},
        optional={
            "pull_secrets": st.lists(st.sampled_from(["X", "Y", "z-1"]), max_size=3),
            "labels": st.dictionaries(st.sampled_from(["a", "b", "c.d/e"]), st.sampled_from(["", "x", "Y.z"])),
            "default_deny": st.booleans(),
            "quota": st.fixed_dictionaries({}, optional={"cpu": st.just("4"), "pods": st.integers(1, 10_000)}),
        },
    ),
    st.text(st.characters(exclude_characters="`~", exclude_categories=["Cs"]), max_size=60),
)
def test_every_valid_action_comes_back_as_itself_whatever_stands_round_it(fields, text):
    understood = parse(f"{text}\n{block({'action': 'provision_namespace'} | fields)}\n{text}")
    wanted = ProvisionNamespace.model_validate_json(json.dumps(fields))
    assert understood == Understood(action=wanted)


FULL = {
    "action": "provision_namespace",
    "namespace": "docs-a",
    "pull_secrets": ["X"],
    "labels": {"a": "b"},
    "quota": {"cpu": "4", "memory": "1Gi", "pods": 3},
    "limits": {"cpu": "1", "memory": "1Gi"},
    "default_deny": True,
    "owner": "docs",
    "cluster": "sandbox",
    "reason": "why",
    "idempotency_key": "ci/7",
    "dry_run": True,
}


@pytest.mark.fault("f17")
def test_a_null_in_a_block_is_the_field_left_out():
    optional = FULL.keys() - {"action", "namespace"}
    inner = {key: dict.fromkeys(part) for key, part in FULL.items() if isinstance(part, dict)}
    bare = {key: item for key, item in FULL.items() if key not in optional}

    assert parse(block(bare | dict.fromkeys(optional))) == parse(block(bare))
    assert parse(block(bare | inner)) == parse(block(bare | {key: {} for key in inner}))
    for key in optional:
        assert parse(block(FULL | {key: None})) == parse(block({k: v for k, v in FULL.items() if k != key})), key


@pytest.mark.fault("f17")
@pytest.mark.parametrize("key", ["action", "namespace", "unheard_of"])
def test_a_null_in_a_block_is_nothing_that_is_needed_or_unknown(key):
    assert isinstance(parse(block(FULL | {key: None})), NotUnderstood)


@pytest.mark.fault("f18")
def test_a_whole_number_in_a_block_may_be_written_with_a_point():
    assert parse(block(FULL | {"quota": {"pods": 3.0}})).action.quota == Quota(pods=3)
    assert isinstance(parse(block(FULL | {"quota": {"pods": 3.5}})), NotUnderstood)
