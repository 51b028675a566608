"""Where an app's image stands in a workload: containers are found by the image's repository. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra_mcp.policy.grammar import repository

__all__ = ["containers_of", "places", "running", "sets_for", "version_of"]


def _pod_spec(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    return spec


def containers_of(workload: dict[str, Any], repo: str) -> Iterator[tuple[str, str, str]]:
    """List, name and image of each container (init ones first) whose image comes from the repository."""
    spec = _pod_spec(workload)
    for which in ("initContainers", "containers"):
        for container in spec.get(which) or []:
            image = container.get("image") if isinstance(container, dict) else None
            if isinstance(image, str) and repository(image.partition("@")[0]) == repo:
                yield which, str(container.get("name", "")), image


def sets_for(workload: dict[str, Any], repo: str, image: str) -> dict[str, Any]:
    """The fields a deploy sets: the image of each such container, and nothing else."""
    lists: dict[str, list[dict[str, str]]] = {}
    for which, name, _ in containers_of(workload, repo):
        lists.setdefault(which, []).append({"name": name, "image": image})
    metadata = {key: workload["metadata"][key] for key in ("name", "namespace")}
    return {
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "metadata": metadata,
        "spec": {"template": {"spec": lists}},
    }


def places(workload: dict[str, Any], repo: str) -> set[tuple[str, str]]:
    """List and name of each container whose image comes from the repository, in no order."""
    return {(which, name) for which, name, _ in containers_of(workload, repo)}


def version_of(image: str, template: str) -> str:
    """The version a deploy of this image would name.

    Args:
        image: a reference as a workload has it.
        template: the app's image, with `{version}` in its tag.

    Returns:
        What stands for `{version}`, else the whole tag; without a tag the digest, and `latest` without either.
    """
    name, _, digest = image.partition("@")
    tag = name.removeprefix(repository(name)).removeprefix(":")
    before, _, after = template.removeprefix(repository(template)).removeprefix(":").partition("{version}")
    if len(tag) > len(before) + len(after) and tag.startswith(before) and tag.endswith(after):
        return tag[len(before) : len(tag) - len(after)]
    return tag or digest or "latest"


def running(workload: dict[str, Any], repo: str, image: str) -> bool:
    """Whether every container from the repository is set to the image, and there is one."""
    found = [current for _, _, current in containers_of(workload, repo)]
    return bool(found) and all(current == image for current in found)
