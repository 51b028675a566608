"""Whatever stands where a map, a list or a text belongs, the census and the locator end in an error of ours or none."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.repository.locator.value import locate_replicas
from infra_mcp.repository.locator.version import held, locate
from infra_mcp.repository.nodes import Unreadable, compose, decode, values

SHAPES = sorted(path.parent for path in Path(__file__).parents[2].glob("shapes/*/repo"))
ODD = ([], {}, "x", 5, None, True, ["x"], [5], {"a": [None]}, [[]], [None])
EACH = 12  # values replaced in each shape, always the same ones


def places(value, at=()):
    """The way to every value."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*at, key))


def replaced(value, at, new):
    """The value with another one at a place."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


def read(data):
    with suppress(Unreadable):
        return values(compose(decode(data)))
    return []


def look(census):
    """Everything that a request asks of a census."""
    assert census.others is not None
    assert census.applications.unknown is not None
    for one in [one for some in census.apps.values() for one in some]:
        held(one)
        for setting in ("version", "chart"):
            with suppress(InfraError):
                locate(census, one, "9.9.9", setting=setting)
        with suppress(InfraError):
            locate_replicas(census, one, 3)


@pytest.mark.promise("repos.census")
@pytest.mark.parametrize("shape", SHAPES, ids=lambda path: path.name)
def test_an_odd_value_anywhere_ends_no_census(census, shape):
    root, random = shape / "repo", Random(shape.name)
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    known = {
        path: found
        for path, data in sorted(files.items())
        if path.endswith((".yaml", ".json"))
        if (found := read(data))
    }
    spots = [(path, at) for path, found in known.items() for at in places(found) if len(at) > 1]
    for path, at in random.sample(spots, min(EACH, len(spots))):
        odd = replaced(known[path], at, random.choice(ODD))
        look(census(files | {path: "\n---\n".join(map(json.dumps, odd)).encode()}))


ONES = {
    "an image that is a list": ("spec", "template", "spec", "containers", 0, "image"),
    "a spec that is a text": ("spec",),
    "a namespace that is a map": ("metadata", "namespace"),
    "containers that are a number": ("spec", "template", "spec", "containers"),
    "values from nowhere": ("spec", "valuesFrom"),
    "a reference that is a text": ("spec", "chartRef"),
    "a reference of an odd kind": ("spec", "chartRef", "kind"),
    "a source of an odd kind": ("spec", "chart", "spec", "sourceRef", "kind"),
    "metadata that is a list": ("metadata",),
}


@pytest.mark.promise("repos.census")
@pytest.mark.parametrize("at", ONES.values(), ids=ONES)
def test_what_is_not_as_expected_is_as_if_it_were_absent(census, at):
    container = {"name": "web", "image": "registry.example/web:1.2.3"}
    objects = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "docs"},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [container]}}},
        },
        {
            "apiVersion": "helm.toolkit.fluxcd.io/v2",
            "kind": "HelmRelease",
            "metadata": {"name": "site", "namespace": "docs"},
            "spec": {
                "chartRef": {"kind": "OCIRepository", "name": "site"},
                "chart": {"spec": {"chart": "./site", "sourceRef": {"kind": "GitRepository"}}},
                "valuesFrom": [{"kind": "ConfigMap", "name": "x"}],
            },
        },
    ]
    entries = {
        "resources": ["web.yaml"],
        "replicas": [{"name": "web", "count": 3}],
        "images": [{"name": "a", "newTag": "1"}],
    }
    for number, one in enumerate(objects):
        for odd in ODD:
            with suppress(KeyError, IndexError):
                made = replaced(one, at, odd)
                files = {"web.yaml": json.dumps(made), "kustomization.yaml": json.dumps(entries)}
                look(census(files))
                look(census({"alone.yaml": json.dumps([made, one][number % 2])}))


@pytest.mark.parametrize(
    "entry",
    [
        {"patches": [{"target": 5, "patch": "- {op: [], path: /spec}"}]},
        {
            "patches": [
                {"target": {"kind": []}, "patch": "- {op: replace, path: /spec/x/99999999999999999999999, value: 1}"}
            ]
        },
        {"patches": [{"patch": "kind: Deployment\nmetadata: []\nspec: x"}]},
        {"replicas": [{"name": [], "count": {}}], "namespace": {"a": 1}, "namePrefix": [1]},
        {"configMapGenerator": [{"name": {}, "files": 5, "envs": True, "env": [1]}]},
        {"images": {"name": "web"}, "components": "x", "resources": ["web.yaml", 5, None]},
    ],
)
def test_an_odd_entry_of_a_kustomization_ends_no_census(census, entry):
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1}}
    files = {"web.yaml": json.dumps(web), "kustomization.yaml": json.dumps({"resources": ["web.yaml"]} | entry)}

    look(census(files))


def test_a_pattern_of_a_patch_is_matched_in_linear_time(census):
    """A repository's own pattern must not stop the server: kustomize's patterns have no backtracking either."""
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a" * 60 + "b"}, "spec": {"replicas": 1}}
    patch = {"target": {"name": "(a+)+"}, "patch": "- {op: replace, path: /spec/replicas, value: 5}"}
    entry = {"resources": ["web.yaml"], "patches": [patch]}
    found = census({"web.yaml": json.dumps(web), "kustomization.yaml": json.dumps(entry)})

    (one,) = [unit for unit in found.units if unit.kind == "Deployment"]
    assert [spot.path for spot in one.replicas()] == ["web.yaml"]
