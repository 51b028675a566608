"""What a pod may be, by the Pod Security Standards: each rule finds what is against it, wherever a pod may be written.

Fields are found by their names at any depth, so that it makes no difference which kind has the pod: a Pod, a CronJob's
template, or a custom resource. Anything but a value that is known to be safe counts: `"false"` is no false.
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from infra_mcp.model.effect import FieldPath
from infra_mcp.policy.guard.rules import UNREADABLE

LISTS: Final = ("containers", "initContainers", "ephemeralContainers")
_CAPABILITIES: Final = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SYSCTLS: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
_SELINUX: Final = frozenset({"container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_PROFILES: Final = frozenset({"RuntimeDefault", "Localhost"})
_VOLUMES: Final = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
_ANNOTATIONS: Final = {
    "container.apparmor.security.beta.kubernetes.io/": "pods.apparmor",
    "container.seccomp.security.alpha.kubernetes.io/": "pods.seccomp",
    "seccomp.security.alpha.kubernetes.io/pod": "pods.seccomp",
}


class Finding(NamedTuple):
    """Something that a guardrail is about: its name, where in the object, and the value."""

    rule: str
    path: FieldPath
    value: object


def baseline(path: FieldPath, node: Mapping[str, Any]) -> Iterator[Finding]:
    """What one mapping of an object holds against the baseline."""
    for key, value in node.items():
        if key in _FIELDS:
            rule, check = _FIELDS[key]
            yield from (Finding(rule, (*path, key, *below), found) for below, found in check(value))
        elif key == "securityContext" and value is not None and not isinstance(value, dict):
            yield Finding(UNREADABLE, (*path, key), type(value).__name__)
        elif key == "annotations" and isinstance(value, dict):
            for name, profile in value.items():
                rule = next((rule for prefix, rule in _ANNOTATIONS.items() if str(name).startswith(prefix)), "")
                if rule and profile not in ("runtime/default", "docker/default") and not _is_local(profile):
                    yield Finding(rule, (*path, key, name), profile)


def restricted(path: FieldPath, node: Mapping[str, Any]) -> Iterator[Finding]:
    """What a pod lacks for the restricted level. A mapping with a list of containers is a pod."""
    if not any(key in node for key in LISTS):
        return
    pod = _security(node)
    for volume in _listed(node.get("volumes")):
        if not isinstance(volume, dict) or not _VOLUMES & {key for key, value in volume.items() if value is not None}:
            yield Finding("pods.volume-types", (*path, "volumes", step_of(volume)), _types(volume))
    yield from _users(path, pod)
    for which in LISTS:
        items = node.get(which)
        if items is not None and not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
            yield Finding(UNREADABLE, (*path, which), type(items).__name__)
            continue
        for container in items or ():
            yield from _container((*path, which, step_of(container)), _security(container), pod)


def _container(path: FieldPath, own: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[Finding]:
    if own.get("allowPrivilegeEscalation") is not False:
        yield Finding("pods.privilege-escalation", path, own.get("allowPrivilegeEscalation"))
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True or pod.get("runAsNonRoot") is False:
        yield Finding("pods.run-as-non-root", path, own.get("runAsNonRoot"))
    profile = own.get("seccompProfile", pod.get("seccompProfile"))
    if not isinstance(profile, dict) or profile.get("type") not in _PROFILES:
        yield Finding("pods.seccomp-unset", path, profile)
    given = own.get("capabilities")
    given = given if isinstance(given, dict) else {}
    added = _listed(given.get("add"))
    if "ALL" not in _listed(given.get("drop")) or any(one != "NET_BIND_SERVICE" for one in added):
        yield Finding("pods.drop-capabilities", path, given)
    yield from _users(path, own)


def _users(path: FieldPath, security: Mapping[str, Any]) -> Iterator[Finding]:
    user = security.get("runAsUser")
    if user is not None and (type(user) is not int or user == 0):
        yield Finding("pods.run-as-user", (*path, "securityContext", "runAsUser"), user)


def _security(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a security context that are set."""
    found = node.get("securityContext")
    return {key: value for key, value in found.items() if value is not None} if isinstance(found, dict) else {}


def _types(volume: object) -> object:
    return ", ".join(sorted({*volume} - {"name"})) if isinstance(volume, dict) else volume


def step_of(item: object) -> Any:  # noqa: ANN401 - a step of a path
    """The step to an item of a list: its name, so that the order makes no difference."""
    return {"name": item["name"]} if isinstance(item, dict) and isinstance(item.get("name"), str) else 0


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_local(profile: object) -> bool:
    return isinstance(profile, str) and (profile == "" or profile.startswith("localhost/"))


# What is wrong with the value of one field: the path below it, and the value there.
_Check = Callable[[Any], Iterator[tuple[FieldPath, object]]]


def _flag(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    if value is not None and value is not False:
        yield (), value


def _absent(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    if value is not None:
        yield (), value.get("path", value) if isinstance(value, dict) else value


def _port(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    if value is not None and not (type(value) is int and value == 0):
        yield (), value


def _proc_mount(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    if value not in (None, "Default"):
        yield (), value


def _profile(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    if value is not None and not (isinstance(value, dict) and _in(value.get("type"), _PROFILES)):
        yield (), value.get("type") if isinstance(value, dict) else value


def _capabilities(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    if value is not None and not isinstance(value, dict):
        yield (), value
        return
    for one in _listed((value or {}).get("add")):
        if not _in(one, _CAPABILITIES):
            yield ("add",), one


def _selinux(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    if value is not None and not isinstance(value, dict):
        yield (), value
        return
    for key in ("type", "user", "role"):
        found = (value or {}).get(key)
        if found not in (None, "") and not (key == "type" and _in(found, _SELINUX)):
            yield (key,), found


def _sysctls(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    for one in _listed(value):
        name = one.get("name") if isinstance(one, dict) else one
        if not _in(name, _SYSCTLS):
            yield (), name


def _handler(value: Any) -> Iterator[tuple[FieldPath, object]]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict) and value.get("host") not in (None, ""):
        yield ("host",), value["host"]


def _in(value: object, known: frozenset[str]) -> bool:
    return isinstance(value, str) and value in known


_FIELDS: Final[Mapping[str, tuple[str, _Check]]] = {
    "privileged": ("pods.privileged", _flag),
    "hostProcess": ("pods.host-process", _flag),
    "hostNetwork": ("pods.host-network", _flag),
    "hostPID": ("pods.host-pid", _flag),
    "hostIPC": ("pods.host-ipc", _flag),
    "hostPath": ("pods.host-path", _absent),
    "hostPort": ("pods.host-ports", _port),
    "httpGet": ("pods.probe-hosts", _handler),
    "tcpSocket": ("pods.probe-hosts", _handler),
    "capabilities": ("pods.capabilities", _capabilities),
    "procMount": ("pods.proc-mount", _proc_mount),
    "seccompProfile": ("pods.seccomp", _profile),
    "appArmorProfile": ("pods.apparmor", _profile),
    "seLinuxOptions": ("pods.selinux", _selinux),
    "sysctls": ("pods.sysctls", _sysctls),
}
