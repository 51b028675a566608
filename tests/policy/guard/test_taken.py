"""Hosts that an object of another namespace routes already, as the repository has it."""

from __future__ import annotations

import pytest
import yaml
from policy.guard.guard_cases import ACTION, DOCS, GRANTS, change_of, policy_of

from infra_mcp.clients.git import Entry
from infra_mcp.policy.decide import rendering_refusals
from infra_mcp.policy.grants import grants
from infra_mcp.policy.guard.rules import TAKEN
from infra_mcp.policy.guard.taken import with_taken
from infra_mcp.repository.manifest import Manifest
from infra_mcp.repository.value import Base, Tree

HOST = "www.docs.example"
ROUTES = {
    "Ingress": ("networking.k8s.io/v1", {"rules": [{"host": HOST}]}),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", {"hostnames": [HOST]}),
    "Route": ("route.openshift.io/v1", {"host": HOST}),
    "VirtualService": ("networking.istio.io/v1", {"hosts": [HOST]}),
}
BY_DESIGN = {
    "Gateway": ("gateway.networking.k8s.io/v1", {"listeners": [{"name": "web", "hostname": HOST}]}),
    "Certificate": ("cert-manager.io/v1", {"dnsNames": [HOST], "secretName": "tls"}),
}


def routed(kind: str, namespace: str | None, spec: dict | None = None) -> dict:
    version, usual = (ROUTES | BY_DESIGN)[kind]
    metadata = {"name": "site"} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec or usual}


def tree_with(*objects: dict, cluster: str = "sandbox") -> Tree:
    files = {f"k8s/{at}.yaml": yaml.safe_dump(one).encode() for at, one in enumerate(objects)}
    manifests = {path: Manifest(data, path, cluster) for path, data in files.items()}
    entries = {path: Entry("100644", f"{at:040x}") for at, path in enumerate(files)}
    return Tree(Base("0" * 40, cluster, ("k8s",), entries, manifests))


def is_taken(tree: Tree, rendered: dict, scope: str = "docs-live", **more) -> bool:
    (change,) = with_taken(tree, [change_of(rendered, scope, **more)])
    return any(one.rule == TAKEN and one.value == HOST for one in change.traits)


@pytest.mark.promise("policy.circles")
@pytest.mark.parametrize("other", ROUTES)
@pytest.mark.parametrize("kind", ROUTES)
def test_a_host_that_another_namespace_routes_in_the_repository_is_taken(kind, other):
    tree = tree_with(routed(other, "docs-other"))

    assert is_taken(tree, routed(kind, "docs-live"))
    assert not is_taken(tree, routed(kind, "docs-other"), scope="docs-other"), "its own namespace may have it"
    assert not is_taken(tree_with(), routed(kind, "docs-live"))


@pytest.mark.parametrize(
    "other",
    [
        routed("VirtualService", "docs-other", {"hosts": ["WWW.Docs.Example"]}),
        routed("Route", "docs-other", {"host": "Www.docs.example."}),
        routed("Ingress", "docs-other", {"rules": [{"host": "docs.example"}]})
        | {
            "metadata": {
                "name": "site",
                "namespace": "docs-other",
                "annotations": {"nginx.ingress.kubernetes.io/from-to-www-redirect": "true"},
            }
        },
    ],
    ids=["capitals", "a dot at the end", "by the redirect of another"],
)
def test_a_host_is_taken_however_the_other_namespace_wrote_it(other):
    assert is_taken(tree_with(other), routed("Ingress", "docs-live"))


@pytest.mark.parametrize("kind", BY_DESIGN)
def test_gateways_and_certificates_of_other_namespaces_have_the_host_by_design(kind):
    assert not is_taken(tree_with(routed(kind, "gateways")), routed("HTTPRoute", "docs-live"))
    assert not is_taken(tree_with(routed("HTTPRoute", "docs-other")), routed(kind, "gateways"), scope="gateways")


@pytest.mark.parametrize(
    ("other", "cluster"),
    [
        (routed("Ingress", "docs-other", {"rules": [{"host": f"not-{HOST}"}]}), "sandbox"),
        (routed("Ingress", "docs-other", {"rules": [{"host": f"{HOST}.example"}]}), "sandbox"),
        (routed("Ingress", None), "sandbox"),
        (routed("Ingress", "docs-other"), "elsewhere"),
        (
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "a", "namespace": "b"},
                "data": {HOST: HOST},
            },
            "sandbox",
        ),
    ],
    ids=["a-longer-name", "a-longer-domain", "no-namespace", "another-cluster", "only-words"],
)
def test_what_only_looks_like_the_host_takes_nothing(other, cluster):
    assert not is_taken(tree_with(other, cluster=cluster), routed("Ingress", "docs-live"))


def test_what_goes_or_stays_as_it_is_takes_no_host():
    tree = tree_with(routed("Ingress", "docs-other"))
    change = change_of(routed("Ingress", "docs-live"), "docs-live")

    for operation in ("delete", "unchanged"):
        assert with_taken(tree, [change.model_copy(update={"operation": operation})])[0].traits == change.traits


def refused(hosts: list[str], allow: list[str]) -> list[str]:
    policy = policy_of(GRANTS | {"hosts": hosts, "allow": allow})
    changes = with_taken(
        tree_with(routed("Ingress", "docs-other")), [change_of(routed("Ingress", "docs-live"), "docs-live")]
    )
    return [one.rule for one in rendering_refusals(policy, grants(policy, DOCS, attendant=False), ACTION, changes)]


def test_a_taken_host_is_refused_unless_the_circle_is_allowed_to_share_and_one_that_is_not_granted_says_nothing_of_it():
    assert refused([HOST], []) == [TAKEN]
    assert refused([HOST], [TAKEN]) == []
    assert refused(["other.docs.example"], []) == ["circles.docs.hosts"]
