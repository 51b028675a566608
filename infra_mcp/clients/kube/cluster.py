"""One cluster, by its name in policy: read, list, watch, apply, create.

Objects are plain dicts, as the API server gives them. An operation is one round trip: paths come from discovery,
which is kept in memory, over connections that are kept open.

Exec credential plugins are the only children this package starts. They get the null device as standard input and a
session of their own, whatever this process's own descriptor 0 is.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from infra_mcp.clients.kube.errors import KubeError
from infra_mcp.clients.kube.watch import Watch
from infra_mcp.effects import effect
from infra_mcp.model.object_ref import ObjectRef

if TYPE_CHECKING:  # these import `kubernetes`: a second, paid in `connect`, in a thread
    from infra_mcp.clients.kube.discovery import Discovery
    from infra_mcp.clients.kube.schema import Schemas
    from infra_mcp.clients.kube.transport import Timeouts, Transport

FIELD_MANAGER = "infra-mcp"
PAGE = 500  # items asked for at once
_OWN = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}


class Cluster:
    """A cluster that is connected to; made by `connect`.

    `as_user` is the full user name of the service account a call runs as (sent as `Impersonate-User`), or None for
    the server's own identity. Every method raises `KubeError` when the cluster says no or nothing, and `InfraError`
    (`object-invalid`) for a kind or a name the cluster cannot have.
    """

    def __init__(self, name: str, transport: Transport, discovery: Discovery, schemas: Schemas) -> None:
        self.name = name
        self._transport = transport
        self._discovery = discovery
        self._schemas = schemas

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, name: str, kubeconfig: Path, context: str, *, timeouts: Timeouts | None = None
    ) -> AsyncIterator[Cluster]:
        """Log in to the cluster of a named context. No request is sent yet.

        A kubeconfig's `current-context` is never used. Proxy variables are respected as the kubernetes library does,
        but never for an API server on this machine. Credentials that expire are renewed shortly before, and once on a
        401; a context that then names another server is refused.

        Args:
            name: the cluster's name in policy.
            kubeconfig: the file that has the context, or several in the form of KUBECONFIG.
            context: the context's name.
            timeouts: other time limits than the usual, for tests.

        Raises:
            InfraError: `setup-failed`: no such context, or its credential does not load.
        """
        room = "infra_mcp.clients.kube."
        credentials, discovery, schema, transport = [
            await to_thread.run_sync(import_module, room + module)
            for module in ("credentials", "discovery", "schema", "transport")
        ]
        login = await credentials.load(kubeconfig, context)
        connection = transport.Transport(
            login, lambda: credentials.load(kubeconfig, context), timeouts or transport.Timeouts()
        )
        try:
            yield cls(name, connection, discovery.Discovery(connection), schema.Schemas(connection))
        finally:
            await connection.aclose()

    async def get(self, ref: ObjectRef, *, as_user: str | None) -> dict[str, Any] | None:
        """Read an object; None when it is not there."""
        self._check(ref)
        path = await self._discovery.path(ref.api_version, ref.kind, ref.namespace, ref.name)
        try:
            found, _ = await self._transport.request("GET", path, as_user=as_user, secret=ref.kind == "Secret")
        except KubeError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return dict(found)

    async def dry_run(self, body: dict[str, Any], *, as_user: str | None, force: bool = False) -> dict[str, Any]:
        """Server-side apply with `dryRun=All`: all of admission and validation, nothing written.

        Args:
            body: what to apply.
            as_user: see the class.
            force: only `drivers.manifests.ssa` may: show what an adoption would take.

        Returns:
            The object as it would be.
        """
        found, _ = await self._apply(body, as_user, force=force, dry_run=True)
        return found

    @effect("kube.apply")
    async def write(
        self, body: dict[str, Any], *, as_user: str | None, force: bool = False
    ) -> tuple[dict[str, Any], int]:
        """Server-side apply (KEP-555) as field manager `infra-mcp`, with strict field validation.

        Cancelled or broken under way, the outcome is unknown; see `KubeError.is_unknown`.

        Args:
            body: what to apply; with resourceVersion "1" to create only, with uid and resourceVersion to update.
            as_user: see the class.
            force: only `drivers.manifests.ssa` may: the adoption that its dry run showed.

        Returns:
            The object, and 201 when it was created, else 200.
        """
        return await self._apply(body, as_user, force=force, dry_run=False)

    @effect("kube.create")
    async def create(self, body: dict[str, Any], *, as_user: str | None) -> dict[str, Any]:
        """Create by POST: needs no `patch` right, and never changes what is there.

        Raises:
            KubeError: 409 `AlreadyExists` when it is there; unknown outcome when the connection breaks under way.
        """
        about = body["metadata"]
        path = await self._discovery.path(body["apiVersion"], body["kind"], about.get("namespace"))
        found, _ = await self._transport.request(
            "POST", path, _OWN, kind="write", as_user=as_user, body=body, secret=body["kind"] == "Secret"
        )
        return dict(found)

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        *,
        as_user: str | None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> dict[str, Any]:
        """List a collection, in all namespaces when none is given.

        Returns:
            The list, all pages in one: `items`, each with its apiVersion and kind, and `metadata.resourceVersion`.
        """
        path = await self._discovery.path(api_version, kind, namespace)
        params = _selectors(label_selector, field_selector) | {"limit": str(PAGE)}
        items: builtins.list[dict[str, Any]] = []
        while True:
            try:
                page, _ = await self._transport.request("GET", path, params, as_user=as_user, secret=kind == "Secret")
            except KubeError as error:
                if error.status != HTTPStatus.GONE or "continue" not in params:
                    raise
                params = _selectors(
                    label_selector, field_selector
                )  # the pages are of a state that is gone: all at once
                items.clear()
                continue
            items += ({"apiVersion": api_version, "kind": kind} | item for item in page.get("items") or [])
            token = page["metadata"].get("continue")
            if not token:
                return {"metadata": {"resourceVersion": page["metadata"]["resourceVersion"]}, "items": items}
            params["continue"] = token

    async def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        *,
        as_user: str | None,
        name: str | None = None,
        label_selector: str | None = None,
        resource_version: str | None = None,
    ) -> AsyncGenerator[dict[str, Any]]:
        """Watch a collection, or one object of it by `name`, until the caller stops.

        Use it under `contextlib.aclosing`, so that its connection closes at once. Its cancellation is immediate.
        Dropped connections are taken up again; after an expired version it lists again and yields what it finds as
        `ADDED` or `MODIFIED`, and what is gone as `DELETED` (then with its metadata only). Whether an object of that
        name is still the same one is told by its uid.

        Args:
            api_version: of the kind.
            kind: what to watch.
            namespace: None for all, or for a kind without.
            as_user: see the class.
            name: watch only this object.
            label_selector: watch only matching objects.
            resource_version: go on from a read or list; None yields what is there first, as `ADDED`.

        Yields:
            `{"type": "ADDED" | "MODIFIED" | "DELETED", "object": …}`.
        """
        path = await self._discovery.path(api_version, kind, namespace)
        field_selector = f"metadata.name={_escape(name)}" if name is not None else None
        only = {"name": name} | ({"namespace": namespace} if namespace else {})
        watch = Watch(
            self._transport,
            path,
            _selectors(label_selector, field_selector),
            lambda: self.list(
                api_version,
                kind,
                namespace,
                as_user=as_user,
                label_selector=label_selector,
                field_selector=field_selector,
            ),
            only={"apiVersion": api_version, "kind": kind, "metadata": only} if name is not None else None,
            as_user=as_user,
        )
        async with aclosing(watch.events(resource_version)) as events:
            async for event in events:
                yield event

    async def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of the kind live in namespaces.

        Raises:
            InfraError: `object-invalid`, when the cluster has no such kind.
        """
        return (await self._discovery.find(api_version, kind)).namespaced

    async def schema_errors(self, body: dict[str, Any]) -> builtins.list[str]:
        """What the server's own OpenAPI v3 says against a whole new object; empty when nothing.

        Checks unknown fields, types, required fields, enums and the form of quantities. It knows no admission, no CEL
        rule and no check across fields: a dry run does, where one is possible.

        Returns:
            Sentences with the field's path, never its value.
        """
        return await self._schemas.errors(body)

    async def check(self) -> None:
        """Read one object that every cluster has: whether the API server answers, and takes the login."""
        await self._transport.request("GET", "/api/v1/namespaces/default")

    async def may(self, verb: str, group: str, resource: str) -> bool:
        """Whether the server's own identity may do something in all namespaces. Asks the API server; stores nothing."""
        spec = {"resourceAttributes": {"verb": verb, "group": group, "resource": resource}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        found, _ = await self._transport.request("POST", path, body=review)
        return (found.get("status") or {}).get("allowed") is True

    async def _apply(
        self, body: dict[str, Any], as_user: str | None, *, force: bool, dry_run: bool
    ) -> tuple[dict[str, Any], int]:
        about = body["metadata"]
        path = await self._discovery.path(body["apiVersion"], body["kind"], about.get("namespace"), about["name"])
        params = _OWN | ({"dryRun": "All"} if dry_run else {}) | ({"force": "true"} if force else {})
        found, status = await self._transport.request(
            "PATCH",
            path,
            params,
            kind="dry-run" if dry_run else "write",
            as_user=as_user,
            body=body,
            secret=body["kind"] == "Secret",
        )
        return dict(found), status

    def _check(self, ref: ObjectRef) -> None:
        if ref.cluster != self.name:
            msg = f"an object of cluster {ref.cluster} was asked of cluster {self.name}"
            raise ValueError(msg)


def _selectors(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    given = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {k: v for k, v in given.items() if v is not None}


def _escape(value: str) -> str:
    """A value in a field selector, where these three characters would end it."""
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
