"""The kinds of a cluster, and the paths they are served at.

Aggregated discovery (KEP-3352, served since Kubernetes 1.27): two requests for everything, kept in memory, fetched
again only when a kind is missing, since a definition may have been created since.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

import anyio

from infra_mcp.clients.kube.errors import KubeError
from infra_mcp.clients.kube.transport import Transport
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line, quoted

_ACCEPT = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)


class Resource(NamedTuple):
    """How a kind is addressed."""

    plural: str  # the collection's name
    namespaced: bool


class Discovery:
    """The kinds of one API server. Read as the server's own identity: any authenticated user may."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: dict[tuple[str, str], Resource] = {}
        self._fetching = anyio.Lock()

    async def find(self, api_version: str, kind: str) -> Resource:
        """The resource of a kind."""
        seen = self._known
        if (api_version, kind) not in seen:
            async with self._fetching:
                if self._known is seen:
                    self._known = await self._fetch()
        found = self._known.get((api_version, kind))
        if found is None:
            raise unknown_kind(api_version, kind)
        return found

    async def path(self, api_version: str, kind: str, namespace: str | None, name: str | None = None) -> str:
        """The path of an object, or of the collection when no name is given.

        A namespaced kind without a namespace gives the collection of all namespaces; there is no default namespace.

        Raises:
            InfraError: `object-invalid`: unknown kind, missing or needless namespace, or a name that no path can have.
        """
        found = await self.find(api_version, kind)
        if namespace is not None and not found.namespaced:
            raise InfraError("object-invalid", f"A {one_line(kind, 80)} has no namespace.")
        if namespace is None and found.namespaced and name is not None:
            raise InfraError("object-invalid", f"A {one_line(kind, 80)} needs a namespace.")
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if namespace is not None:
            path += f"/namespaces/{_segment(namespace)}"
        path += f"/{found.plural}"
        return path if name is None else f"{path}/{_segment(name)}"

    async def served(self) -> list[str]:
        """Each API version, and `version/Kind` of each kind, sorted; fetched anew."""
        async with self._fetching:
            self._known = await self._fetch()
        versions = {version for version, _ in self._known}
        return sorted(versions | {f"{version}/{kind}" for version, kind in self._known})

    async def _fetch(self) -> dict[tuple[str, str], Resource]:
        known: dict[tuple[str, str], Resource] = {}
        for path in ("/api", "/apis"):
            answer, _ = await self._transport.request("GET", path, accept=_ACCEPT)
            if answer.get("kind") != "APIGroupDiscoveryList":
                what = "its API server has no aggregated discovery (Kubernetes 1.27 or newer)"
                raise KubeError(0, "Unreachable", what)
            for group in answer.get("items") or []:
                _collect(group, known)
        return known


def unknown_kind(api_version: str, kind: str) -> InfraError:
    """The error for a kind that the cluster does not have."""
    what = f"The cluster has no kind {one_line(kind, 80)} in {one_line(api_version, 80)}."
    return InfraError("object-invalid", what, next_step="Check apiVersion and kind, or install the definition first.")


def _collect(group: dict[str, Any], known: dict[tuple[str, str], Resource]) -> None:
    name = group.get("metadata", {}).get("name", "")
    for version in group.get("versions") or []:
        api_version = f"{name}/{version['version']}" if name else version["version"]
        for resource in version.get("resources") or []:
            kind = resource.get("responseKind", {}).get("kind")
            if kind:
                found = Resource(resource["resource"], resource.get("scope") == "Namespaced")
                known.setdefault((api_version, kind), found)


def _segment(name: str) -> str:
    """A name as one path segment, by the API server's own rule for path segments."""
    if name in {"", ".", ".."} or "/" in name or "%" in name:
        raise InfraError("object-invalid", f"{quoted(name, 80)} is not a name an object can have.")
    return quote(name, safe="")
