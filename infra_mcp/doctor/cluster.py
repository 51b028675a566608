"""The clusters: the login, its rights and those of the circles, the admission policies, and what may be read at all."""

from __future__ import annotations

import shlex
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.clients.kube.errors import is_denied
from infra_mcp.clients.kube.kubeconfig import contexts
from infra_mcp.doctor.finding import Finding, check, empty, failed, risk, skipped
from infra_mcp.doctor.look import Look, mode_of
from infra_mcp.drivers.kubernetes.installed import compare
from infra_mcp.drivers.kubernetes.rights import impersonation
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.marks import BINDING, HELM_BINDING
from infra_mcp.policy.helm_rights import account_of
from infra_mcp.policy.impersonation import is_constrained
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.rbac import circle_of, render

_SOON: Final = 3600.0  # seconds before a login's end
_SKEW: Final = 30.0  # seconds; tokens and leases are compared with the server's clock
_LEAST: Final = (1, 30)  # ValidatingAdmissionPolicy v1
_MAX_NAMED: Final = 8  # missing rights that are named


class Right(NamedTuple):
    """One thing that an identity may do."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return " ".join(filter(None, (self.verb, self.resource, self.name))) + where


_NO_ONE: Final = (  # rights that no circle has
    Right("list", "", "secrets", "", ""),
    Right("create", "rbac.authorization.k8s.io", "rolebindings", "", ""),
    Right("impersonate", "", "serviceaccounts", "", ""),
)


@check("cluster.context")
async def context(look: Look) -> AsyncIterator[Finding]:
    """The kubeconfig has the context of each cluster."""
    if look.policy is None or not look.policy.clusters:
        yield empty("Policy names no cluster.")
        return
    for name, rules in look.policy.clusters.items():
        found = look.clusters.get(name)
        if isinstance(found, InfraError):
            yield failed(f"Cluster {name}: {found.what}", _context_fix(look, rules.context))


@check("cluster.kubeconfig")
async def kubeconfig(look: Look) -> AsyncIterator[Finding]:
    """Only the server's user can read the kubeconfig."""
    for one in str(look.settings.kubeconfig).split(":"):
        mode = mode_of(one)
        if mode is not None and mode & 0o077:
            yield failed(
                f"Others can read {one}, which holds the login of the clusters.", f"chmod 600 {shlex.quote(one)}"
            )


@check("cluster.answers")
async def answers(look: Look) -> AsyncIterator[Finding]:
    """Every cluster answers, takes the login, and is new enough; its clock is right."""
    for name, cluster in _connected(look):
        try:
            version, _ = await cluster.capabilities()
        except (KubeError, InfraError) as error:
            away = isinstance(error, KubeError) and not error.status
            why = error.translate("the version") if isinstance(error, KubeError) else error
            yield failed(f"Cluster {name}: {why.what}", _call(look, name) if away else _login_fix(look, name))
            continue
        major, minor, *_ = (*version.removeprefix("v").split("."), "0", "0")
        if major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) < _LEAST:
            yield failed(f"Cluster {name} is of version {version}; 1.30 is needed.", "kubeadm upgrade plan")
        if cluster.ahead is not None and abs(cluster.ahead) > _SKEW:
            what = f"The clock of cluster {name} differs from this machine's by {abs(cluster.ahead):.0f} s."
            yield failed(what, "timedatectl set-ntp true")
        if cluster.expires is not None and cluster.expires < time.time() + _SOON:
            yield risk(f"The login of cluster {name} ends within the hour.", _login_fix(look, name))


@check("cluster.rights-wide")
async def wide(look: Look) -> AsyncIterator[Finding]:
    """The server's login may do no more than its own role, and no circle what is forbidden to all."""
    for name, cluster, policy in _with_policy(look):
        if await cluster.may("*", "*", "*"):
            yield failed(f"The login of cluster {name} is an admin's: it may do everything.", _login_fix(look, name))
            continue
        secrets = await cluster.may("get", "", "secrets")
        if secrets or await cluster.may("impersonate", "", "users"):
            right = "read every Secret" if secrets else "act as anybody"
            yield failed(f"The login of cluster {name} may {right}.", _login_fix(look, name))
        if said := await impersonation(cluster):
            yield failed(f"Cluster {name}: {said}", await _impersonation_fix(cluster, policy, name))
        for circle, namespace in reached(policy):
            user = policy.service_account(circle, name)
            for one in _NO_ONE:
                asked = one._replace(namespace=namespace)
                if not await _missing(cluster, user, [asked]):
                    what = f"Circle {circle} may {asked} of cluster {name}."
                    own = policy.clusters[name].service_accounts
                    fix = _unbind_fix(namespace, own, f"circle-{circle}", [BINDING, HELM_BINDING])
                    yield failed(f"{what} Somebody bound more than its role.", fix)
                    break


@check("cluster.rights-narrow", seconds=60)
async def narrow(look: Look) -> AsyncIterator[Finding]:
    """The server and every circle have each right that the policy's actions need."""
    for name, cluster, policy in _with_policy(look):
        plain = not is_constrained(await cluster.version())
        for user, rights in _needed(policy, name, plain=plain).items():
            missing = await _missing(cluster, user, rights)
            if missing:
                who = "The server" if user is None else user.rpartition(":")[2]
                more = f", and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
                what = f"{who} lacks rights in cluster {name}: {', '.join(missing[:_MAX_NAMED])}{more}."
                yield failed(what, _render_fix(policy, name, plain=plain))


async def _missing(cluster: Cluster, user: str | None, rights: list[Right]) -> list[str]:
    """The rights that an identity lacks; for one that the server may not act as, that."""
    asks = [
        partial(cluster.may, one.verb, one.group, one.resource, namespace=one.namespace, name=one.name, as_user=user)
        for one in rights
    ]
    try:
        allowed = await gather(asks)
    except KubeError as error:
        if user is None or not is_denied(error):
            raise
        return ["the server may not act as it"]
    return [str(one) for one, there in zip(rights, allowed, strict=True) if not there]


@check("cluster.installed", seconds=60)
async def installed(look: Look) -> AsyncIterator[Finding]:
    """What an admin installed (roles, bindings, admission policies) is what the policy renders, and does its work."""
    for name, cluster, policy in _with_policy(look):
        try:
            found = await compare(cluster, policy, name, _bound(policy))
        except KubeError as error:
            if not is_denied(error):
                raise
            async for finding in _tried(cluster, policy, name):  # the server's own role cannot read them
                yield finding
            continue
        if found.differs:
            parts = [f"{one} is missing" for one in found.missing]
            parts += [f"{one} differs ({', '.join(fields)})" for one, fields in found.other.items()]
            parts += [f"{one} is left over" for one in found.left]
            more = f", and {len(parts) - _MAX_NAMED} more" if len(parts) > _MAX_NAMED else ""
            what = f"Cluster {name} differs from what is rendered: {', '.join(parts[:_MAX_NAMED])}{more}."
            mends = found.commands(policy.clusters[name].context, ["--cluster", name])
            yield failed(what, _mending(look, mends))


async def _tried(cluster: Cluster, policy: Policy, name: str) -> AsyncIterator[Finding]:
    """Whether the API server refuses what the admission policies must refuse: a namespace of no circle."""
    own = policy.clusters[name].service_accounts
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{own}-doctor-tries"}}
    try:
        await cluster.try_create(body, as_user=None)
    except KubeError as error:
        if f"{own}-namespaces" not in error.message:
            yield skipped(f"Cluster {name} refused a trial for another reason: {error.reason}.")
        return
    what = f"Cluster {name} would let the server create any namespace: its admission policies are missing."
    yield failed(what, _render_fix(policy, name))


def _connected(look: Look) -> Iterator[tuple[str, Cluster]]:
    for name, found in look.clusters.items():
        if isinstance(found, Cluster):
            yield name, found


def _with_policy(look: Look) -> Iterator[tuple[str, Cluster, Policy]]:
    if look.policy is not None:
        for name, cluster in _connected(look):
            yield name, cluster, look.policy


def reached(policy: Policy) -> list[tuple[str, str]]:
    """Each circle with the namespaces that policy names in full: by a pattern without a `*`, or as an app's."""
    named = [one for rules in policy.circles.values() for one in rules.namespaces if "*" not in one]
    named += [one for rules in policy.apps.values() for one in sorted(rules.namespaces())]
    pairs = ((circle, one) for one in dict.fromkeys(named) for circle in policy.circles if policy.reaches(circle, one))
    return list(dict.fromkeys(pairs))


def _bound(policy: Policy) -> list[str]:
    """The namespaces that policy names in full and that are of one circle."""
    return [one for one in dict.fromkeys(place for _, place in reached(policy)) if circle_of(policy, one)]


def _needed(policy: Policy, cluster: str, *, plain: bool) -> dict[str | None, list[Right]]:
    """The rights that the rendered roles give, by the user that needs them; None is the server."""
    own = policy.clusters[cluster].service_accounts
    objects = render(policy, cluster, _bound(policy), plain=plain)
    roles = {(one["kind"], one["metadata"]["name"]): one["rules"] for one in objects if "rules" in one}
    users: dict[str, str | None] = {"server": None}
    for circle in policy.circles:
        users |= {f"circle-{circle}": policy.service_account(circle, cluster)}
        users |= {account_of(circle): policy.helm_account(circle, cluster)}
    found: dict[str | None, list[Right]] = {}
    for binding in (one for one in objects if "roleRef" in one):
        rules = roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        rights = list(_rights(rules, binding["metadata"].get("namespace", "")))
        for subject in binding["subjects"]:
            if subject["namespace"] == own and subject["name"] in users:
                found.setdefault(users[subject["name"]], []).extend(rights)
    return found


def _rights(rules: list[dict[str, Any]], namespace: str) -> Iterator[Right]:
    for rule in rules:
        for group in rule.get("apiGroups", ()):  # a rule of paths, which has none, is for everybody
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames") or ("",):
                        yield Right(verb, group, resource, namespace, name)


def _context_fix(look: Look, wanted: str) -> str:
    path = shlex.quote(str(look.settings.kubeconfig).partition(":")[0])
    try:
        there = contexts(look.settings.kubeconfig)
    except InfraError:
        there = []
    if len(there) == 1 and there[0] != wanted:
        return f"kubectl --kubeconfig {path} config rename-context {shlex.quote(there[0])} {shlex.quote(wanted)}"
    return f"kubectl --kubeconfig {path} config get-contexts"


def _call(look: Look, name: str) -> str:
    """The command that shows why the API server does not answer."""
    context = look.policy.clusters[name].context if look.policy else name
    path = shlex.quote(str(look.settings.kubeconfig).partition(":")[0])
    return f"kubectl --kubeconfig {path} --context {shlex.quote(context)} get --raw /livez -v 6"


def _login_fix(look: Look, name: str) -> str:
    """An admin's command that gives the server's context a new token of its own account."""
    if look.policy is None:
        return "kubectl config get-contexts"
    rules = look.policy.clusters[name]
    own, path = rules.service_accounts, shlex.quote(str(look.settings.kubeconfig).partition(":")[0])
    made = f'TOKEN="$(kubectl -n {own} create token server --duration 24h)"'
    user = f'kubectl --kubeconfig {path} config set-credentials {own}-server --token "$TOKEN"'
    context = f"kubectl --kubeconfig {path} config set-context {shlex.quote(rules.context)} --user {own}-server"
    return f"{made} && {user} && {context}"


async def _impersonation_fix(cluster: Cluster, policy: Policy, name: str) -> str:
    """An admin's command that renders the form for the cluster's version, and takes other grants to the server away."""
    own = policy.clusters[name].service_accounts
    if not is_constrained(await cluster.version()):
        return _render_fix(policy, name, plain=True)
    unbind = _unbind_fix(own, own, "server", [f"{own}-impersonate"]), _unbind_fix("", own, "server", [f"{own}-server"])
    return " && ".join([_render_fix(policy, name), *unbind])


def _unbind_fix(namespace: str, own: str, account: str, kept: Iterable[str]) -> str:
    """An admin's command that removes an account's bindings which are not ours, in a namespace or of all of them."""
    where, kind = (f"kubectl -n {namespace}", "rolebinding") if namespace else ("kubectl", "clusterrolebinding")
    subject = (
        f'{{{{if and (eq .name "{account}") (eq (printf "%v" .namespace) "{own}")}}}}{{{{$n}}}}{{{{"\\n"}}}}{{{{end}}}}'
    )
    each = f"{{{{range .items}}}}{{{{$n := .metadata.name}}}}{{{{range .subjects}}}}{subject}{{{{end}}}}{{{{end}}}}"
    others = f"grep -vx {' '.join(f'-e {one}' for one in kept)}"
    listed = f"{where} get {kind}s -o go-template={shlex.quote(each)}"
    # Who makes a binding chooses its name: with spaces, or like an option.
    return f"{listed} | {{ {others} || true; }} | tr '\\n' '\\0' | xargs -0 -r {where} delete {kind} --"


def _render_fix(policy: Policy, name: str, *, plain: bool = False) -> str:
    """An admin's command that makes accounts, roles, bindings and admission policies as the policy wants them."""
    more = f" --namespaces {','.join(_bound(policy))}" if _bound(policy) else ""
    more += " --plain" if plain else ""
    return f"infra-mcp rbac render --cluster {name}{more} | kubectl apply -f -"


def _mending(look: Look, commands: list[str]) -> str:
    """The commands with the kubeconfig that the comparison was made with, which is an admin's."""
    return f"export KUBECONFIG={shlex.quote(str(look.settings.kubeconfig))} && " + " && ".join(commands)
