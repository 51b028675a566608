"""An app's workload in the repository, and the goal of a change of it."""

from typing import Literal

from infra_mcp.actions.base import Look
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.grammar import seconds
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import AppRules
from infra_mcp.repository.edits import Goal
from infra_mcp.repository.render import Located
from infra_mcp.repository.value import Home


def ref_of(cluster: str, app: AppRules) -> ObjectRef:
    """The workload of an app of the catalogue.

    Raises:
        InfraError: `not-in-repository`: the policy does not name it.
    """
    if app.workload_parts is None:
        what = "The app has no workload in infra.toml."
        raise InfraError("not-in-repository", what, next_step='Add workload = "namespace/kind/name" to its section.')
    namespace, kind, name = app.workload_parts
    return ObjectRef(cluster=cluster, api_version="apps/v1", kind=kind, namespace=namespace, name=name)


def homes(policy: Policy, cluster: str) -> tuple[Home, ...]:
    """The workloads that policy names in a cluster, each also in the namespaces of its environments."""
    found = []
    for name, app in policy.apps.items():
        if app.workload is None:
            continue
        ref, files = ref_of(cluster, app), (app.file,) if app.file else ()
        if app.cluster in {None, cluster}:
            found.append(Home(name, ref, files))
        found += [
            Home(name, ref.model_copy(update={"namespace": one.namespace}), one.paths or files)
            for one in app.environments.values()
            if one.namespace and (one.cluster or app.cluster) in {None, cluster}
        ]
    return tuple(found)


def catalogued(look: Look, name: str) -> AppRules:
    """An app of the catalogue. Policy has already decided that the caller may know of it.

    Raises:
        InfraError: `not-found`.
    """
    app = look.policy.apps.get(name)
    if app is None:
        raise InfraError("not-found", f"There is no app {name}, or it is not yours.")
    return app


def manifest(look: Look, name: str, environment: str | None) -> Located | None:
    """The manifest of an app's workload, where it is applied as it is; None where the census must find the app.

    The workload that policy names is of one environment only, so where there are several the census tells them apart.

    Raises:
        InfraError: `not-in-repository`: the workload is nowhere in the repository; `ambiguous-object`,
            `manifest-invalid`.
    """
    app = look.policy.apps.get(name)
    if app is None or app.workload_parts is None or app.environments or environment is not None:
        return None
    ref = ref_of(look.place, app)
    if look.tree.is_built(ref):
        return None
    units = (unit for one in look.census.find(name) for unit in one.units)
    known = any(unit.holds or unit.decides_replicas for unit in units)
    return look.tree.find(ref) or (None if known else look.tree.require(ref))


def goal(
    app: AppRules | None,
    title: str,
    subject: str,
    *,
    done: str = "",
    on_failure: Literal["rollback", "hold"] | None = None,
) -> Goal:
    """The goal of a change of an app, with the app's times, and unless given its choice of what to do on failure."""
    app = app or AppRules()
    return Goal(
        title=title,
        subject=subject,
        done=done,
        on_failure=on_failure or app.on_failure,
        grace=seconds(app.grace),
        timeout=seconds(app.timeout),
    )
