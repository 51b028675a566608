"""Where an app's image stands in a workload."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.effect import Change, FieldChange
from infra_mcp.model.target import Target
from infra_mcp.policy.decide import admit
from infra_mcp.policy.images import containers_of, images_in, new_images
from infra_mcp.policy.policy import load

DEPLOY = Deploy(app="docs", version="7.4")

REPO = "registry.example:5000/docs/site"
WORKLOAD = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "docs", "namespace": "docs-live", "labels": {"a": "b"}},
    "spec": {
        "replicas": 3,
        "template": {
            "spec": {
                "initContainers": [{"name": "warm", "image": f"{REPO}:1"}],
                "containers": [
                    {"name": "side", "image": "registry.example:5000/docs/site-proxy:1"},
                    {"name": "web", "image": f"{REPO}@sha256:{'0' * 64}", "env": []},
                ],
            }
        },
    },
}


def test_containers_are_found_by_repository_and_not_by_the_beginning_of_its_name():
    assert [(which, name) for which, name, _ in containers_of(WORKLOAD, REPO)] == [
        ("initContainers", "warm"),
        ("containers", "web"),
    ]


def test_every_image_that_a_value_names_is_found_whatever_its_depth_and_one_that_is_no_text_is_empty():
    assert list(images_in(WORKLOAD)) == [
        f"{REPO}:1",
        "registry.example:5000/docs/site-proxy:1",
        f"{REPO}@sha256:{'0' * 64}",
    ]
    assert list(images_in({"a": [{"image": 7}, {"b": {"image": "x:1"}}]})) == ["", "x:1"]


HUB = ("redis", "library/redis", "docker.io/redis", "docker.io/library/redis")
OTHERS = (
    "redis:5000/evil", "redis.example/redis", "registry.example/redis", "localhost/redis", "localhost/library/redis",
    "evil/redis", "docker.io/evil/redis", "redis-evil", "library/redis-evil", "library/redis/evil", "redis/redis",
    "docker.io.example/library/redis", "registry.example/docker.io/library/redis",
)  # fmt: skip


@pytest.mark.fault("r7")
@pytest.mark.parametrize("written", HUB)
def test_an_official_image_of_docker_hub_is_granted_however_policy_and_file_spell_it(policy_text, docs, written):
    for granted in (f"{written}:*", f"{written}:7*", f"{written}:7.4", "*"):
        for named in (*HUB, "index.docker.io/library/redis"):
            assert _is_granted(policy_text, docs, granted, named), (granted, named)


@pytest.mark.fault("r7")
def test_a_pattern_of_docker_hub_grants_no_other_registry_and_no_other_image(policy_text, docs):
    for granted in (f"{one}:*" for one in HUB):
        for named in OTHERS:
            assert not _is_granted(policy_text, docs, granted, named), (granted, named)
    for granted in ("redis:6*", "library/redis:6*", "docker.io/bitnami/*", "registry.example/redis:*", "nginx:*"):
        assert not _is_granted(policy_text, docs, granted, "redis"), granted
    assert _is_granted(policy_text, docs, "docker.io/*", "bitnami/redis")


@pytest.mark.parametrize("values", [{"tag": "1.1.0"}, {"repository": "registry.example/docs/site"}, "site", ["a"]])
def test_an_image_in_the_values_of_a_release_is_judged_as_rendered_for_values_may_name_it_in_parts(values):
    def changed(system: str, kind: str) -> Change:
        target = Target(system=system, place="sandbox", scope="docs-live", kind=kind, name="docs")
        field = FieldChange(path=("values", "image"), before=None, after=values, had=False)
        return Change(target=target, operation="create", fields=(field,))

    assert new_images(changed("helm", "release")) == ()
    assert new_images(changed("kubernetes", "example.org/Release"))


@pytest.mark.fault("r7")
@pytest.mark.parametrize("pattern", ["red*:7", "*:7", "redis*", "re*dis:*", "*/redis:*", "docker.*/redis"])
def test_a_wildcard_in_a_name_that_could_be_a_registry_is_refused(policy_text, pattern):
    with pytest.raises(InfraError, match="must name the registry in full"):
        load(policy_text.replace('["registry.example/docs/*"]', f'["{pattern}"]'))


@pytest.mark.fault("r7")
def test_containers_are_found_by_any_spelling_of_an_image_of_docker_hub():
    workload = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "redis:7"}, {"name": "b"}]}}}}

    for repo in ("redis", "docker.io/library/redis", "index.docker.io/library/redis"):
        assert [name for _, name, _ in containers_of(workload, repo)] == ["a"]
    assert not list(containers_of(workload, "registry.example/redis"))


def _is_granted(policy_text, docs, granted: str, image: str) -> bool:
    text = policy_text.replace('["registry.example/docs/*"]', f'["{granted}"]')
    verdict = admit(load(text.replace("registry.example/docs/site:{version}", f"{image}:{{version}}")), docs, DEPLOY)
    return verdict.rule != "circles.docs.images"
