"""In which fields of a workload a change shows."""

from __future__ import annotations

import pytest

from infra_mcp.drivers.base import Build, Share
from infra_mcp.drivers.external.fields import Wanted, holds_already, showing, shows, wanted
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.edits import Goal, SetValue
from infra_mcp.repository.render import Located
from infra_mcp.repository.value import Base, Tree

REF = ObjectRef(cluster="prod", api_version="apps/v1", kind="Deployment", namespace="media", name="player")
TREE = Tree(Base("0" * 40, "prod", ("",), {}, {}))


def player(image="registry.example/media/player:1.1.0", replicas=2, memory="256Mi", chart="player-4.0.0"):
    container = {"name": "main", "image": image, "resources": {"limits": {"memory": memory}}}
    sidecar = {"name": "proxy", "image": "registry.example/media/proxy:7"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "player", "namespace": "media", "labels": {"helm.sh/chart": chart}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [container, sidecar]}}},
    }


def share(*changes, builds=()):
    return Share((), (), TREE, TREE, Goal("Set it"), builds, None, changes)


def set_to(value):
    return share(SetValue(path="release.yaml", field=("spec", "values", "x"), before="old", after=value))


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("1.2.0", player(image="registry.example/media/player:1.2.0")),
        ("v1.2.0", player(image="registry.example/media/player:1.2.0")),
        ("1.2.0", player(image="registry.example/media/player:v1.2.0")),
        ("1.2.0", player(image=f"registry.example/media/player:1.2.0@sha256:{'a' * 64}")),
        (f"sha256:{'a' * 64}", player(image=f"registry.example/media/player@sha256:{'a' * 64}")),
        ("registry.example/media/player:1.2.0", player(image="registry.example/media/player:1.2.0")),
        ("4.1.0", player(chart="player-4.1.0")),
        (3, player(replicas=3)),
        ("1024Mi", player(memory="1Gi")),
        ({"limits": {"memory": "512Mi"}}, player(memory="512Mi")),
    ],
    ids=str,
)
def test_a_value_that_the_edit_sets_shows_where_it_was_not_before(value, after):
    values = wanted(set_to(value), REF)
    had = showing(player(), values)

    assert not shows(player(), values, had)
    assert shows(after, values, had)


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("1.2.0", player(image="registry.example/media/player:1.2.0-rc1")),
        ("1.2.0", player(image="registry.example/media/player:11.2.0")),
        (f"1.2.0@sha256:{'a' * 64}", player(image=f"registry.example/media/player:1.2.0@sha256:{'b' * 64}")),
        ("1.2.0", player(chart="player-11.2.0")),
        (True, player(replicas=1)),
        ("7", player(replicas=3)),
    ],
    ids=str,
)
def test_what_only_looks_like_it_or_was_there_before_does_not_show(value, after):
    values = wanted(set_to(value), REF)

    assert not shows(after, values, showing(player(), values))


@pytest.mark.parametrize(
    ("key", "value", "already"),
    [("tag", "1.1.0", True), ("tag", "1.2.0", False), ("replicas", 2, True), ("retries", 2, False), ("tag", "7", True)],
)
def test_a_value_that_stands_where_it_is_to_be_expected_is_there_already(key, value, already):
    edit = SetValue(path="release.yaml", field=("spec", "values", key), before="old", after=value)
    values = wanted(share(edit), REF)

    assert holds_already(values, showing(player(), values)) is already


def test_of_a_build_every_field_that_it_changes_must_be_so():
    old, new = player(), player(image="registry.example/media/player:1.2.0", replicas=3)
    sides = [(Located("k.yaml", 0, one, (), REF),) for one in (old, new)]
    values = wanted(share(builds=(Build("apps", *sides),)), REF)
    half = player(image="registry.example/media/player:1.2.0")

    assert {one.at for one in values} == {"spec.replicas", "spec.template.spec.containers[main].image"}
    assert [shows(one, values, ()) for one in (old, half, new)] == [False, False, True]


def test_nothing_that_the_workload_holds_is_kept_but_names_of_fields():
    assert showing(player(), (Wanted(value=2),)) == {"spec.replicas"}
