"""What a cluster says of itself, of the login, and of what identities may do in it. Nothing is written.

The reviews are those that anybody who is logged in may make about themselves (ClusterRole system:basic-user).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra_mcp.model.object_ref import ObjectRef

if TYPE_CHECKING:  # these import `kubernetes`
    from infra_mcp.clients.kube.discovery import Discovery
    from infra_mcp.clients.kube.transport import Transport


class Reviews:
    """The questions of one connection; see `Cluster` for `as_user` and what every method raises."""

    def __init__(self, transport: Transport, discovery: Discovery) -> None:
        self._transport = transport
        self._discovery = discovery

    async def check(self) -> None:
        """Read one object that every cluster has: the API server must answer, and accept the login."""
        await self._transport.request("GET", "/api/v1/namespaces/default")

    @property
    def ahead(self) -> float | None:
        """Seconds by which the API server's clock is ahead of ours, at its last answer; None before the first."""
        return self._transport.ahead

    @property
    def expires(self) -> float | None:
        """When the login ends, in seconds since 1970, where its plugin or its token says so."""
        return self._transport.expires

    async def may(
        self,
        verb: str,
        group: str,
        resource: str,
        namespace: str = "",
        name: str = "",
        *,
        as_user: str | None = None,
    ) -> bool:
        """Whether an identity may do something, as the API server answers now; nothing is written.

        Args:
            verb: such as `get`, or `*`.
            group: the API group.
            resource: its plural, with `/` and the subresource where it is one.
            namespace: all of them when left out.
            name: any when left out.
            as_user: see the class.
        """
        plural, _, below = resource.partition("/")
        asked = {"verb": verb, "group": group, "resource": plural, "subresource": below}
        asked |= {"namespace": namespace, "name": name}
        return await self._reviewed({key: value for key, value in asked.items() if value or key == "group"}, as_user)

    async def may_do(self, verb: str, ref: ObjectRef, *, as_user: str | None) -> bool:
        """Whether an identity may do something to one object, as the API server answers now; nothing is written.

        Args:
            verb: as RBAC names it: `create`, `patch`, `delete`, `watch`.
            ref: the object, which need not be there.
            as_user: see the class.

        Raises:
            InfraError: `object-invalid`: the cluster has no such kind.
        """
        found = await self._discovery.find(ref.api_version, ref.kind)
        group, _, version = ref.api_version.rpartition("/")
        asked = {"verb": verb, "group": group, "version": version, "resource": found.plural, "name": ref.name}
        return await self._reviewed(asked | ({"namespace": ref.namespace} if ref.namespace else {}), as_user)

    async def version(self) -> str:
        """The version that the API server behaves as: its own, such as `v1.36.3`, or an older one that it emulates.

        An upgrade may go on with the older behaviour for a while: KEP-4330.
        """
        found = await self._about()
        emulated = ".".join(str(found.get(f"emulation{part}") or "") for part in ("Major", "Minor"))
        own = str(found.get("gitVersion") or "")
        return own if emulated == "." or own.startswith(f"v{emulated}.") else f"v{emulated}"

    async def _about(self) -> dict[str, Any]:
        found, _ = await self._transport.request("GET", "/version")
        return dict(found)

    async def user(self) -> str:
        """Who the server's own login is, as the API server names it."""
        found = await self._review("authentication.k8s.io", "SelfSubjectReview", {}, None)
        return str((found.get("userInfo") or {}).get("username") or "")

    async def rights(self, namespace: str, *, as_user: str | None) -> list[dict[str, Any]]:
        """The rules that an identity has in a namespace, those of all namespaces too, by a SelfSubjectRulesReview.

        Authorizers that cannot list what they allow, which RBAC can, may allow more.

        Args:
            namespace: its name.
            as_user: see the class.

        Returns:
            Each with `verbs`, and `apiGroups`, `resources` and perhaps `resourceNames`, or `nonResourceURLs`.
        """
        found = await self._review("authorization.k8s.io", "SelfSubjectRulesReview", {"namespace": namespace}, as_user)
        return [*(found.get("resourceRules") or ()), *(found.get("nonResourceRules") or ())]

    async def _reviewed(self, asked: dict[str, str], as_user: str | None) -> bool:
        """Ask by a SelfSubjectAccessReview, which anybody who is logged in may make (ClusterRole system:basic-user)."""
        spec = {"resourceAttributes": asked}
        found = await self._review("authorization.k8s.io", "SelfSubjectAccessReview", spec, as_user)
        return found.get("allowed") is True

    async def _review(self, group: str, kind: str, spec: dict[str, Any], as_user: str | None) -> dict[str, Any]:
        """The status of a review that a login asks for about itself. Nothing is written."""
        body = {"apiVersion": f"{group}/v1", "kind": kind} | ({"spec": spec} if spec else {})
        path = f"/apis/{group}/v1/{kind.lower()}s"
        found, _ = await self._transport.request("POST", path, as_user=as_user, body=body)
        return dict(found.get("status") or {})
