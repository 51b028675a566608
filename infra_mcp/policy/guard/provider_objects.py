"""The objects of a cluster that a resource of Terraform is: of the providers `kubernetes`, `kubectl` and `helm`. Pure.

Source: the documentation of these providers. A resource's fields show only what differs, so that its identity is a fact
of its own, read from the whole resource before and after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
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
_NAMESPACED: Final = frozenset(
    {
        *("Secret", "Role", "RoleBinding", "Endpoints", "EndpointSlice", "Event", "LimitRange", "ResourceQuota"),
        *("ReplicationController", "PodTemplate", "ControllerRevision", "Lease", "CSIStorageCapacity", "ResourceClaim"),
        *("ResourceClaimTemplate", "ReferenceGrant", "ListenerSet", "Gateway"),
    }
).union(*RESOURCES.values())
_CLUSTER_SCOPED: Final = frozenset(
    {
        *("namespace", "node", "persistentvolume", "clusterrole", "clusterrolebinding", "storageclass", "csidriver"),
        *("priorityclass", "runtimeclass", "ingressclass", "apiservice", "customresourcedefinition"),
        *("mutatingwebhookconfiguration", "validatingwebhookconfiguration", "certificatesigningrequest"),
        *("validatingadmissionpolicy", "validatingadmissionpolicybinding"),
        *("mutatingadmissionpolicy", "mutatingadmissionpolicybinding"),
    }
)


def provider_objects(kind: str, before: object, after: object, unknown: object = None) -> tuple[Trait, ...]:
    """The objects that a resource is, as facts `NAMESPACE/KIND/NAME`; a part that is not known is `?`.

    Args:
        kind: the resource's type: `kubernetes_config_map_v1`, `kubectl_manifest`.
        before: its values before; None where it is not there.
        after: its values after, likewise.
        unknown: as `after`, with true for each value that is known after the apply; `after` does not have these.

    Returns:
        The facts, sorted; none for a resource of another provider.
    """
    several = before, _marked(after, unknown)
    found = {text for one in several if isinstance(one, dict) for text in _objects(kind, one)}
    return tuple(Trait(rule=OBJECT, value=text) for text in sorted(found))


def _objects(kind: str, values: Mapping[str, Any]) -> Iterator[str]:
    if kind == "helm_release":
        yield _text(values.get("namespace") or "default", "release", values.get("name"))
    elif kind == "kubectl_manifest":
        # `yaml_body_parsed` has no values of `sensitive_fields`, which may be the namespace.
        yield _of_manifest(_parsed(values.get("yaml_body")), values.get("override_namespace"))
    elif kind == "kubernetes_manifest":
        yield _of_manifest(values.get("manifest"))
    elif kind.startswith(_PREFIX):
        metadata = values.get("metadata")
        metadata = metadata[0] if isinstance(metadata, list) and metadata else metadata
        base = _VERSION.sub("", kind.removeprefix(_PREFIX)).removesuffix("_data")
        named = values.get("kind") if base in _BY_ATTRIBUTE else _KINDS.get(base, base.replace("_", ""))
        about = metadata if isinstance(metadata, dict) else {}
        # A generated name is a new one, which is no object that is there.
        name = f"{about['generate_name']}*" if about.get("generate_name") else about.get("name")
        yield _text(about.get("namespace"), named, name)


def _marked(after: object, unknown: object) -> object:
    """The values after, with `?` for those that are not known yet: what is not known is not absent."""
    if unknown is True:
        return UNKNOWN
    if isinstance(unknown, dict) and isinstance(after, dict):
        return {key: _marked(after.get(key), unknown.get(key)) for key in {**after, **unknown}}
    if isinstance(unknown, list) and isinstance(after, list):
        return [_marked(one, its) for one, its in zip_longest(after, unknown)]
    return after


def _of_manifest(manifest: object, namespace: object = None) -> str:
    if not isinstance(manifest, dict) or "items" in manifest:  # kubectl takes any object with items for a List
        return _text(None, None, None)
    metadata = manifest.get("metadata")
    about = metadata if isinstance(metadata, dict) else {}
    # What names no namespace is put into `default`, or is outside of namespaces.
    absent = "default" if str(manifest.get("kind")) in _NAMESPACED else ""
    return _text(namespace or about.get("namespace"), manifest.get("kind"), about.get("name"), absent)


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
