"""The objects that a build of kustomize gives, compared: what changes in them is what is set in the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra_mcp.drivers.base import Build
from infra_mcp.drivers.kubernetes.diff import gone
from infra_mcp.drivers.manifests.objects import Desired
from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.partial import differences, set_path
from infra_mcp.repository.render import Located


def in_build(build: Build) -> Iterator[Desired]:
    """Each object that a build gives otherwise, as the fields that differ; a new one as a whole.

    An object that it gives no longer is left: a generated one is replaced by one of another name, and a rollback needs
    the old one (kubernetes/kubectl#815).
    """
    former = {one.ref.key: one for one in (build.before if build.other is None else build.other)}
    for one in build.after:
        known = former.get(one.ref.key)
        if known is None:
            yield Desired(one.ref, one.object, path=build.root, generated=one.ref.kind == "ConfigMap")
            continue
        sets, removes = _changed(known, one)
        if sets != one.ref.identity or removes:
            git = known.object if build.other is None else one.object
            yield Desired(one.ref, sets, whole=False, path=build.root, git=git, removes=removes)


def left(build: Build) -> list[str]:
    """The objects that a build gave and gives no longer, as people write them."""
    now = {one.ref.key for one in build.after}
    return [str(one.ref) for one in build.before if one.ref.key not in now]


def _changed(known: Located, one: Located) -> tuple[dict[str, Any], tuple[FieldPath, ...]]:
    """The fields that are set otherwise, as a partial object, and those that are gone."""
    sets: dict[str, Any] = one.ref.identity
    for path, _, after, _ in differences(known.object, one.object, exact=True):
        set_path(sets, path, after)
    return sets, tuple(gone(known.object, one.object))
