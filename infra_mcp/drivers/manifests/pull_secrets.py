"""Pull secrets: a name in policy, a Secret where policy says it lies, a copy where a circle may use it.

The content passes through this module and nowhere else: it is read as the circle, copied into the body that is applied,
and known to everything else by a keyed hash. The tree never holds it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.masking import Masker
from infra_mcp.model.digest import canonical, keyed
from infra_mcp.model.marks import PULL_SECRET_TYPES
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.sections import PullSecretRules


@dataclass(frozen=True)
class PullSecret:
    """One pull secret for one namespace. `body` holds the content and never leaves the driver."""

    name: str  # in policy
    copy_ref: ObjectRef
    content: str  # keyed hash of type and data
    body: dict[str, Any] = field(repr=False)
    live: dict[str, Any] | None = field(default=None, repr=False)


class PullSecrets:
    """Reads, hashes and compares pull secrets.

    Args:
        cluster: the connection.
        key: of the keyed hash, so that equal content shows as equal and as nothing else.
        masker: learns every value read, so that none gets out in any text.
    """

    def __init__(self, cluster: Cluster, key: bytes, masker: Masker) -> None:
        self._cluster = cluster
        self._key = key
        self._masker = masker

    async def read(self, policy: Policy, name: str, namespace: str, *, as_user: str, bound: bool | None) -> PullSecret:
        """A pull secret's source and, where the circle is bound already, the copy that is there.

        Whether the circle is granted it has been decided before; the API server decides again, since it is read as it.

        Args:
            policy: says where it lies and what the copy is called.
            name: its name in policy.
            namespace: where the copy belongs.
            as_user: the circle's identity.
            bound: whether the circle may read in the namespace already; None when nobody knows yet, and then a copy
                that it may not read counts as not there.

        Raises:
            InfraError: `pull-secret-unavailable`, or `exists` when something else has the copy's name; never with a
                word of the content.
        """
        rules = policy.pull_secrets.get(name)
        if rules is None:
            raise InfraError("pull-secret-unavailable", f"There is no pull secret {name}.")
        copy_ref = self._ref(namespace, rules.target)
        reads = [partial(self._source, name, rules, as_user)]
        if bound is not False:
            reads.append(partial(self._copy, copy_ref, as_user, bound))
        source, *copies = await gather(reads)
        if source is None:
            raise InfraError("pull-secret-unavailable", f"The source of pull secret {name} is not there.")
        kind, data = self._checked(name, source)
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": rules.target, "namespace": namespace},
            "type": kind,
            "data": data,
        }
        live = copies[0] if copies else None
        if live is not None and live.get("type") != kind:
            # A Secret's type cannot be changed, and its data are not to be mixed with somebody else's.
            raise InfraError("exists", f"{copy_ref} is there and is not a copy of pull secret {name}.")
        return PullSecret(name, copy_ref, self._hash(kind, data), body, live)

    async def state(self, policy: Policy, name: str, namespace: str, *, as_user: str, circle: str) -> str:
        """How a copy compares with its source now: `current`, `rotated`, or what is wrong."""
        if not policy.granted(circle, name):
            return "not granted any more"
        try:
            found = await self.read(policy, name, namespace, as_user=as_user, bound=True)
        except InfraError as error:
            return error.what
        if found.live is None:
            return "missing"
        live = self._hash(str(found.live.get("type")), found.live.get("data") or {})
        return "current" if live == found.content else "rotated"

    def _ref(self, namespace: str, name: str) -> ObjectRef:
        return ObjectRef(cluster=self._cluster.name, api_version="v1", kind="Secret", namespace=namespace, name=name)

    async def _copy(self, ref: ObjectRef, as_user: str, bound: bool | None) -> dict[str, Any] | None:
        try:
            return await self._cluster.get(ref, as_user=as_user)
        except KubeError as error:
            if bound is None and error.status == 403:  # noqa: PLR2004 - HTTP forbidden
                return None
            raise

    async def _source(self, name: str, rules: PullSecretRules, as_user: str) -> dict[str, Any] | None:
        ref = self._ref(rules.place.namespace, rules.place.name)
        try:
            return await self._cluster.get(ref, as_user=as_user)
        except KubeError as error:
            if error.status != 403:  # noqa: PLR2004 - HTTP forbidden
                raise
            what = f"The circle's identity may not read the source of pull secret {name}."
            raise InfraError("pull-secret-unavailable", what) from None

    def _checked(self, name: str, source: dict[str, Any]) -> tuple[str, dict[str, str]]:
        kind, data = str(source.get("type")), source.get("data") or {}
        if kind not in PULL_SECRET_TYPES or set(data) != {PULL_SECRET_TYPES[kind]}:
            raise InfraError("pull-secret-unavailable", f"The source of pull secret {name} is not a pull secret.")
        for value in data.values():
            try:
                self._masker.learn(base64.b64decode(value, validate=True))
            except binascii.Error:
                self._masker.learn(value)
        return kind, data

    def _hash(self, kind: str, data: dict[str, str]) -> str:
        return keyed(self._key, canonical([kind, data]))
