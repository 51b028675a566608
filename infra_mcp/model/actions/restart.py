"""The action that replaces an app's pods by new ones of the same version."""

from typing import ClassVar, Literal

from infra_mcp.model.actions.base import InstanceAction


class Restart(InstanceAction):
    """New pods for an app as it is: a new revision of its workload, watched until it is out."""

    title: ClassVar[str] = "Restart an app"
    description: ClassVar[str] = (
        "Use this to replace the pods of an app of the catalogue by new ones of the same version, at the pace of its "
        "rollout strategy: after a Secret or ConfigMap changed, or when it hangs. Writes one annotation of the pod "
        "template in the cluster, and nothing in git; answers when the new pods are ready. Leaves image and replicas "
        "alone."
    )
    summary: ClassVar[str] = "replace an app's pods by new ones of the same version, and wait until they are ready"
    example: ClassVar[dict[str, object]] = {"app": "docs"}
    positional: ClassVar[tuple[str, ...]] = ("app",)
    verbs: ClassVar[frozenset[str]] = frozenset({"restart", "reboot", "bounce", "recycle"})

    action: Literal["restart"] = "restart"
