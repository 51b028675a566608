"""The repository with other values at the addressed places: valid ones, which a build takes."""

import anyio
import pytest
from repository.conftest import Files

from infra_mcp.engine.decided import otherwise
from infra_mcp.repository.edits import Edit, Goal, Location
from infra_mcp.repository.load import load

FILE = """\
images:
  - name: registry.example/docs/site
    newTag: "1.0"   # by hand
replicas: [{name: docs, count: 3}]
enabled: true
patches:
  - patch: |
      - {op: replace, path: /spec/replicas, value: 3}
empty: ""
"""


@pytest.fixture
def tree():
    return anyio.run(load, Files({"a/kustomization.yaml": FILE}), "c" * 40, ["."], "sandbox")


def _edit(tree, field, inside=None):
    where = Location(path="a/kustomization.yaml", field=field, inside=inside)
    return Edit(tree, Goal(title="x"), addressed=(where,))


@pytest.mark.promise("plan.unchanged")
@pytest.mark.parametrize(
    ("field", "inside", "before", "after"),
    [
        (("images", {"name": "registry.example/docs/site"}, "newTag"), None, '"1.0"', '"1.1"'),
        (("replicas", {"name": "docs"}, "count"), None, "count: 3", "count: 4"),
        (("enabled",), None, "enabled: true", "enabled: false"),
        (("patches", 0, "patch"), (0, "value"), "value: 3}", "value: 4}"),
        (("patches", 0, "patch"), None, "", ""),  # a whole patch has no other value that is sure to fit
        (("empty",), None, "", ""),
        (("missing",), None, "", ""),
    ],
)
def test_one_place_has_another_value_of_its_kind_and_nothing_else_moves(tree, field, inside, before, after):
    made = otherwise(_edit(tree, field, inside), {"a/kustomization.yaml"})

    assert made.read("a/kustomization.yaml").decode() == FILE.replace(before, after)


def test_a_place_in_a_file_that_the_build_does_not_read_stays(tree):
    assert otherwise(_edit(tree, ("enabled",)), {"b.yaml"}).read("a/kustomization.yaml").decode() == FILE
