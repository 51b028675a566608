"""A plan that was built holds on another head only where everything that its builds read is the same."""

import anyio
import pytest
from repository.conftest import Files

from infra_mcp.errors import Moved
from infra_mcp.repository.load import load
from infra_mcp.repository.rebase import rebase

FILES = {
    "live/kustomization.yaml": "resources: [../base]\n",
    "base/kustomization.yaml": "resources: [a.yaml]\n",
    "base/a.yaml": "x: 1\n",
    "base/words.txt": "hello\n",
    "other.yaml": "y: 1\n",
}
READ = frozenset({"live/kustomization.yaml", "base/kustomization.yaml", "base/a.yaml", "base/words.txt"})


def tree(more=None):
    return anyio.run(load, Files(FILES | (more or {})), "c" * 40, ["."], "sandbox")


@pytest.mark.promise("plan.stale")
@pytest.mark.parametrize(
    "more",
    [
        {"base/words.txt": "bye\n"},
        {"base/kustomization.yaml": "resources: [a.yaml]\nnamePrefix: x-\n"},
        {"far/kustomization.yaml": "resources: [../base]\n"},  # a new reader of the same base
    ],
)
def test_a_change_of_what_is_built_is_planned_again(more):
    before = tree()
    after = before.write("live/kustomization.yaml", b"resources: [../base]\nnameSuffix: -x\n")

    with pytest.raises(Moved, match=next(iter(more))):
        rebase(before, after, tree(more), READ)


def test_a_change_of_anything_else_is_not():
    before = tree()
    after = before.write("live/kustomization.yaml", b"resources: [../base]\nnameSuffix: -x\n")

    assert list(rebase(before, after, tree({"other.yaml": "y: 2\n"}), READ)) == ["live/kustomization.yaml"]
