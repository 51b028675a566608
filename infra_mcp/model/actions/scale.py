"""The action that brings an app to a number of pods."""

from typing import ClassVar, Literal

from pydantic import Field

from infra_mcp.model.actions.base import InstanceAction


class Scale(InstanceAction):
    """The replicas of an app's workload, in its manifest and in the cluster, watched until they are ready."""

    title: ClassVar[str] = "Scale an app"
    description: ClassVar[str] = (
        "Use this to set how many pods an app of the catalogue has. Edits spec.replicas in its manifest, commits, "
        "applies, and answers when that many pods are ready; puts the former number back in cluster and git when they "
        "do not get ready. Refused for an app that an autoscaler scales, and for a DaemonSet."
    )
    summary: ClassVar[str] = "set how many pods an app has, and wait until they are ready"
    example: ClassVar[dict[str, object]] = {"app": "docs", "replicas": 4}
    positional: ClassVar[tuple[str, ...]] = ("app", "replicas")
    verbs: ClassVar[frozenset[str]] = frozenset({"scale", "rescale", "upscale", "downscale"})
    nouns: ClassVar[frozenset[str]] = frozenset({"replicas", "replica", "pods", "instances"})

    action: Literal["scale"] = "scale"
    replicas: int = Field(ge=0, le=10_000, description="How many pods it is to have; 0 stops it.")
