"""Reads from a live object what delivers it, or made it: Flux, Argo CD, Helm, an operator. Pure.

Labels and annotations show it; the manager's name only together with one of them. Charts write the label
`app.kubernetes.io/managed-by: Helm` also when a person applied their output, so it alone shows nothing. All of it is
text that others wrote: what is no name is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from infra_mcp.drivers.base import Owner

Fields = Mapping[str, Any]
_FLUX: Final = "toolkit.fluxcd.io"
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9._]{0,251}[A-Za-z0-9])?")


def deliverer(live: Fields) -> Owner | None:
    """The tool that delivers this object as a whole; None for people's objects, and for those of an operator."""
    about = live.get("metadata", {})
    labels, annotations = about.get("labels") or {}, about.get("annotations") or {}
    managers = {entry.get("manager") for entry in about.get("managedFields") or []}
    # Flux first: what it releases through Helm carries Helm's marks too.
    found = _flux(labels, annotations) or _argo(labels, annotations, managers)
    return found or _helm(about, labels, annotations, managers)


def owner_of(live: Fields) -> Owner | None:
    """The tool that delivers this object, or else the object whose controller made it."""
    about = live.get("metadata", {})
    made_by = next((one for one in about.get("ownerReferences") or [] if one.get("controller")), None)
    if (found := deliverer(live)) or made_by is None:
        return found
    group = str(made_by.get("apiVersion", "")).rpartition("/")[0]
    return Owner("", _name(made_by.get("kind")), _name(made_by.get("name")), str(about.get("namespace") or ""), group)


def _name(text: object) -> str:
    return text if isinstance(text, str) and _NAME.fullmatch(text) else ""


def _flux(labels: Fields, annotations: Fields) -> Owner | None:
    for tool, kind in (("kustomize", "Kustomization"), ("helm", "HelmRelease")):
        if name := labels.get(f"{tool}.{_FLUX}/name"):
            namespace = _name(labels.get(f"{tool}.{_FLUX}/namespace"))
            return Owner("Flux", kind, _name(name), namespace, f"{tool}.{_FLUX}")
    other = next((k for k in (*labels, *annotations) if k.endswith(f".{_FLUX}/name")), None)
    return Owner("Flux", f"({other})") if other else None


def _argo(labels: Fields, annotations: Fields, managers: set[Any]) -> Owner | None:
    tracking = str(annotations.get("argocd.argoproj.io/tracking-id") or "").partition(":")[0]
    instance = tracking or labels.get("argocd.argoproj.io/instance")
    if not instance and "argocd-controller" not in managers:
        return None
    # An application outside of Argo CD's own namespace has that namespace before its name.
    namespace, _, name = str(instance or labels.get("app.kubernetes.io/instance") or "").rpartition("_")
    return Owner("Argo CD", "application", _name(name), _name(namespace), "argoproj.io")


def _helm(about: Fields, labels: Fields, annotations: Fields, managers: set[Any]) -> Owner | None:
    space = str(about.get("namespace") or "")
    if release := annotations.get("meta.helm.sh/release-name"):
        return Owner("Helm", "release", _name(release), _name(annotations.get("meta.helm.sh/release-namespace", space)))
    if labels.get("app.kubernetes.io/managed-by") == "Helm" and "helm" in managers:
        return Owner("Helm", "release", _name(labels.get("app.kubernetes.io/instance")), space)
    return None
