"""Copies pull secrets: a name in policy, a source Secret, a copy in a circle's namespace.

Only this module handles the content: it is read as the circle and copied into the body that is applied. Everything else
knows it by a keyed hash, and the tree never holds it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
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
    """Reads, hashes and compares pull secrets; the masker learns every value, so that no text shows one."""

    def __init__(self, cluster: Cluster, key: bytes, masker: Masker) -> None:
        self._cluster, self._key, self._masker = cluster, key, masker

    async def read(self, policy: Policy, name: str, namespace: str, *, as_user: str, bound: bool | None) -> PullSecret:
        """Read a pull secret's source as the circle and, where that is bound already, the existing copy.

        The grant was checked before; the API server checks the circle's rights again.

        Args:
            policy: names the source and the copy.
            name: its name in policy.
            namespace: where the copy belongs.
            as_user: the circle's identity.
            bound: whether the circle may read in the namespace already; None when that is unknown: then a copy that
                it may not read counts as absent.

        Raises:
            InfraError: `pull-secret-unavailable`, or `exists` when another object has the copy's name; without any of
                the content.
        """
        rules = policy.pull_secrets.get(name)
        if rules is None:
            raise InfraError("pull-secret-unavailable", f"There is no pull secret {name}.")
        copy_ref = self._ref(namespace, rules.target)
        reads = [partial(self._source, name, rules, as_user), partial(self._copy, copy_ref, as_user, bound)]
        source, *copies = await gather(reads[: 1 if bound is False else 2])
        if source is None:
            raise InfraError("pull-secret-unavailable", f"The source of pull secret {name} does not exist.")
        kind, data = self._checked(name, source)
        live = copies[0] if copies else None
        if live is not None and live.get("type") != kind:
            # A Secret's type cannot be changed, and two owners' data must not mix.
            raise InfraError("exists", f"{copy_ref} exists and is not a copy of pull secret {name}.")
        return PullSecret(
            name, copy_ref, self._hash(kind, data), copy_ref.identity | {"type": kind, "data": data}, live
        )

    async def state(self, policy: Policy, name: str, namespace: str, *, as_user: str, circle: str) -> str:
        """How a copy compares with its source now: `current`, `rotated`, or the problem."""
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
            if bound is None and error.status == HTTPStatus.FORBIDDEN:
                return None
            raise

    async def _source(self, name: str, rules: PullSecretRules, as_user: str) -> dict[str, Any] | None:
        try:
            return await self._cluster.get(self._ref(rules.place.namespace, rules.place.name), as_user=as_user)
        except KubeError as error:
            if error.status != HTTPStatus.FORBIDDEN:
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
