"""References to images."""

import pytest

from infra_mcp.model.image import Image

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("redis", ("redis", "", "")),
        ("redis:7.4", ("redis", "7.4", "")),
        ("registry.example:5000/docs/site", ("registry.example:5000/docs/site", "", "")),
        ("registry.example:5000/docs/site:v1", ("registry.example:5000/docs/site", "v1", "")),
        (f"localhost/a@{DIGEST}", ("localhost/a", "", DIGEST)),
        (f"registry.example/a/b:2.1@{DIGEST}", ("registry.example/a/b", "2.1", DIGEST)),
    ],
)
def test_a_reference_is_taken_apart_and_put_together_again(reference, parts):
    image = Image.parse(reference)

    assert tuple(image) == parts
    assert str(image) == reference


def test_all_spellings_of_an_image_of_docker_hub_are_one_repository():
    spelt = ("redis", "library/redis", "docker.io/redis", "docker.io/library/redis", "index.docker.io/library/redis")

    assert {Image.parse(one).repository for one in spelt} == {"docker.io/library/redis"}
    assert Image.parse("bitnami/redis").repository == "docker.io/bitnami/redis"
    assert Image.parse("registry.example/redis").repository == "registry.example/redis"
    assert Image.parse("localhost/redis").repository == "localhost/redis"


def test_a_repository_of_docker_hub_has_several_names_and_any_other_has_one():
    official = Image.parse("redis:7").spellings

    assert {Image.parse(one).repository for one in official} == {"docker.io/library/redis"}
    assert {"redis", "library/redis", "docker.io/redis", "docker.io/library/redis"} <= set(official)
    assert {"bitnami/redis", "docker.io/bitnami/redis"} <= set(Image.parse("bitnami/redis").spellings)
    assert "redis" not in Image.parse("bitnami/redis").spellings
    for other in ("registry.example/redis", "localhost/redis", "redis:5000/redis", "registry.example/library/redis"):
        assert Image.parse(f"{other}:1").spellings == (other,)
