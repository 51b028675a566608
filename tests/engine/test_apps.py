"""Which apps of the repository a caller sees, and what is said of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra_mcp.actions.base import census_of
from infra_mcp.engine.apps import listed
from infra_mcp.policy.policy import Policy, load
from infra_mcp.repository.value import Tree
from tests.repository.conftest import tree_of  # noqa: F401 - a fixture

WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  template:
    spec:
      containers:
        - {{name: {name}, image: "registry.example/{name}:1.0.0"}}
"""
BASE = {
    "apps/docs/base/kustomization.yaml": "resources: [docs.yaml]\n",
    "apps/docs/base/docs.yaml": WORKLOAD.format(name="docs"),
}
OVERLAY = "resources: [../base]\nimages: [{{name: registry.example/docs, newTag: {tag}}}]\n"


@pytest.mark.promise("repos.census")
def test_each_environment_of_an_app_has_its_version_its_place_and_its_delivery(tree_of: Callable[..., Tree]) -> None:  # noqa: F811
    files = BASE | {
        "apps/docs/staging/kustomization.yaml": OVERLAY.format(tag="2.0.0"),
        "apps/docs/production/kustomization.yaml": OVERLAY.format(tag="1.9.0"),
        "README.md": "docs 1.0.0\n",
    }

    found = listed(census_of(Policy(), tree_of(files)), Policy())

    assert [(one["app"], one["environment"], one["version"], one["delivery"]) for one in found] == [
        ("docs", "production", "1.9.0", "kubernetes"),
        ("docs", "staging", "2.0.0", "kubernetes"),
    ]
    assert found[0]["at"] == ["apps/docs/production/kustomization.yaml#images[name=registry.example/docs].newTag"]


@pytest.mark.promise("repos.census")
def test_the_owner_and_the_delivery_are_those_that_policy_names(tree_of: Callable[..., Tree]) -> None:  # noqa: F811
    policy = load(
        '[[tree.roots]]\npath = "apps"\ndelivery = "external"\n[[owners]]\npaths = ["apps/docs/**"]\nowner = "docs"\n'
    )
    files = {"apps/docs/docs.yaml": WORKLOAD.format(name="docs"), "apps/shop/shop.yaml": WORKLOAD.format(name="shop")}

    found = listed(census_of(policy, tree_of(files, "apps")), policy)

    assert [(one["app"], one["owner"], one["delivery"]) for one in found] == [
        ("docs", "docs", "external"),
        ("shop", None, "external"),
    ]


@pytest.mark.fault("r8")
def test_what_lies_in_folders_for_tests_and_samples_is_no_app_unless_it_is_beside_an_environment(
    tree_of: Callable[..., Tree],  # noqa: F811
) -> None:
    left_out = (
        "tests",
        "testdata",
        "samples",
        "examples/docs",
        "chart/templates",
        ".github",
        "vendor/x",
        "roles/a/files",
    )
    files = {f"{folder}/a.yaml": WORKLOAD.format(name=f"a{at}") for at, folder in enumerate(left_out)}
    files |= {"chart/Chart.yaml": "name: chart\nversion: 1.0.0\n", "apps/docs/docs.yaml": WORKLOAD.format(name="docs")}
    files |= {f"shop/{name}/shop.yaml": WORKLOAD.format(name="shop") for name in ("test", "production")}

    found = listed(census_of(Policy(), tree_of(files)), Policy())

    workloads = [one for one in found if one["units"][0].startswith("Deployment")]
    assert [(one["app"], one["environment"]) for one in workloads] == [
        ("docs", None),
        ("shop", "production"),
        ("shop", "test"),
    ]


def test_a_folder_test_among_apps_is_an_app(tree_of: Callable[..., Tree]) -> None:  # noqa: F811
    files = {f"apps/{name}/{name}.yaml": WORKLOAD.format(name=name) for name in ("docs", "test")}

    found = listed(census_of(Policy(), tree_of(files | {"lib/test/a.yaml": WORKLOAD.format(name="a")})), Policy())

    assert [one["app"] for one in found] == ["docs", "test"]
