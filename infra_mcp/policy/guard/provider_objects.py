"""The objects of a cluster that a resource of Terraform is: of the providers `kubernetes`, `kubectl` and `helm`. Pure.

Source: the documentation of these providers. A resource's fields show only what differs, so that its identity is a fact
of its own, read from the whole resource before and after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from infra_mcp.model.effect import Trait
from infra_mcp.policy.guard.kinds import RESOURCES

OBJECT: Final = "protected"
UNKNOWN: Final = "?"
_PREFIX: Final = "kubernetes_"
_VERSION: Final = re.compile(r"_v[0-9]+(?:(?:alpha|beta)[0-9]+)?(?=_data$|$)")
# Resources whose type is not named like the kind that they change.
_KINDS: Final[Mapping[str, str]] = {"node_taint": "Node", "default_service_account": "ServiceAccount"}
_BY_ATTRIBUTE: Final = frozenset({"labels", "annotations", "env"})  # whose attribute `kind` says it
_NAMESPACED: Final = frozenset({"Secret", "Role", "RoleBinding"}).union(*RESOURCES.values())
_CLUSTER_SCOPED: Final = frozenset(
    {
        *("namespace", "node", "persistentvolume", "clusterrole", "clusterrolebinding", "storageclass", "csidriver"),
        *("priorityclass", "runtimeclass", "ingressclass", "apiservice", "customresourcedefinition"),
        *("mutatingwebhookconfiguration", "validatingwebhookconfiguration", "certificatesigningrequest"),
        *("validatingadmissionpolicy", "validatingadmissionpolicybinding"),
        *("mutatingadmissionpolicy", "mutatingadmissionpolicybinding"),
    }
)


def provider_objects(kind: str, *several: object) -> tuple[Trait, ...]:
    """The objects that a resource is, as facts `NAMESPACE/KIND/NAME`; a part that is not known is `?`.

    Args:
        kind: the resource's type: `kubernetes_config_map_v1`, `kubectl_manifest`.
        several: its values before and after; None where it is not there.

    Returns:
        The facts, sorted; none for a resource of another provider.
    """
    found = {text for one in several if isinstance(one, dict) for text in _objects(kind, one)}
    return tuple(Trait(rule=OBJECT, value=text) for text in sorted(found))


def _objects(kind: str, values: Mapping[str, Any]) -> Iterator[str]:
    if kind == "helm_release":
        yield _text(values.get("namespace") or "default", "release", values.get("name"))
    elif kind == "kubectl_manifest":
        yield _of_manifest(_parsed(values.get("yaml_body_parsed") or values.get("yaml_body")))
    elif kind == "kubernetes_manifest":
        yield _of_manifest(values.get("manifest"))
    elif kind.startswith(_PREFIX):
        metadata = values.get("metadata")
        metadata = metadata[0] if isinstance(metadata, list) and metadata else metadata
        base = _VERSION.sub("", kind.removeprefix(_PREFIX)).removesuffix("_data")
        named = values.get("kind") if base in _BY_ATTRIBUTE else _KINDS.get(base, base.replace("_", ""))
        about = metadata if isinstance(metadata, dict) else {}
        # A generated name is a new one, which is no object that is there.
        name = about.get("name") or (f"{about['generate_name']}*" if about.get("generate_name") else None)
        yield _text(about.get("namespace"), named, name)


def _of_manifest(manifest: object) -> str:
    if not isinstance(manifest, dict):
        return _text(None, None, None)
    metadata = manifest.get("metadata")
    about = metadata if isinstance(metadata, dict) else {}
    # What names no namespace is put into `default`, or is outside of namespaces.
    absent = "default" if str(manifest.get("kind")) in _NAMESPACED else ""
    return _text(about.get("namespace"), manifest.get("kind"), about.get("name"), absent)


def _parsed(text: object) -> object:
    try:
        return yaml.safe_load(text) if isinstance(text, str) else None
    except yaml.YAMLError:
        return None


def _text(namespace: object, kind: object, name: object, absent: str = UNKNOWN) -> str:
    known = kind if isinstance(kind, str) and kind and "/" not in kind else UNKNOWN
    scope = namespace if isinstance(namespace, str) and namespace else absent
    if known.lower() in _CLUSTER_SCOPED:
        scope = ""
    return "/".join((scope, known, name if isinstance(name, str) and name else UNKNOWN))
