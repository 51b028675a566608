"""One cluster, by its name in policy: read, list, watch, apply, create.

Objects are plain dicts, as the API server gives them. An operation is one round trip: paths come from discovery, which
is kept in memory, and connections stay open. Exec credential plugins are the only children this package starts; their
standard input is the null device, and they have a session of their own.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from copy import copy
from functools import partial
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from infra_mcp.clients.kube.errors import KubeError
from infra_mcp.clients.kube.reviews import Reviews
from infra_mcp.clients.kube.watch import Watch
from infra_mcp.effects import effect
from infra_mcp.model.object_ref import ObjectRef

if TYPE_CHECKING:  # these import `kubernetes`: a second, paid in `connect`, in a thread
    from infra_mcp.clients.kube.discovery import Discovery
    from infra_mcp.clients.kube.schema import Schemas
    from infra_mcp.clients.kube.transport import Kind, Timeouts, Transport

FIELD_MANAGER = "infra-mcp"
PAGE = 500  # items asked for at once
_TEXT = "text/plain, application/json"  # as `transport.TEXT`, which is not imported yet
_OWN = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}


class Cluster(Reviews):
    """A connected cluster; made by `connect`.

    `as_user` is the full user name of the service account a call runs as (sent as `Impersonate-User`), or None for
    the server's own identity. Every method raises `KubeError` when the cluster refuses or does not answer, and
    `InfraError` (`object-invalid`) for a kind or a name the cluster cannot have.
    """

    _warn: Callable[[str], None] | None = None

    def __init__(self, name: str, transport: Transport, discovery: Discovery, schemas: Schemas) -> None:
        super().__init__(transport, discovery)
        self.name = name
        self._schemas = schemas

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, name: str, kubeconfig: Path, context: str, *, timeouts: Timeouts | None = None
    ) -> AsyncIterator[Cluster]:
        """Log in to the cluster of a named context. No request is sent yet.

        A kubeconfig's `current-context` is never used. Proxy variables are respected as the kubernetes library does,
        but never for an API server on this machine. Credentials are renewed shortly before they expire, and once on a
        401; a context that then names another server is refused.

        Args:
            name: the cluster's name in policy.
            kubeconfig: the file that has the context, or several in the form of KUBECONFIG.
            context: the context's name.
            timeouts: other time limits than the usual, for tests.

        Raises:
            InfraError: `setup-failed`: no such context, or its credential does not load.
        """
        credentials, discovery, schema, transport = [
            await to_thread.run_sync(import_module, f"infra_mcp.clients.kube.{module}")
            for module in ("credentials", "discovery", "schema", "transport")
        ]
        log_in = partial(credentials.load, kubeconfig, context)
        connection = transport.Transport(await log_in(), log_in, timeouts or transport.Timeouts())
        try:
            yield cls(name, connection, discovery.Discovery(connection), schema.Schemas(connection))
        finally:
            await connection.aclose()

    def warning(self, warn: Callable[[str], None]) -> Cluster:
        """The same connection, whose dry runs also give what the API server warns of, each as one cleaned line."""
        other = copy(self)
        other._warn = warn  # noqa: SLF001 - its own
        return other

    async def get(self, ref: ObjectRef, *, as_user: str | None) -> dict[str, Any] | None:
        """Read an object; None when it does not exist."""
        if ref.cluster != self.name:
            msg = f"an object of cluster {ref.cluster} was asked of cluster {self.name}"
            raise ValueError(msg)
        path = await self._discovery.path(ref.api_version, ref.kind, ref.namespace, ref.name)
        try:
            found, _ = await self._transport.request("GET", path, as_user=as_user, secret=ref.kind == "Secret")
        except KubeError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return dict(found)

    async def dry_run(
        self, body: dict[str, Any], *, as_user: str | None, force: bool = False, manager: str = FIELD_MANAGER
    ) -> dict[str, Any]:
        """Server-side apply with `dryRun=All`: the object after all of admission and validation; nothing is written.

        Args:
            body: what to apply.
            as_user: see the class.
            force: only to show what a takeover would take.
            manager: the field manager; another one's, to show what that one's apply would do.
        """
        return (await self._apply(body, as_user, force=force, dry_run=True, manager=manager))[0]

    @effect("kube.apply")
    async def write(
        self, body: dict[str, Any], *, as_user: str | None, force: bool = False, manager: str = FIELD_MANAGER
    ) -> tuple[dict[str, Any], int]:
        """Server-side apply (KEP-555) as field manager `infra-mcp`, with strict field validation.

        When it is cancelled or its connection breaks, the outcome is unknown; see `KubeError.is_unknown`.

        Args:
            body: what to apply; with resourceVersion "1" to create only, with uid and resourceVersion to update.
            as_user: see the class.
            force: only `drivers.kubernetes.ssa` may, for the takeover that its dry run showed; and `drivers.helm`, to
                release the lock of Helm's own that an interrupted install left.
            manager: the field manager.

        Returns:
            The object, and 201 when it was created, else 200.
        """
        return await self._apply(body, as_user, force=force, dry_run=False, manager=manager)

    @effect("kube.create")
    async def create(self, body: dict[str, Any], *, as_user: str | None) -> dict[str, Any]:
        """Create by POST: needs no `patch` right, and never changes an existing object.

        Raises:
            KubeError: 409 `AlreadyExists` when it exists; unknown outcome when the connection breaks.
        """
        found, _ = await self._send("POST", body, _OWN, kind="write", as_user=as_user)
        return found

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
        selectors = _present(labelSelector=label_selector, fieldSelector=field_selector)
        params = selectors | {"limit": str(PAGE)}
        items: builtins.list[dict[str, Any]] = []
        while True:
            try:
                page, _ = await self._transport.request("GET", path, params, as_user=as_user, secret=kind == "Secret")
            except KubeError as error:
                if error.status != HTTPStatus.GONE or "continue" not in params:
                    raise
                params = dict(selectors)  # the state that the pages are of is gone: all at once
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
        Dropped connections are opened again; after an expired version it lists again and yields the differences, a
        deleted object with its metadata only. The uid shows whether an object of that name is still the same one.

        Args:
            api_version: of the kind.
            kind: what to watch.
            namespace: None for all, or for a kind without.
            as_user: see the class.
            name: watch only this object.
            label_selector: watch only matching objects.
            resource_version: continue from a read or list; None yields the existing objects first, as `ADDED`.

        Yields:
            `{"type": "ADDED" | "MODIFIED" | "DELETED", "object": …}`.
        """
        path = await self._discovery.path(api_version, kind, namespace)
        # These three characters would end the value in a field selector.
        escaped = re.sub(r"[\\,=]", r"\\\g<0>", name or "")
        field_selector = f"metadata.name={escaped}" if name is not None else None
        seen: dict[tuple[str, str], dict[str, Any]] = {}
        if name is not None and resource_version is not None:
            metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
            seen[namespace or "", name] = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
        asked = {"as_user": as_user, "label_selector": label_selector, "field_selector": field_selector}
        lister = partial(self.list, api_version, kind, namespace, **asked)
        selectors = _present(labelSelector=label_selector, fieldSelector=field_selector)
        watch = Watch(self._transport, path, selectors, lister, as_user, seen)
        async with aclosing(watch.events(resource_version)) as events:
            async for event in events:
                yield event

    async def logs(self, namespace: str, pod: str, *, as_user: str | None, lines: int) -> str:
        """The last lines of the log of a pod's only, or first, container, at most 64 kB."""
        path = await self._discovery.path("v1", "Pod", namespace, pod)
        params = {"tailLines": str(lines), "limitBytes": str(64 * 1024)}
        found, _ = await self._transport.request("GET", f"{path}/log", params, as_user=as_user, accept=_TEXT)
        return str(found)

    async def schema_errors(self, body: dict[str, Any]) -> builtins.list[str]:
        """The errors of a whole new object by the server's own OpenAPI v3, with the field's path, never its value.

        Checks unknown fields, types, required fields, enums and the form of quantities; not admission, CEL rules and
        checks across fields, which a dry run does where one is possible.
        """
        return await self._schemas.errors(body)

    async def try_create(self, body: dict[str, Any], *, as_user: str | None) -> None:
        """Create with `dryRun=All`: all of admission answers, and nothing is written.

        Raises:
            KubeError: it would be refused.
        """
        await self._send("POST", body, _OWN | {"dryRun": "All"}, kind="dry-run", as_user=as_user)

    async def is_namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of a kind are in namespaces."""
        found = await self._discovery.find(api_version, kind)
        return found.namespaced

    async def capabilities(self) -> tuple[str, builtins.list[str]]:
        """Its version, and each API version that it serves, alone and with each of its kinds: what charts ask for."""
        return str((await self._about()).get("gitVersion") or ""), await self._discovery.served()

    async def kubeconfig(self, *, as_user: str) -> dict[str, Any]:
        """A kubeconfig with one context, its current one, for a program that runs as `as_user`.

        It holds the server's own credential: it goes into a file of mode 0600 and nowhere else.
        """
        if not as_user.startswith("system:serviceaccount:"):  # an empty one would be no impersonation at all
            msg = "only service accounts are impersonated"
            raise ValueError(msg)
        cluster, user = (await self._transport.login()).entries
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": user | {"as": as_user}}],
        }

    async def _apply(
        self, body: dict[str, Any], as_user: str | None, *, force: bool, dry_run: bool, manager: str = FIELD_MANAGER
    ) -> tuple[dict[str, Any], int]:
        params = _OWN | {"fieldManager": manager}
        params |= ({"dryRun": "All"} if dry_run else {}) | ({"force": "true"} if force else {})
        return await self._send("PATCH", body, params, kind="dry-run" if dry_run else "write", as_user=as_user)

    async def _send(
        self, method: str, body: dict[str, Any], params: dict[str, str], *, kind: Kind, as_user: str | None
    ) -> tuple[dict[str, Any], int]:
        name = None if method == "POST" else body["metadata"]["name"]
        path = await self._discovery.path(body["apiVersion"], body["kind"], body["metadata"].get("namespace"), name)
        more = {"secret": body["kind"] == "Secret", "warn": self._warn}
        found, status = await self._transport.request(
            method, path, params, kind=kind, as_user=as_user, body=body, **more
        )
        return dict(found), status


def _present(**given: str | None) -> dict[str, str]:
    return {name: value for name, value in given.items() if value is not None}
