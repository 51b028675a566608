"""Custom resources of operators: the version is in the resource itself, wherever the operator has it."""

import pytest

from infra_mcp.errors import InfraError

HEAD = "apiVersion: db.example.org/v1\nkind: Cluster\nmetadata: {name: accounts, namespace: data}\n"


@pytest.mark.parametrize(
    ("spec", "after"),
    [
        ("image: registry.example/db:17.1", "image: registry.example/db:17.2"),
        ("imageName: 'registry.example/db:17.1'", "imageName: 'registry.example/db:17.2'"),
        (
            "image: {repository: registry.example/db, tag: '17.1'}",
            "image: {repository: registry.example/db, tag: '17.2'}",
        ),
        ("version: '17.1'", "version: '17.2'"),
        ("version: v17.1\n  image: registry.example/db:17.1", "version: v17.2\n  image: registry.example/db:17.2"),
        ("version: 16.0.0\n  image: registry.example/db:17.1", "version: 16.0.0\n  image: registry.example/db:17.2"),
        ("server: {image: 'registry.example/db:17.1'}", "server: {image: 'registry.example/db:17.2'}"),
    ],
)
def test_the_version_of_a_custom_resource(census, deployed, spec, after):
    text = f"{HEAD}spec:\n  {spec}\n"

    assert deployed(census({"db/cluster.yaml": text}), "accounts", "17.2")[0] == {
        "db/cluster.yaml": f"{HEAD}spec:\n  {after}\n"
    }


@pytest.mark.parametrize("spec", ["version: latest", "version: [1]", "version: {a: 1.0}", "image: web", "version: 3"])
def test_what_is_no_version_makes_no_app(census, spec):
    assert census({"db/cluster.yaml": f"{HEAD}spec: {{{spec}}}\n"}).apps == {}


@pytest.mark.trap("K9")
def test_an_entry_of_images_that_reaches_no_custom_resource_is_named_and_left(census, deployed):
    sidecars = "  sidecars:\n    containers:\n    - {name: a, image: 'x/a:1'}\n"
    text = f"{HEAD}spec:\n  image: registry.example/db:17.1\n{sidecars}"
    entries = "- {name: registry.example/db, newTag: '17.9'}\n- {name: other, newTag: '17.9'}\n"
    kustomization = f"resources: [cluster.yaml]\nimages:\n{entries}"
    found = census({"db/kustomization.yaml": kustomization, "db/cluster.yaml": text})

    changed, notes = deployed(found, "accounts", "17.2", image="registry.example/db")
    assert changed == {"db/cluster.yaml": text.replace("17.1", "17.2")}
    assert [note for note in notes if "db/kustomization.yaml" in note and "registry.example/db" in note]
    assert not [note for note in notes if "name=other" in note]


@pytest.mark.trap("K9")
def test_containers_inside_a_custom_resource_are_reached(census, deployed):
    text = HEAD + "spec:\n  template:\n    containers:\n    - {name: db, image: 'registry.example/db:17.1'}\n"
    kustomization = "resources: [cluster.yaml]\nimages:\n- {name: registry.example/db, newTag: '17.3'}\n"
    found = census({"db/kustomization.yaml": kustomization, "db/cluster.yaml": text})

    assert deployed(found, "accounts", "17.4")[0] == {"db/kustomization.yaml": kustomization.replace("17.3", "17.4")}


@pytest.mark.trap("K9")
def test_an_entry_of_images_under_a_patch_that_sets_another_image_is_no_place_and_the_answer_names_the_patch(
    census, deployed
):
    patch = "- {op: replace, path: /spec/template/spec/containers/0/image, value: 'mirror.example/web:1.0'}\n"
    web = "kind: Deployment\nmetadata: {name: web}\n"
    web += "spec: {template: {spec: {containers: [{name: web, image: 'x/web:1'}]}}}\n"
    files = {
        "web/kustomization.yaml": "resources: [web.yaml]\nimages: [{name: x/web, newTag: '1.0'}]\n"
        "patches: [{target: {kind: Deployment}, path: mirror.yaml}]\n",
        "web/web.yaml": f"apiVersion: apps/v1\n{web}",
        "web/mirror.yaml": patch,
    }

    with pytest.raises(InfraError, match=r"which runs mirror\.example/web by web/mirror\.yaml#\[0\]\.value") as refused:
        deployed(census(files), "web", "1.1", image="docker.io/x/web")

    assert "Correct image in [apps.web]" in refused.value.next_step
