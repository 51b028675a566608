"""Why the hooks of an upgrade failed: which one, how its pods ended, and the end of their log where it may be read."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from infra_mcp.clients.helm.stored import Hook, Revision
from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.state import state_of
from infra_mcp.drivers.kubernetes.health import condition
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.helm.declared import Release
from infra_mcp.text import one_line, quoted

LINES: Final = 20  # of a log
_TEXT: Final = 600  # characters of it
_BAD: Final = frozenset({"Failed", "Unknown", "Running"})


async def why_hooks_failed(access: Access, release: Release) -> str:
    """Which hook of the newest revision failed, as half a sentence; empty where none did."""
    with suppress(KubeError, InfraError):
        last = state_of(await access.history(release.namespace, release.name)).last
        bad = [hook for hook in last.hooks if hook.phase in _BAD] if last else []
        if last and bad:
            return await _why(access, last, bad[0])
    return ""


async def _why(access: Access, revision: Revision, hook: Hook) -> str:
    ended = "failed" if hook.phase == "Failed" else "did not end"
    lead = f"its {'/'.join(hook.events)} hook {hook.kind} {hook.name} {ended}"
    if hook.kind not in {"Job", "Pod"}:
        return lead
    reasons = [await _state(access, revision, hook), await _log(access, revision, hook)]
    return ": ".join(filter(None, [lead, *reasons]))


async def _state(access: Access, revision: Revision, hook: Hook) -> str:
    """How the object of a hook says that it ended."""
    version = "batch/v1" if hook.kind == "Job" else "v1"
    ref = ObjectRef(
        cluster=access.cluster.name,
        api_version=version,
        kind=hook.kind,
        namespace=revision.namespace,
        name=hook.name,
    )
    with suppress(KubeError):
        live = await access.get(ref)
        about = condition(live or {}, "Failed")
        if about.get("status") == "True":
            return f"it says {quoted(access.masker.mask(str(about.get('message') or about.get('reason'))))}"
    return ""


async def _log(access: Access, revision: Revision, hook: Hook) -> str:
    """The end of the log of a hook's newest pod, masked; only for a circle that may read logs."""
    circle = access.context.policy.circle(access.context.circle)
    if circle is None or not circle.read_logs:
        return ""
    with suppress(KubeError):
        pods = await _pods(access, revision, hook)
        if pods:
            text = await access.cluster.logs(revision.namespace, pods[-1], as_user=access.user, lines=LINES)
            if text.strip():
                return f"its log ends with {quoted(one_line(access.masker.mask(text)[-_TEXT:], _TEXT), _TEXT)}"
    return ""


async def _pods(access: Access, revision: Revision, hook: Hook) -> list[str]:
    """The names of a hook's pods, the oldest first."""
    if hook.kind == "Pod":
        return [hook.name]
    chosen = f"batch.kubernetes.io/job-name={hook.name}"
    listed = await access.cluster.list("v1", "Pod", revision.namespace, as_user=access.user, label_selector=chosen)

    def born(pod: dict[str, Any]) -> str:
        return str(pod["metadata"].get("creationTimestamp"))

    return [str(pod["metadata"]["name"]) for pod in sorted(listed["items"], key=born)]
