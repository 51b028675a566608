"""Finds the rights of the server's login that its role does not give, and a plain grant of impersonation left over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import anyio

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.clients.kube.errors import is_denied
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather, gather_pair
from infra_mcp.policy.impersonation import AS_ACCOUNT, PLAIN, SINCE, is_constrained

_RETRY_AFTER = 30.0  # seconds, when the rights could not be read
# Rights that the server's own role does not give: as text, and as verb, group and resource of all namespaces.
_BEYOND = {
    "read Secrets": ("get", "", "secrets"),
    "change workloads": ("patch", "apps", "deployments"),
    "change namespaces": ("patch", "", "namespaces"),
    "delete namespaces": ("delete", "", "namespaces"),
    "grant rights": ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    "act as anybody": (PLAIN, "", "users"),
    "act as any account": (PLAIN, "", "serviceaccounts"),
}
_SINCE = ".".join(map(str, SINCE))


async def excess_rights(cluster: Cluster) -> str:
    """The login's rights beyond the server's own role, in a sentence; empty without any. Waits for the cluster."""
    while True:
        try:
            if await cluster.may("*", "*", "*"):
                return _excess(["every right in the cluster"])
            allowed = await gather(partial(cluster.may, *asked) for asked in _BEYOND.values())
            found = [text for text, allows in zip(_BEYOND, allowed, strict=True) if allows]
            return " ".join(filter(None, [_excess(found), await impersonation(cluster)]))
        except (KubeError, InfraError):
            await anyio.sleep(_RETRY_AFTER)


def _excess(found: list[str]) -> str:
    if not found:
        return ""
    what = f"The kubeconfig's login has more rights than the server's own role: {', '.join(found)}."
    return f"{what} Use the account that `infra-mcp rbac render` prints."


async def impersonation(cluster: Cluster) -> str:
    """What is wrong with how the server may act as its circles' accounts, with what mends it; empty without a fault.

    The API server is asked, as the server: for its rules, and for each account by name, since it need not list them
    all. The plain verb is tried last, and one grant of it allows all that the account may.

    Raises:
        KubeError: the cluster does not answer.
    """
    user, version = await gather_pair(cluster.user, cluster.version)
    kind, _, own = user.removeprefix("system:").partition(":")
    if kind != "serviceaccount":
        return ""  # a person's login: `excess_rights` tells what it may
    namespace = own.partition(":")[0]
    rules = await cluster.rights(namespace, as_user=None)
    constrained = list(accounts_in(rules, AS_ACCOUNT, "authentication.k8s.io"))
    asked = [name for name in constrained if name != "*"]
    reviews = (partial(cluster.may, PLAIN, "", "serviceaccounts", namespace, name) for name in asked)
    allowed = [name for name, allows in zip(asked, await gather(reviews), strict=True) if allows]
    plain = sorted({*allowed, *accounts_in(rules, PLAIN, "")})
    known = is_constrained(version)
    if plain and constrained and known:
        who = "every account" if "*" in plain else ", ".join(plain)
        return (
            f"A grant of the verb `{PLAIN}` is left over, for {who}: it voids constrained impersonation."
            " `infra-mcp rbac diff` names it, and how to take it away."
        )
    if plain and known:
        return (
            f"The cluster ({version}) has constrained impersonation, and the rights are those of the plain form."
            " Apply what `infra-mcp rbac render` prints, without --plain."
        )
    if asked and not plain and not await _acts(cluster, namespace, f"{user.rpartition(':')[0]}:{asked[0]}"):
        return (
            f"The cluster ({version}) does not do constrained impersonation, which Kubernetes has from {_SINCE}, so the"
            " server cannot act as its circles. Apply what `infra-mcp rbac render --plain` prints."
        )
    return ""


async def _acts(cluster: Cluster, namespace: str, user: str) -> bool:
    """Whether the server may act as an account at all; an account may always ask for its own rights."""
    try:
        await cluster.rights(namespace, as_user=user)
    except KubeError as error:
        if not is_denied(error):
            raise
        return False
    return True


def accounts_in(rules: Iterable[dict[str, Any]], verb: str, group: str) -> Iterator[str]:
    """The service accounts that rules allow a verb on, by name; `*` for all."""
    for rule in rules:
        asked = {"verbs": verb, "apiGroups": group, "resources": "serviceaccounts"}
        if all({value, "*"} & set(rule.get(key) or ()) for key, value in asked.items()):
            yield from rule.get("resourceNames") or ["*"]
