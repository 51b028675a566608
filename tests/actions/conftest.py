"""A repository of one file, and what an edit is made with."""

import pytest
from repository.conftest import tree_of

from infra_mcp.actions.base import Look
from infra_mcp.policy.policy import load

__all__ = ["look_at", "tree_of"]

POLICY = """
[clusters.sandbox]
context = "kwok-infra"
[apps.docs]
owner = "docs"
workload = "docs-live/{kind}/docs"
image = "registry.example/docs/site:{{version}}"
on_failure = "{on_failure}"
grace = "7s"
timeout = "3m"
"""


@pytest.fixture
def look_at(tree_of):
    """Makes what an edit may look at: one file, and an app of a kind."""

    async def live(_):
        raise AssertionError("nothing live has to be read")

    def make(text, kind="deployment", on_failure="rollback"):
        policy = load(POLICY.format(kind=kind, on_failure=on_failure))
        tree = tree_of({"docs.yaml": text} if text else {})
        return Look("req-1", "docs", policy, "sandbox", tree, live)

    return make
