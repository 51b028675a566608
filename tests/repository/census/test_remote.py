"""Kustomizations over remote bases: the revision of the base is the version, with the image beside it."""

import pytest
from repository.census.argo_parts import deployment

from infra_mcp.errors import InfraError
from infra_mcp.repository.census.remote import name_of
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.locator.places import Place, is_release


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("addons/certs", "certs"),
        ("certs/overlays/lab", "certs"),
        ("apps/certs/prod-eu", "certs"),
        ("certs/kustomize/base", "certs"),
        ("prod", "prod"),
        ("overlays/lab", "overlays"),
    ],
)
def test_a_kustomization_is_named_by_its_folder(folder, name):
    assert name_of(folder) == name


@pytest.mark.parametrize(
    ("url", "version", "after"),
    [
        (
            "https://git.example.org/a/b//c?ref=v1.0.0&timeout=9s",
            "v1.0.0",
            "https://git.example.org/a/b//c?ref=2&timeout=9s",
        ),
        (
            "ssh://git@git.example.org/b.git?timeout=9s&ref=1.0",
            "1.0",
            "ssh://git@git.example.org/b.git?timeout=9s&ref=2",
        ),
        (
            "https://git.example.org/b/releases/download/v1.0.0/b.yaml",
            "v1.0.0",
            "https://git.example.org/b/releases/download/2/b.yaml",
        ),
        ("https://git.example.org/1.0/2.0/b.yaml", "", "https://git.example.org/1.0/2.0/b.yaml"),
        ("https://git.example.org/v1/b.yaml", "", "https://git.example.org/v1/b.yaml"),
    ],
)
def test_the_revision_of_a_url_is_read_and_set(url, version, after):
    place = Place("url", Spot("a", 0, ("b",), url))

    assert place.version == version
    assert [value for _, value in place.sets("2", "")] == [after]


@pytest.mark.parametrize(
    "revision", ["v1.0.0", "1.2", "web-1.2.3", "web/v1.2.3", "refs/tags/x", "1.*", "~1.2.0", "a" * 40, "v7"]
)
def test_tags_and_commits_are_releases(revision):
    assert is_release(revision)


@pytest.mark.parametrize(
    "revision", ["", "HEAD", "main", "release-1.24", "releases/v2", "feature/x", "x" * 300 + "1.0.0"]
)
def test_branches_are_no_releases(revision):
    assert not is_release(revision)


def _base(ref, more=""):
    return f"resources:\n- https://git.example.org/up/web//deploy?ref={ref}\n{more}"


def test_the_image_of_an_overlay_decides_over_that_of_its_base_and_the_revision_goes_with_it(census, deployed):
    images = "images:\n- name: r.example/web\n  newTag: v1.0.0\n"
    files = {
        "web/base/kustomization.yaml": _base("v1.0.0", images),
        "web/overlays/lab/kustomization.yaml": f"resources: [../../base]\n{images}",
    }

    changed, _ = deployed(census(files), "web", "1.1.0")

    assert changed == {path: text.replace("v1.0.0", "v1.1.0") for path, text in files.items()}


def test_an_image_of_a_workload_that_is_here_is_that_workloads(census):
    more = "- own.yaml\nimages:\n- name: r.example/own\n  newTag: v2.0.0\n"
    found = census(
        {"web/kustomization.yaml": _base("v1.0.0", more), "web/own.yaml": deployment("own", "r.example/own")}
    )

    assert [(unit.app, [hold.setting for hold in unit.holds]) for unit in found.units] == [
        ("own", ["version"]),
        ("web", ["revision"]),
    ]


def test_a_base_at_a_branch_is_not_pinned_by_a_deploy(census, deployed):
    with pytest.raises(InfraError) as refused:
        deployed(census({"web/kustomization.yaml": _base("main")}), "web", "1.0.0")

    assert refused.value.code == "ambiguous-setting"
    assert "main" in refused.value.what
