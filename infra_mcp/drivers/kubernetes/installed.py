"""Compares the rights that a cluster has for the peer with those that policy renders: missing, other, and left over.

It reads with the login of the person who asks, an admin's. Nothing is written.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.kubernetes.rights import accounts_in
from infra_mcp.gather import gather, gather_pair
from infra_mcp.model.marks import BINDINGS, CIRCLE
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.impersonation import PLAIN, SINCE, is_constrained
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.rbac import LABEL, circle_of, render
from infra_mcp.text import shell_word

_RBAC: Final = "rbac.authorization.k8s.io/v1"
_ADMISSION: Final = "admissionregistration.k8s.io/v1"
_LISTED: Final = (
    (_RBAC, "ClusterRole"),
    (_RBAC, "Role"),
    (_RBAC, "ClusterRoleBinding"),
    (_RBAC, "RoleBinding"),
    ("v1", "ServiceAccount"),
    (_ADMISSION, "ValidatingAdmissionPolicy"),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"),
    ("v1", "Namespace"),
)
_DECIDES: Final = ("rules", "roleRef", "subjects", "spec", "automountServiceAccountToken")
_KEYED: Final = ("matchConditions", "variables")  # an apply leaves items of others in these lists

Object = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """How the rights in a cluster differ from those that policy renders. Objects are named `KIND [NAMESPACE/]NAME`."""

    form: str  # of impersonation: `constrained` or `plain`
    why: str  # that form
    namespaces: tuple[str, ...]  # those of circles, as their bindings say
    missing: tuple[str, ...] = ()
    other: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by object: the fields that differ
    left: tuple[str, ...] = ()  # ours and not rendered any more; a grant of the plain verb to the server, too
    beside: tuple[str, ...] = ()  # rights that others gave to the peer's accounts; nothing has to be done
    first: tuple[str, ...] = ()  # of `other`: what an apply cannot change, so it is deleted before

    @property
    def differs(self) -> bool:
        """Whether something has to be done."""
        return bool(self.missing or self.other or self.left)

    def commands(self, context: str, render_options: Sequence[str] = ()) -> list[str]:
        """The commands that mend it, in their order.

        Args:
            context: the kubeconfig context of an admin.
            render_options: more options of `rbac render`, such as `--cluster NAME`.
        """
        kubectl = f"kubectl --context {shlex.quote(context)}"
        found = [f"{kubectl} delete {_words(one)}" for one in self.first]
        if self.missing or self.other:
            options = [*render_options, *(["--plain"] if self.form == "plain" else [])]
            options += ["--namespaces", ",".join(self.namespaces)] if self.namespaces else []
            found.append(f"{shlex.join(['infra-mcp', 'rbac', 'render', *options])} | {kubectl} apply -f -")
        return found + [f"{kubectl} delete {_words(one)}" for one in self.left]


async def compare(
    cluster: Cluster, policy: Policy, name: str, namespaces: Iterable[str] = (), *, plain: bool = False
) -> Comparison:
    """Compare the rights in a cluster with what `rbac.render` gives for it.

    Args:
        cluster: the connection, as somebody who may read all roles and bindings.
        policy: the policy.
        name: the cluster's name in the policy.
        namespaces: namespaces to bind beside those that are bound already.
        plain: the plain form of impersonation, whatever the cluster's version.

    Raises:
        InfraError: `invalid-argument`: a given namespace is of no circle, or of several.
        KubeError: the cluster does not answer, or the login may not read these objects.
    """
    version, listed = await gather_pair(cluster.version, partial(_listed, cluster))
    own = policy.clusters[name].service_accounts
    form, why = ("plain", "--plain was given") if plain else _form(version)
    kept = sorted({*namespaces, *_given(policy, own, listed)})
    wanted = {_named(one): one for one in render(policy, name, kept, plain=form == "plain")}
    live = dict(zip(wanted, await gather(partial(_read, cluster, one) for one in wanted.values()), strict=True))
    other = {
        key: fields for key, one in wanted.items() if (there := live[key]) and (fields := tuple(_differing(one, there)))
    }
    others = _installations(listed) - {own}
    rest = {_named(one): one for one in listed if one["kind"] != "Namespace" and _named(one) not in wanted}
    left = {key for key, one in rest.items() if _is_ours(one, own, others)}
    if form == "constrained":
        left |= {key for key in await _voiding(cluster, rest.values(), own) if key not in left}
    return Comparison(
        form=form,
        why=why,
        namespaces=tuple(kept),
        missing=tuple(key for key in wanted if not live[key]),
        other=other,
        left=tuple(sorted(left)),
        beside=tuple(sorted(key for key, one in rest.items() if key not in left and own in _subjects(one))),
        first=tuple(key for key in other if not _can_apply(wanted[key], live[key] or {})),
    )


def _form(version: str) -> tuple[str, str]:
    since = ".".join(map(str, SINCE))
    if is_constrained(version):
        return "constrained", f"the cluster is {version}, and Kubernetes has it from {since}"
    return "plain", f"the cluster is {version}, older than {since}"


async def _listed(cluster: Cluster) -> list[Object]:
    """All bindings, the namespaces made for circles, and everything else that carries our label."""

    async def of(version: str, kind: str) -> list[Object]:
        selector = CIRCLE if kind == "Namespace" else None if kind.endswith("RoleBinding") else "=".join(*LABEL.items())
        listed = await cluster.list(version, kind, None, as_user=None, label_selector=selector)
        return list(listed["items"])

    return [one for items in await gather(partial(of, *each) for each in _LISTED) for one in items]


def _given(policy: Policy, own: str, listed: Sequence[Object]) -> Iterator[str]:
    """The namespaces that are bound to a circle that policy still gives them to, as `rbac.render` takes them.

    Where several circles match, the namespace's mark says which it was made for; else the account that is bound.
    """
    marks = {one["metadata"]["name"]: one["metadata"]["labels"][CIRCLE] for one in listed if one["kind"] == "Namespace"}
    for one in listed:
        about = one["metadata"]
        if one["kind"] == "RoleBinding" and about["name"] in BINDINGS and own in _subjects(one):
            namespace, account = about["namespace"], one["subjects"][0]["name"]
            circle = marks.get(namespace) or circle_of(policy, namespace) or account.removeprefix("circle-")
            if circle in policy.circles and policy.reaches(circle, namespace):
                yield namespace if circle_of(policy, namespace) == circle else f"{namespace}={circle}"


async def _voiding(cluster: Cluster, bindings: Iterable[Object], own: str) -> list[str]:
    """The bindings that let the server act as an account by the plain verb, also those of others."""
    server = {"kind": "ServiceAccount", "name": "server", "namespace": own}
    asked = [one for one in bindings if any(server.items() <= who.items() for who in one.get("subjects") or ())]
    roles = await gather(partial(_read, cluster, _role_of(one)) for one in asked)
    rules = [(role or {}).get("rules") or [] for role in roles]
    return [_named(one) for one, its in zip(asked, rules, strict=True) if any(accounts_in(its, PLAIN, ""))]


def _role_of(binding: Object) -> Object:
    about = binding["roleRef"]
    where = {"namespace": binding["metadata"]["namespace"]} if about["kind"] == "Role" else {}
    return {"apiVersion": _RBAC, "kind": about["kind"], "metadata": {"name": about["name"], **where}}


async def _read(cluster: Cluster, one: Object) -> Object | None:
    about = one["metadata"]
    ref = ObjectRef(
        cluster=cluster.name,
        api_version=one["apiVersion"],
        kind=one["kind"],
        namespace=about.get("namespace"),
        name=about["name"],
    )
    try:
        return await cluster.get(ref, as_user=None)
    except KubeError as error:
        raise error.translate(ref) from error


def _differing(wanted: Object, live: Object) -> Iterator[str]:
    """The fields that decide what the object gives, and differ."""
    for key in _DECIDES:
        if key in wanted and wanted[key] != live.get(key):
            yield key
    if wanted["metadata"]["name"] not in BINDINGS:  # those that the server made carry no label
        labels = live["metadata"].get("labels") or {}
        if not wanted["metadata"]["labels"].items() <= labels.items():
            yield "metadata.labels"


def _can_apply(wanted: Object, live: Object) -> bool:
    if wanted.get("roleRef") != live.get("roleRef"):
        return False  # it cannot be changed
    spec, there = wanted.get("spec") or {}, live.get("spec") or {}
    names = [({one["name"] for one in side.get(key) or ()}) for key in _KEYED for side in (there, spec)]
    return all(now <= asked for now, asked in zip(names[::2], names[1::2], strict=True))


def _installations(listed: Iterable[Object]) -> set[str]:
    """The namespaces of the accounts of every installation in the cluster."""
    accounts = (one["metadata"] for one in listed if one["kind"] == "ServiceAccount")
    return {one["namespace"] for one in accounts if one["name"] == "server"}


def _is_ours(one: Object, own: str, others: set[str]) -> bool:
    """Whether an object is of this installation: a binding by its account, the rest by label and name."""
    about = one["metadata"]
    labelled = LABEL.items() <= (about.get("labels") or {}).items()
    if one["kind"].endswith("RoleBinding"):
        return own in _subjects(one) and (labelled or about["name"] in BINDINGS)
    if one["kind"] == "ServiceAccount":
        return bool(about["namespace"] == own)
    longer = any(about["name"].startswith(f"{other}-") for other in others if other.startswith(f"{own}-"))
    return bool(about["name"].startswith(f"{own}-")) and not longer


def _subjects(one: Object) -> set[str]:
    """The namespaces of the service accounts that a binding is for."""
    return {str(who.get("namespace")) for who in one.get("subjects") or () if who.get("kind") == "ServiceAccount"}


def _named(one: Object) -> str:
    about = one["metadata"]
    where = f"{about['namespace']}/" if about.get("namespace") else ""
    return f"{one['kind']} {where}{about['name']}"


def _words(named: str) -> str:
    """An object for a command in bash. Who makes a binding chooses its name, of any characters but `/` and `%`."""
    kind, _, rest = named.partition(" ")
    namespace, _, name = rest.rpartition("/")
    word = shell_word(name)
    where = f" -n {shlex.quote(namespace)}" if namespace else ""
    return f"{kind.lower()}{where} {'-- ' if name.startswith('-') else ''}{word}"
