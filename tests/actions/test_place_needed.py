"""Where a new object goes is never guessed: with several roots someone has to say it."""

import anyio
import pytest

from infra_mcp.actions.base import Look
from infra_mcp.actions.provision_namespace import edit
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.policy.policy import load

ROOTS = "".join(f"[[tree.roots]]\npath = '{path}'\n" for path in ("a", "b"))
POLICY = "[clusters.sandbox]\ncontext = 'c'\n[circles.docs]\nnamespaces = ['docs-*']\n"


async def absent(_):
    return None


def provisioned(tree_of, text):
    tree = tree_of({"a/x.yaml": "", "b/x.yaml": ""}, "a", "b")
    look = Look("req-1", "docs", load(text), "sandbox", tree, absent)
    return anyio.run(edit, look, ProvisionNamespace(namespace="docs-a"))


@pytest.mark.parametrize("text", [POLICY + ROOTS, POLICY + ROOTS.replace("'a'", "'a'\ndelivery = 'flux'", 1)])
def test_a_new_object_goes_below_the_only_root_or_nowhere(tree_of, text):
    if "flux" in text:
        assert set(provisioned(tree_of, text).tree.changed) == {
            "b/docs-a/namespace-docs-a.yaml",
            "b/docs-a/rolebinding-infra-mcp-circle.yaml",
            "b/docs-a/rolebinding-infra-mcp-server.yaml",
        }
        return
    with pytest.raises(InfraError) as caught:
        provisioned(tree_of, text)
    assert caught.value.code == "place-needed"
    assert '[tree] new = "{root}/{namespace}/{kind}-{name}.yaml"' in caught.value.next_step


def test_a_new_object_goes_where_policy_says(tree_of):
    made = provisioned(tree_of, POLICY + "[tree]\nnew = 'b/all/{kind}-{name}.yaml'\n" + ROOTS)

    assert "b/all/namespace-docs-a.yaml" in made.tree.changed
