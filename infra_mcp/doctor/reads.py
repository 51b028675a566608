"""Every read that the server makes, once: as each circle, of each place, at the remote, the forge and the issuers.

Drivers are connected as in the server, with a state directory that is thrown away: a run of Terraform leaves nothing.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio import to_thread

from infra_mcp.clients.git import Git, Login, remote_of
from infra_mcp.clients.git.login import NAME
from infra_mcp.clients.git.runner import Runner
from infra_mcp.clients.kube import KubeError
from infra_mcp.clients.oidc import IssuerKeys, Place
from infra_mcp.doctor.cluster import reached
from infra_mcp.doctor.finding import SEE_ANSWERS, Finding, Level, check, empty, failed, risk
from infra_mcp.doctor.look import Look
from infra_mcp.drivers.base import Context, Question, Setup
from infra_mcp.drivers.registry import DELIVERIES
from infra_mcp.engine.repositories import Repositories
from infra_mcp.engine.run import tree_of
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.masking import Masker
from infra_mcp.policy.oidc import is_safe
from infra_mcp.policy.policy import Policy

_EACH: Final = 20.0  # seconds for one read
_RUN: Final = 90.0  # seconds for one of a workspace, which plans
_MAX: Final = 50  # namespaces and apps that are read
_NO_BRANCH: Final = 2  # how `git ls-remote --exit-code` ends where there is no such branch


@check("read.namespaces", seconds=60)
async def namespaces(look: Look) -> AsyncIterator[Finding]:
    """Every namespace that policy names in full can be read as its circle."""
    policy = look.policy
    pairs = reached(policy) if policy else []
    if policy is None or not pairs:
        yield empty("Policy names no namespace in full: patterns cannot be read.")
        return
    for cluster in policy.clusters:
        asks = [
            partial(_status, look, policy, "kubernetes", cluster, circle, Question(scope=namespace), _EACH)
            for circle, namespace in pairs[:_MAX]
        ]
        for (circle, namespace), found in zip(pairs, await gather(asks), strict=False):
            yield _said(
                f"Namespace {namespace} as circle {circle} in cluster {cluster}", found, "infra-mcp doctor cluster"
            )


@check("read.apps", seconds=60)
async def apps(look: Look) -> AsyncIterator[Finding]:
    """Every app's workload can be read as the circle that owns it."""
    policy = look.policy
    found = 0
    for name, rules in list(policy.apps.items())[:_MAX] if policy else ():
        circles = (
            [one for one in policy.circles if all(policy.reaches(one, ns) for ns in rules.namespaces())]
            if policy
            else []
        )
        for cluster in policy.homes(name) if policy and rules.workload and circles else ():
            found += 1
            one = await _status(look, policy, "kubernetes", cluster, circles[0], Question(app=name), _EACH)
            yield _said(
                f"App {name} as circle {circles[0]} in cluster {cluster}", one, f"infra-mcp status --app {name}"
            )
    if not found:
        yield empty("Policy names no app with a workload.")


@check("read.releases", seconds=60)
async def releases(look: Look) -> AsyncIterator[Finding]:
    """Helm's releases can be read where policy gives a namespace to it."""
    policy, found = look.policy, 0
    for circle, rules in policy.circles.items() if policy else ():
        for namespace in (one for one in rules.helm if "*" not in one):
            for cluster in policy.clusters if policy else ():
                found += 1
                one = await _status(look, policy, "helm", cluster, circle, Question(scope=namespace), _EACH)
                yield _said(f"Releases in {namespace} of cluster {cluster}", one, "infra-mcp doctor cluster")
    if not found:
        yield empty("Policy gives Helm no namespace by its full name.")


@check("read.zones", seconds=60)
async def zones(look: Look) -> AsyncIterator[Finding]:
    """The name servers of every zone answer."""
    async for one in _places(look, "zones", _EACH):
        yield one


@check("read.workspaces", seconds=120)
async def workspaces(look: Look) -> AsyncIterator[Finding]:
    """The state of every Terraform workspace can be read, and a plan made."""
    async for one in _places(look, "workspaces", _RUN):
        yield one


async def _places(look: Look, kind: str, seconds: float) -> AsyncIterator[Finding]:
    """The zones or workspaces of the policy, each as a circle that it is granted to."""
    policy = look.policy
    names = list(getattr(policy, kind)) if policy else []
    if policy is None or not names:
        yield empty(f"Policy names no {kind}.")
        return
    for name in names:
        circle = next((one for one, rules in policy.circles.items() if name in getattr(rules, kind)), None)
        if circle is None:
            yield Finding(Level.SKIPPED, f"{name} is granted to no circle, so it is not read.")
            continue
        delivery = policy.delivery_of(name) or ""
        found = await _status(look, policy, delivery, name, circle, Question(scope=name), seconds)
        yield _said(f"{kind[:-1].capitalize()} {name}", found, f"infra-mcp status --place {shlex.quote(name)}")


@check("read.remote")
async def remote(look: Look) -> AsyncIterator[Finding]:
    """The remote answers, takes the server's login, and has the branch."""
    if look.policy is None or look.policy.tree.write == "local":
        yield empty("Policy sends changes to no remote.")
        return
    tree, rules = look.policy.tree, look.policy.forge
    files = (Path(one) if one else None for one in (rules.token_file, rules.key_file, rules.known_hosts))
    token_file, key_file, known_hosts = files
    at = remote_of(look.settings.repo, tree.remote, Login(token_file, rules.user, key_file, known_hosts))
    with tempfile.TemporaryDirectory(prefix="infra-mcp-") as home:
        git = Runner(look.settings.repo, home=Path(home), seconds=_EACH)
        asked = ("ls-remote", "--exit-code", NAME, f"refs/heads/{tree.branch}")
        done = await to_thread.run_sync(partial(git.run, *asked, check=False, config=at.config()))
    if done.code == _NO_BRANCH:
        push = f"git -C {look.repo} push {shlex.quote(tree.remote)} HEAD:refs/heads/{shlex.quote(tree.branch)}"
        yield failed(f"{at.shown} has no branch {tree.branch}.", push)
    elif done.code:
        yield failed(f"{at.shown}: {done.why}.", f"git -C {look.repo} remote -v")


@check("read.forge")
async def forge(look: Look) -> AsyncIterator[Finding]:
    """The forge answers, and the server's token has the rights that proposals need and no more."""
    policy = look.policy
    if policy is None or not policy.proposes:
        yield empty("Policy proposes nothing at a forge.")
        return
    repositories = Repositories(look.settings)
    try:
        client = await repositories.forge(policy)
        found = await client.rights(policy.tree.branch, merges=policy.forge.merge == "auto")
    finally:
        await repositories.aclose()
    renew = f"install -m 600 /dev/stdin {shlex.quote(policy.forge.token_file or 'TOKEN_FILE')}"
    for one in found.missing:
        yield failed(f"{client.shown}: {one}", renew)
    for one in found.excess if policy.tree.write == "pull-request" else ():
        yield risk(f"{client.shown}: {one}", renew)


@check("read.issuers")
async def issuers(look: Look) -> AsyncIterator[Finding]:
    """Every issuer of tokens gives its keys."""
    named = look.policy.oidc if look.policy else {}
    if not named:
        yield empty("Policy names no issuer.")
    for name, rules in named.items():
        try:
            await IssuerKeys(Place(rules.issuer, rules.jwks, rules.private, is_safe)).key("-")
        except InfraError as error:
            where = shlex.quote(rules.issuer.rstrip("/") + "/.well-known/openid-configuration")
            yield failed(f"Issuer {name}: {error.what}", f"curl -sS {where}")


async def _status(
    look: Look, policy: Policy | None, delivery: str, place: str, circle: str, question: Question, seconds: float
) -> dict[str, Any] | InfraError:
    """What a driver says of a question, or why it does not."""
    if policy is None:  # pragma: no cover - the callers look before
        raise AssertionError
    with tempfile.TemporaryDirectory(prefix="infra-mcp-") as folder, anyio.move_on_after(seconds):
        state = Path(folder)
        try:
            if policy.delivery_of(place):
                question = await _with_tree(look, policy, place, question, state)
            setup = Setup(look.settings.kubeconfig, _some_key, Masker(b"doctor"), state)
            async with DELIVERIES[delivery].connect(setup, policy, place) as driver:
                return await driver.status(Context(request="", circle=circle, policy=policy), question)
        except KubeError as error:
            return error.translate(place)
        except InfraError as error:
            return error
    return InfraError("timed-out", f"It did not answer within {seconds:g} s.")


async def _with_tree(look: Look, policy: Policy, place: str, question: Question, state: Path) -> Question:
    """The question with the repository as it is checked out."""
    async with aclosing(Git(look.settings.repo, state / "git.lock")) as git:
        commit = await look.git("rev-parse", "HEAD")
        if commit is None:
            raise InfraError("git-failed", "The repository has no commit yet.")
        tree = await tree_of(git, policy, commit, place)
    return Question(app=question.app, scope=question.scope, tree=tree)


async def _some_key(_: str) -> bytes:
    return b"doctor"


def _said(what: str, found: dict[str, Any] | InfraError, fix: str) -> Finding:
    if isinstance(found, InfraError):
        return (
            Finding(Level.EMPTY, f"{what}: {found.what}")
            if found.code == "not-found"
            else failed(f"{what}: {found.what}", SEE_ANSWERS if found.code == "cluster-unreachable" else fix)
        )
    count = sum(len(value) for value in found.values() if isinstance(value, list | dict))
    return Finding(Level.PASS if count else Level.EMPTY, f"{what}: {count or 'nothing'} there.")
