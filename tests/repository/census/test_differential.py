"""Kustomize repositories at random: an edit reaches its own instance and nothing else, or is refused by name."""

from __future__ import annotations

from itertools import product

import anyio
import pytest
from repository.census.random_kustomize import repository

from infra_mcp.actions.base import Look
from infra_mcp.actions.registry import EDITS
from infra_mcp.actions.scale import edit as scale
from infra_mcp.codes import CODES
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.builds import Builds, view_of
from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.index import Index

NEW = "9.9.9"
WANTED = (("deploy", {"version": NEW}), ("deploy", {"version": NEW, "drop_digest": True}), ("scale", {"replicas": 9}))


async def _absent(_):
    return None


def _attempts(tree):
    """Each change of each instance, with its edit; the refused ones are judged and left out."""
    look = Look("preview", "", Policy(), "", tree, _absent)
    instances = [one for several in look.census.apps.values() for one in several]
    refused = set()
    for instance, (name, given) in product(instances, WANTED):
        action = ACTIONS[name](app=instance.app, environment=instance.environment, **given)
        try:
            yield instance, action, anyio.run(EDITS[name], look, action)
        except InfraError as error:
            refused.add(error.code)
    assert refused <= CODES.keys() - {"internal", "no-effect"}


def _says(instance):
    """What the census says of an instance."""
    holds = [
        (str(unit), hold.label, hold.version, hold.decides.pinned) for unit in instance.units for hold in unit.holds
    ]
    return sorted(holds), [[spot.value for spot in unit.decides_replicas[-1:]] for unit in instance.units]


@pytest.mark.parametrize("seed", range(1000, 1030))
def test_a_change_moves_its_own_instance_and_no_other_one_of_the_app(tree_of, seed):
    files = repository(seed)
    tree = tree_of(files)
    before = Census(Index(tree))
    for instance, action, made in _attempts(tree):
        told = {one.environment: _says(one) for one in before.find(instance.app)}
        now = {
            one.environment: _says(one)
            for one in Census(Index(tree_of(files | dict(made.tree.changed)))).find(instance.app)
        }
        assert now.keys() == told.keys()
        assert [name for name in told if now[name] != told[name] and name != instance.environment] == []
        if action.action == "scale":
            assert now[instance.environment] == (told[instance.environment][0], [[9]])
        else:
            found, as_before = now[instance.environment][0], told[instance.environment][0]
            moved = [(old, new) for old, new in zip(as_before, found, strict=True) if old != new]
            assert {new[2] for _, new in moved} == {made.instance.version}
            assert {old[2] for old, _ in moved} == {made.instance.former}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2040))
def test_kustomize_gives_what_was_planned_and_no_other_build_moves(tree_of, kubectl, seed):
    tree, builds = tree_of(repository(seed)), Builds(renderer=kubectl)
    census = Census(Index(tree))
    roots = sorted({entry.root for entry in census.entries} & census.index.kustomizations.keys())
    before = _built(builds, tree, roots)
    for instance, action, made in _attempts(tree):
        after = _built(builds, made.tree, roots)
        own = {root for root, _ in made.instance.entries} & after.keys()
        names = {(unit.kind, unit.name) for unit in instance.units}
        for root in before:
            moved = {key for key, obj in before[root].items() if after[root].get(key) != obj}
            mine = {key for key, (kind, name, *_) in before[root].items() if (kind, name) in names}
            assert root in own or moved.isdisjoint(mine), (action, root)
            if root in own and not any("not read" in note for note in made.notes):
                texts = [after[root][key][2] for key in mine]
                wanted = [9] if action.action == "scale" else [made.instance.version]
                assert all(any(one in values for one in wanted) for values in texts), (action, root, made.changes)


def _built(builds, tree, roots):
    """What each root that can be built gives: kind, name, versions of images and replicas of each object."""
    made = {}
    view = view_of(tree)
    for root in roots:
        try:
            objects = anyio.run(lambda at=root: builds.render(view, at, restrict="none")).objects
        except InfraError:
            continue
        made[root] = {one.ref.key: (one.ref.kind, one.ref.name, _values(one.object)) for one in objects}
    return made


def _values(obj):
    spec = obj.get("spec") or {}
    pod = (spec.get("jobTemplate") or {}).get("spec") or spec
    pod = (pod.get("template") or {}).get("spec") or {}
    images = [one.get("image", "") for key in ("initContainers", "containers") for one in pod.get(key) or ()]
    tags = [image.partition("@")[0].rpartition("/")[2].rpartition(":")[2] for image in images]
    return [*tags, spec.get("replicas")]


WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - {name: web, image: "registry.example/web:1.0.0"}
      - {name: side, image: "registry.example/side:1.0.0"}
"""
IMAGE = "- {op: replace, path: /spec/template/spec/containers/0/image, value: 'registry.example/other:2.0.0'}\n"
HEAD = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
CONTAINERS = HEAD + "spec: {template: {spec: {containers: [%s]}}}\n"


def _overlay(*patches, more=""):
    listed = "".join(f"- {target}path: {path}\n" for path, target in patches)
    return f"resources: [../base]\n{more}patches:\n{listed}"


@pytest.mark.parametrize(
    ("target", "fits"),
    [
        ("{kind: Deployment, name: web}", True),
        ("{group: apps, version: v1, kind: Deployment}", True),
        ("{group: batch, kind: Deployment, name: web}", False),
        ("{version: v2, name: web}", False),
        ("{kind: Deploy}", False),
        ("{name: w.*}", True),
        ("{name: (a+)+b}", False),
        ("{name: '('}", False),
        ("{labelSelector: app=web}", True),
        ("{labelSelector: 'app in (web, api)'}", True),
        ("{labelSelector: 'app notin (web)'}", False),
        ("{labelSelector: app!=web}", False),
        ("{labelSelector: 'app,!gone'}", True),
        ("{labelSelector: tier=front}", True),
        ("{annotationSelector: by=us}", True),
        ("{annotationSelector: by=them}", False),
        ("{namespace: default}", True),
        ("{namespace: live}", False),
    ],
)
@pytest.mark.parametrize("renderer", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_patch_is_for_the_objects_that_kustomize_takes(tree_of, request, target, fits, renderer):
    files = {
        "base/web.yaml": WEB,
        "base/kustomization.yaml": (
            "resources: [web.yaml]\nlabels: [{pairs: {tier: front}}]\ncommonAnnotations: {by: us}\n"
        ),
        "live/patch.yaml": IMAGE,
        "live/kustomization.yaml": _overlay(("patch.yaml", f"target: {target}\n  ")),
    }
    if renderer:
        try:
            found = _built(Builds(renderer=request.getfixturevalue("kubectl")), tree_of(files), ["live"])
        except (KeyError, InfraError):
            found = {}
        if found:
            assert ("2.0.0" in next(iter(found["live"].values()))[2]) == fits
        return
    (instance,) = Census(Index(tree_of(files))).find("web")
    assert ("2.0.0" in {hold.version for hold in instance.units[0].holds}) == fits


@pytest.mark.parametrize(
    ("items", "versions"),
    [
        ("{name: web, image: 'x:2'}", {"web": "2", "side": "1.0.0"}),
        ("{name: web, $patch: delete}", {"side": "1.0.0"}),
        ("{$patch: replace}, {name: new, image: 'x:2'}", {"new": "2"}),
        ("{name: new, image: 'x:2'}, {$patch: replace}", {"new": "2"}),
        ("{name: web, $patch: replace, image: 'x:2'}", {"web": "1.0.0", "side": "1.0.0"}),
        ("", {"web": "1.0.0", "side": "1.0.0"}),
    ],
)
def test_directives_of_a_strategic_patch_are_followed(tree_of, items, versions):
    files = {
        "base/web.yaml": WEB,
        "base/kustomization.yaml": "resources: [web.yaml]\n",
        "live/patch.yaml": CONTAINERS % items,
        "live/kustomization.yaml": _overlay(("patch.yaml", "")),
    }
    (instance,) = Census(Index(tree_of(files))).find("web")
    assert {hold.label[len("containers[name=") : -1]: hold.version for hold in instance.units[0].holds} == versions


def test_an_object_that_a_patch_deletes_is_no_app(tree_of):
    files = {
        "base/web.yaml": WEB,
        "base/kustomization.yaml": "resources: [web.yaml]\n",
        "live/patch.yaml": HEAD + "$patch: delete\n",
        "live/kustomization.yaml": _overlay(("patch.yaml", "")),
        "test/kustomization.yaml": "resources: [../base]\n",
    }
    (instance,) = Census(Index(tree_of(files))).find("web")
    assert instance.entry.root == "test"


def test_a_container_that_a_patch_adds_comes_first_and_moves_those_that_a_json_patch_counts(tree_of):
    files = {
        "base/web.yaml": WEB,
        "base/kustomization.yaml": "resources: [web.yaml]\n",
        "live/add.yaml": CONTAINERS % "{name: new, image: 'x:3'}",
        "live/json.yaml": IMAGE,
        "live/kustomization.yaml": _overlay(("add.yaml", ""), ("json.yaml", "target: {kind: Deployment}\n  ")),
    }
    (instance,) = Census(Index(tree_of(files))).find("web")
    versions = {hold.label: hold.version for hold in instance.units[0].holds}
    assert (versions["containers[name=new]"], versions["containers[name=web]"]) == ("2.0.0", "1.0.0")


def test_a_patch_is_for_the_object_of_its_own_namespace(tree_of):
    files = {
        "live/a.yaml": WEB.replace("name: web, labels", "name: web, namespace: a, labels"),
        "live/b.yaml": WEB.replace("name: web, labels", "name: web, namespace: b, labels"),
        "live/patch.yaml": HEAD.replace("name: web", "name: web, namespace: b") + "spec: {replicas: 5}\n",
        "live/kustomization.yaml": "resources: [a.yaml, b.yaml]\npatches: [{path: patch.yaml}]\n",
    }
    look = Look("preview", "", Policy(), "", tree_of(files), _absent)

    made = anyio.run(scale, look, ACTIONS["scale"](app="web", environment="a", replicas=9))

    assert set(made.tree.changed) == {"live/a.yaml"}


def test_the_name_of_an_images_entry_is_a_pattern(tree_of):
    files = {
        "live/web.yaml": WEB,
        "live/kustomization.yaml": "resources: [web.yaml]\nimages: [{name: registry.example/.*, newTag: '3'}]\n",
    }
    (instance,) = Census(Index(tree_of(files))).find("web")
    assert {hold.version for hold in instance.units[0].holds} == {"3"}
    assert {hold.decides.spot.path for hold in instance.units[0].holds} == {"live/kustomization.yaml"}


def test_a_way_to_set_a_field_that_is_not_read_is_named(tree_of):
    files = {
        "live/web.yaml": WEB,
        "live/kustomization.yaml": "resources: [web.yaml]\nreplacements: [{path: r.yaml}]\n",
        "live/r.yaml": "[]\n",
    }
    look = Look("preview", "", Policy(), "", tree_of(files), _absent)

    made = anyio.run(scale, look, ACTIONS["scale"](app="web", replicas=9))

    assert made.notes == ("replacements in live/kustomization.yaml may decide instead: it is not read.",)
