"""What writes a version by itself: a change against it would be undone."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from infra_mcp.repository.census.index import Index
from infra_mcp.repository.edit import resolve
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.lenient import mapping
from infra_mcp.repository.nodes import Unreadable, compose, decode
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.spans import SourceText

# Flux's image automation writes where this comment stands (Flux: "Configure image update for custom resources").
_POLICY = re.compile(r'#\s*\{\s*"\$imagepolicy"\s*:\s*"([^"]+)"\s*\}')
# Keys beside a version by which a release bot is switched on.
_SWITCH = re.compile(r"auto(?:matic)?[-_]?(?:deploys?|deployments?|updates?|promot\w*)(?:[-_]?enabled)?", re.IGNORECASE)
OVER = ".argocd-source"  # how the files begin that Image Updater writes, and Argo CD lays over an Application's source
UPDATER = "argocd-image-updater.argoproj.io/image-list"


def automation(index: Index, spot: Spot) -> str:
    """What writes at a place by itself, for people; empty where nothing does."""
    return next(_writers(index, spot), "")


def autoscaler(index: Index, kind: str, name: str, namespace: str | None) -> str:
    """The autoscaler in the repository that scales a workload, for people; empty where none does."""
    for one in index.of_kinds({"HorizontalPodAutoscaler": "autoscaling", "ScaledObject": "keda.sh"}):
        target = mapping(one.value, "spec", "scaleTargetRef")
        near = namespace is None or one.namespace in {None, namespace}
        if near and (target.get("kind", "Deployment"), target.get("name")) == (kind, name):
            return f"the {one.kind} {one.name} in {one.path}"
    return ""


def _writers(index: Index, spot: Spot) -> Iterator[str]:
    found = _POLICY.search(_line(index, spot))
    if found and not _is_suspended(index):
        yield f"the Flux image policy {found[1]} (a comment on the line)"
    if posixpath.basename(spot.path).startswith(OVER):
        yield "Argo CD Image Updater, whose file it is"
    document = _document(index, spot)
    for key, value in mapping(get_path(document, spot.field[:-1])[1]).items():
        if _SWITCH.fullmatch(key) and value is True:
            yield f"a release bot ({key}: true)"
    # It writes images only: never the version of a chart.
    if spot.field[-1:] != ("targetRevision",) and UPDATER in mapping(document, "metadata", "annotations"):
        yield f"Argo CD Image Updater (annotation {UPDATER})"


def _is_suspended(index: Index) -> bool:
    updates = list(index.of_kinds({"ImageUpdateAutomation": "image.toolkit.fluxcd.io"}))
    return bool(updates) and all(mapping(one.value, "spec").get("suspend") is True for one in updates)


def _document(index: Index, spot: Spot) -> Json:
    documents = index.documents(spot.path)
    return documents[spot.document] if spot.document < len(documents) else None


def _line(index: Index, spot: Spot) -> str:
    """The line at which a value stands, with its comment."""
    data = index.tree.read(spot.path) or b""
    if b"$imagepolicy" not in data:
        return ""
    try:
        text = decode(data)
        keys = tuple(resolve(_document(index, spot), spot.field))
        node = SourceText(text, compose(text), as_json=False).walk(spot.document, keys)[-1].node
    except (Unreadable, IndexError):
        return ""
    return text.splitlines()[node.line - 1]
