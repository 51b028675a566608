"""Files that hold one app's version in one environment are known by their shape, whatever their path is."""

import pytest

from infra_mcp.errors import InfraError


def test_a_file_an_app_and_environment_without_a_suffix(census, environments, deployed):
    files = {
        "config/tags/production/web": "image_tag: v1\nautomatic_deploys_enabled: false\n",
        "config/tags/integration/web": "image_tag: v2\n",
        "config/tags/integration/new": "image_tag: v9\n",
    }
    found = census(files)

    assert environments(found, "web") == ["integration", "production"]
    assert environments(found, "new") == []
    assert found.find("web")[0].entry.delivery == "none"
    assert deployed(found, "web", "2", "production")[0] == {
        "config/tags/production/web": "image_tag: v2\nautomatic_deploys_enabled: false\n"
    }


@pytest.mark.parametrize(
    ("path", "text", "after"),
    [
        ("rel/{env}/web.yaml", "tag: '1.10'\n", "tag: '1.20'\n"),
        ("rel/{env}/web.yml", "# why\nimage: {repository: r.example/web, tag: 1.1.1}\n", None),
        ("rel/{env}/web.json", '{"imageTag": "1.10"}\n', '{"imageTag": "1.20"}\n'),
        ("rel/web/{env}.yaml", "image: registry.example/web:1.10\r\n", "image: registry.example/web:1.20\r\n"),
        ("rel/{env}/web", 'version: "1.10"', 'version: "1.20"'),
    ],
)
def test_other_forms_of_the_same_shape(census, environments, deployed, path, text, after):
    names = {env: path.format(env=env) for env in ("prod", "dev")}
    others = [name.replace("web", "api") for name in names.values()]
    found = census(dict.fromkeys([*names.values(), *others], text))

    assert environments(found, "web") == ["dev", "prod"]
    if after:
        assert deployed(found, "web", "1.20", "prod")[0] == {names["prod"]: after}


def test_a_file_of_nothing_but_the_version_gets_no_quotes(census, deployed):
    found = census({"rel/prod/web": "v1.2.3\n", "rel/dev/web": "1.3.0", "rel/dev/api": "1", "rel/prod/api": "2"})

    assert list(found.apps) == ["web"]
    assert deployed(found, "web", "1.2.4", "prod")[0] == {"rel/prod/web": "v1.2.4\n"}
    assert deployed(found, "web", "1.3.1", "dev")[0] == {"rel/dev/web": "1.3.1"}
    with pytest.raises(InfraError) as refused:
        deployed(found, "web", "1.4", "dev")
    assert refused.value.code == "manifest-invalid"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a/{env}/web.yaml", "kind: Deployment\nmetadata: {name: web}\nspec: {image: r.example/web:1}\n"),
        ("a/{env}/values.yaml", "image: {tag: v1}\n"),
        ("a/{env}/LICENSE", "version: 3\n"),
        ("a/{env}/web", "image_tag: v1\nsidecar_image_tag: v2\n"),
        ("a/{env}/web", "image_tag: [v1]\n"),
        ("a/{env}/web", "image_tag: v1\nmore: " + "x" * 5000),
        ("a/{env}/web", "{{ .Values.tag }}\n"),
        ("a/{env}/web", "8080\n"),
        ("tests/{env}/web", "image_tag: v1\n"),
        ("a/{env}/web", "deep: {er: {and: {tag: v1}}}\n"),
    ],
)
def test_what_looks_different_is_none(census, path, text):
    found = census({path.format(env=env): text for env in ("prod", "dev")})

    assert [unit for unit in found.units if unit.kind == "Tag"] == []


def test_files_by_environment_without_another_app_beside_are_not_taken_for_apps(census):
    assert census({f"environments/{env}.yaml": "version: '1.2'\n" for env in ("prod", "dev")}).apps == {}


def test_a_link_is_not_read(census):
    files = {"a/prod/web": "image_tag: v1\n", "a/dev/web": "../prod/web"}

    assert census(files, modes={"a/dev/web": "120000"}).apps == {}


def test_a_file_of_each_region_keeps_the_names_of_both_folders(census, environments):
    files = {f"r/{region}/{env}/web": "tag: v1\n" for region in ("eu-1", "us-1") for env in ("prod", "dev")}

    assert environments(census(files), "web") == ["eu-1/dev", "eu-1/prod", "us-1/dev", "us-1/prod"]
