"""Evidence by a workload: it has a value that it did not have before the commit, and all its new pods are ready.

The reads are the circle's. Only the workload's own pods count: what else is in the namespace is no cause of a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
from pydantic import JsonValue

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.external.evidence import Seen, poll
from infra_mcp.drivers.external.fields import Wanted, holds_already, showing, shows
from infra_mcp.drivers.kubernetes.verify import rollout
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef

_LONGEST_PAUSE: Final = 2.0  # seconds between two looks
_MIN_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Workload:
    """One workload of the cluster, and the values that the change brings to it."""

    cluster: Cluster
    ref: ObjectRef
    wanted: tuple[Wanted, ...]
    grace: float  # seconds that a temporary cause is tolerated

    @property
    def shown(self) -> str:
        """For people."""
        return f"workload {self.ref}"

    async def before(self, context: Context) -> JsonValue:
        """The fields that have one of the values already. No value is kept: one may be a secret."""
        live = await self._live(context)
        if live is None:
            what = f"The evidence names {self.ref}, and cluster {self.cluster.name} has no such workload."
            step = "Correct the evidence in infra.toml, or create the workload by hand first."
            raise InfraError("not-in-cluster", what, next_step=step)
        return [*sorted(showing(live, self.wanted))]

    def fresh(self, before: JsonValue) -> bool:
        """Whether some value is to come that is not there yet."""
        return bool(self.wanted) and not holds_already(self.wanted, _names(before))

    async def holds(self, context: Context, before: JsonValue, seconds: float) -> str:
        """Wait until it has the values, and its newest revision is out."""
        had = _names(before) if self.fresh(before) else ()
        return await self._out(context, seconds, had, gone=False)

    async def gone(self, context: Context, before: JsonValue, seconds: float) -> str:
        """Wait until it has the values no more, and its newest revision is out."""
        return await self._out(context, seconds, _names(before), gone=True)

    async def _out(self, context: Context, seconds: float, had: Sequence[str], *, gone: bool) -> str:
        def is_so(live: dict[str, Any]) -> bool:
            if not self.wanted:
                return True
            if gone:
                return showing(live, self.wanted) <= set(had)
            return shows(live, self.wanted, had)

        async def look() -> Seen:
            live = await self._live(context)
            if live is None:
                return Seen(False, "it is not there")
            return Seen(is_so(live), f"{'still' if gone else 'not yet'} as committed: it runs {_images(live)}")

        user = context.policy.service_account(context.circle, self.cluster.name)
        end = anyio.current_time() + seconds
        while True:
            left = max(end - anyio.current_time(), _MIN_SECONDS)
            await poll(self.shown, look, left, context.say, _LONGEST_PAUSE)
            try:
                out = await rollout(
                    self.cluster,
                    self.ref,
                    "",
                    as_user=user,
                    expect=is_so,
                    grace=self.grace,
                    deadline=max(end - anyio.current_time(), _MIN_SECONDS),
                    say=context.say,
                )
            except InfraError as error:
                # Who delivers may write it in several steps, or make it anew.
                if error.code != "object-moved" or anyio.current_time() >= end:
                    raise
            else:
                return f"{self.ref} runs {_images(out.live)}, {out.ready} pod{'s' * (out.ready != 1)} ready"

    async def _live(self, context: Context) -> dict[str, Any] | None:
        user = context.policy.service_account(context.circle, self.cluster.name)
        try:
            return await self.cluster.get(self.ref, as_user=user)
        except KubeError as error:
            raise error.translate(self.ref) from error


def _names(before: JsonValue) -> tuple[str, ...]:
    return tuple(str(one) for one in before) if isinstance(before, list) else ()


def _images(live: dict[str, Any]) -> str:
    spec = ((live.get("spec") or {}).get("template") or {}).get("spec") or {}
    return ", ".join(dict.fromkeys(str(one.get("image")) for one in spec.get("containers") or [])) or "no container"
