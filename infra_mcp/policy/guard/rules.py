"""The guardrails: every one with its name, what it refuses, why, and by which source.

The one table of them: `policy explain`, docs/policy.md and the verdicts read it.
"""

from __future__ import annotations

from typing import Final

from infra_mcp.policy.guard.guardrail import Guardrail
from infra_mcp.policy.guard.pod_rules import POD_RULES

# NSA and CISA, Kubernetes Hardening Guide 1.2, August 2022
_NETWORK: Final = "NSA/CISA guide, network separation and hardening"
_RBAC: Final = "NSA/CISA guide, authentication and authorization"
_SNIPPETS: Final = "CVE-2021-25742 (ingress-nginx)"
_MARKS: Final = "infra-mcp's own marks"
_ALIKE: Final = "RFC 5890; Unicode Technical Standard 39"
_GARBAGE: Final = "Kubernetes, garbage collection and finalizers"

UNREADABLE: Final = "objects.unreadable"
OWN: Final = "objects.own"
IDENTITY: Final = "objects.identity"
FINALIZERS: Final = "objects.finalizers"
OWNERS: Final = "objects.owner-references"
ACCOUNT: Final = "pods.service-account"
LATEST: Final = "images.latest"
DIGEST: Final = "images.digest"
HOSTS: Final = "hosts"
TAKEN: Final = "hosts.taken"
UNRENDERED: Final = "effect.unrendered"


def _kinds(name: str, refuses: str, why: str, source: str = _RBAC) -> Guardrail:
    return Guardrail(name, "renderings", refuses, why, source)


def _records(name: str, refuses: str, why: str, source: str, instead: str = "") -> Guardrail:
    return Guardrail(name, "records", refuses, why, source, instead)


_ALL: Final = (
    *POD_RULES,
    Guardrail(
        ACCOUNT,
        "changes",
        "a service account other than `default`, the object's present one, and one that the same change brings",
        "Its rights would be the pod's: an account of another app, or of an operator, may have more.",
        "NSA/CISA guide, authentication and authorization; Kubernetes, RBAC good practices",
    ),
    Guardrail(
        "pods.token-audience",
        "changes",
        "a projected token of the service account for an `audience`",
        "It shows the pod's identity to another system, which gives rights for it.",
        "Kubernetes, service account token volume projection",
    ),
    Guardrail(
        FINALIZERS,
        "changes",
        "a finalizer that the object has not already, but those that Kubernetes or its own controller removes",
        "The object, and its namespace, cannot be deleted until something removes it.",
        _GARBAGE,
    ),
    Guardrail(
        OWNERS,
        "changes",
        "an owner reference that the object has not already",
        "Kubernetes deletes the object with its owner, and at once where that is in another namespace.",
        _GARBAGE,
    ),
    Guardrail(
        LATEST,
        "changes",
        "an image with the tag `latest` and no digest, that the object does not run already",
        "The tag moves: no one could tell what landed, or go back to it.",
        "NSA/CISA guide, Kubernetes Pod security; Polaris, kube-score, kube-linter",
    ),
    Guardrail(
        "services.external-ips",
        "changes",
        "`externalIPs`",
        "The namespace would receive traffic to any address, that of others too.",
        f"CVE-2020-8554; {_NETWORK}",
    ),
    Guardrail(
        "services.node-port", "changes", "a Service of type NodePort", "It opens a port on every node.", _NETWORK
    ),
    Guardrail(
        "services.load-balancer",
        "changes",
        "a Service of type LoadBalancer",
        "It opens the namespace to the outside, and may cost money.",
        _NETWORK,
    ),
    Guardrail(
        "services.external-name",
        "changes",
        "a Service of type ExternalName",
        "A name inside would lead anywhere, other namespaces included.",
        _NETWORK,
    ),
    Guardrail(
        "ingresses.snippets",
        "changes",
        "an annotation with a piece of the ingress controller's configuration",
        "The controller would run it with its own rights, and can read every Secret.",
        _SNIPPETS,
    ),
    Guardrail(
        HOSTS,
        "changes",
        "a host of an Ingress, route, Gateway listener or DNS annotation that the circle is not granted; "
        "one without a host is for any",
        "A circle could take the traffic of others.",
        _NETWORK,
        "`hosts` of the circle",
    ),
    Guardrail(
        TAKEN,
        "changes",
        "a host that an object of another namespace routes already, as the repository has it",
        "One of the two would get the other's traffic; which one is the controller's to decide.",
        "Kubernetes, Ingress; Gateway API, conflicts of routes",
    ),
    Guardrail(
        UNREADABLE,
        "changes",
        "an object that cannot be judged: a List, or containers that are no list",
        "A rule that cannot be evaluated denies.",
        "default deny",
        "nothing",
    ),
    Guardrail(
        "images",
        "changes",
        "an image that the circle's patterns do not match and the object does not run already",
        "An image is code that runs with all that the pod may do.",
        "NSA/CISA guide, Kubernetes Pod security",
        "`images` of the circle",
    ),
    Guardrail(
        "kinds",
        "renderings",
        "a kind that the circle's `kinds` do not name",
        "A chart brings what no typed action would write: a circle knows what its apps consist of.",
        "default deny",
        "`kinds` of the circle",
    ),
    _kinds("kinds.secrets", "a Secret", "Charts bring credentials, and tokens of service accounts."),
    _kinds("kinds.rbac", "a Role or a RoleBinding", "It gives rights."),
    _kinds("kinds.cluster-rbac", "a ClusterRole or a ClusterRoleBinding", "It gives rights in every namespace."),
    _kinds(
        "kinds.webhooks",
        "a webhook configuration",
        "A webhook reads and changes what everyone writes.",
        "Kubernetes, admission webhook good practices",
    ),
    _kinds(
        "kinds.admission-policies",
        "an admission policy or its binding",
        "It could forbid everything, or replace the one that guards the circles.",
        "Kubernetes, Validating Admission Policy",
    ),
    _kinds(
        "kinds.api-services",
        "an APIService",
        "Its server answers for a part of the API.",
        "Kubernetes, API aggregation",
    ),
    _kinds(
        "kinds.crds",
        "a CustomResourceDefinition",
        "It is for the whole cluster, and removing it removes all its objects.",
        "Kubernetes, Custom Resources",
    ),
    _kinds(
        "kinds.cluster-scoped",
        "any other object outside of namespaces",
        "It is for everyone: a namespace, a node, a volume, a class.",
        _RBAC,
    ),
    _kinds(
        OWN,
        "a label or annotation `infra-mcp.dev/*`, or a binding of a circle",
        "They say what is whose, and which write is ours.",
        _MARKS,
    ),
    Guardrail(
        IDENTITY,
        "renderings",
        "a binding to a service account or a role of infra-mcp itself, or to every account",
        "It would give rights to what acts for everyone, or the server's rights to others.",
        _MARKS,
        "nothing",
    ),
    _records("dns.apex", "a record of the zone itself", "It is the whole domain's: its mail, its site.", "RFC 1034"),
    _records("dns.wildcard", "a wildcard", "It answers for every name that has no record of its own.", "RFC 4592"),
    _records(
        "dns.private-address",
        "a private or reserved address in a public zone",
        "It shows an inner network, and sends visitors to a host of their own network.",
        "IANA special-purpose registries; RFC 6303",
    ),
    _records("dns.idna", "a name in other letters than ASCII", "It can be mistaken for another.", _ALIKE),
    _records(
        "dns.look-alike",
        "a label that mixes scripts or looks like a Latin one",
        "It passes for another name.",
        _ALIKE,
        "nothing: use other letters",
    ),
    _records(
        "dns.cname",
        "a CNAME beside other records",
        "Servers drop one of them without an error.",
        "RFC 2181, 10.1; RFC 2136, 3.4.2.2",
        "nothing: a CNAME stands alone",
    ),
    _records(
        "dns.types",
        "NS, SOA and other types",
        "They decide who answers for the zone.",
        "RFC 1034",
        "nothing: an operator changes them",
    ),
    _records(
        "dns.marker",
        "a mark of ownership as a record of its own",
        "It would say that a tool owns what it does not.",
        "external-dns, octoDNS",
        "nothing: marks are written with their records",
    ),
    _records(
        "dns.object",
        "a change of the object that holds a zone's records by anything but a record",
        "A write to the object is a write to the whole zone.",
        "default deny",
        "nothing: `dns_record` changes it, and an operator",
    ),
    _records(
        "dns.ttl",
        "a TTL outside the bounds of the zone",
        "A low one is load, a high one keeps mistakes.",
        "RFC 1912, 2.2",
        "`min_ttl` and `max_ttl` of the zone",
    ),
    Guardrail(
        UNRENDERED,
        "effect",
        "nothing: an effect that could not be rendered needs an approval",
        "What would become live is not known. A deploy of a version that `versions` of the app names needs none.",
        "default deny",
    ),
)

GUARDRAILS: Final = {one.name: one for one in _ALL}
SWITCHES: Final = tuple(one.name for one in _ALL if not one.instead)  # what `allow` may name
REQUIRABLE: Final = tuple(one.name for one in _ALL if one.judges == "required" and not one.key)  # by `require`
