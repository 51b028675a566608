"""The edit of a scaling: one number, where the manifest says it or could."""

from dataclasses import replace

import anyio
import pytest

from infra_mcp.actions.scale import edit
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.scale import Scale
from infra_mcp.policy.sections import SettingRules
from infra_mcp.repository.edits import Location

HEAD = """\
# The docs site.
apiVersion: apps/v1
kind: {kind}
metadata: {{name: docs, namespace: docs-live}}
spec:
"""
REST = """\
  selector: {matchLabels: {app: docs}}   # never change this
  template:
    metadata: {labels: {app: docs}}
    spec:
      containers:
        - {name: site, image: "registry.example/docs/site:1"}
"""


def scaled(look, replicas):
    return anyio.run(edit, look, Scale(app="docs", replicas=replicas))


@pytest.mark.promise("plan.one-hunk")
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize("replicas", [0, 1, 7, 10_000])
def test_scale_changes_only_the_number(look_at, kind, replicas):
    head = HEAD.format(kind=kind)
    made = scaled(look_at(f"{head}  replicas: 3  # for the load\n{REST}", kind.lower()), replicas)

    assert made.tree.read("docs.yaml").decode() == f"{head}  replicas: {replicas}  # for the load\n{REST}"
    assert [(one.field, one.before, one.after) for one in made.changes] == [(("spec", "replicas"), 3, replicas)]


@pytest.mark.promise("plan.one-hunk")
def test_a_missing_number_is_added_and_an_undo_removes_it(look_at):
    head = HEAD.format(kind="Deployment")
    look = look_at(head + REST)
    made = scaled(look, 4)

    lines = made.tree.read("docs.yaml").decode().splitlines()
    assert sorted(lines) == sorted([*(head + REST).splitlines(), "  replicas: 4"])
    (ref,) = [one.ref for one in made.tree.objects_of("docs.yaml")]
    assert made.tree.find(ref).object["spec"]["replicas"] == 4
    assert [one.inverted().after for one in made.changes] == [None]


def test_an_unchanged_number_is_still_addressed(look_at):
    made = scaled(look_at(f"{HEAD.format(kind='Deployment')}  replicas: 3\n{REST}"), 3)

    assert made.changes == ()
    assert made.addressed == (Location(path="docs.yaml", field=("spec", "replicas")),)


def test_scale_uses_the_times_and_the_on_failure_of_the_app(look_at):
    for on_failure in ("rollback", "hold"):
        text = HEAD.format(kind="Deployment") + REST
        goal = scaled(look_at(text, on_failure=on_failure), 2).goal

        assert (goal.on_failure, goal.grace, goal.timeout) == (on_failure, 7.0, 180.0)
        assert (goal.title, goal.subject, goal.done) == ("Scale docs to 2", "docs", "scaled to 2")


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        (HEAD.format(kind="DaemonSet") + REST, "daemonset", "invalid-argument"),
        (HEAD.format(kind="StatefulSet") + REST, "deployment", "not-in-repository"),
        ("", "deployment", "not-in-repository"),
    ],
)
def test_scale_refuses_a_daemon_set_and_an_app_without_a_manifest(look_at, text, kind, code):
    with pytest.raises(InfraError, match="docs") as refused:
        scaled(look_at(text, kind), 2)

    assert refused.value.code == code


@pytest.mark.promise("configure.bounded")
def test_the_bounds_of_the_setting_replicas_hold_for_scale_too(look_at):
    look = look_at(f"{HEAD.format(kind='Deployment')}  replicas: 3\n{REST}")
    app = look.policy.apps["docs"]
    bounded = app.model_copy(update={"settings": {"replicas": SettingRules(type="integer", max=6)}})
    look = replace(look, policy=look.policy.model_copy(update={"apps": {"docs": bounded}}))

    assert scaled(look, 6).changes[0].after == 6
    with pytest.raises(InfraError, match="out of bounds"):
        scaled(look, 7)
